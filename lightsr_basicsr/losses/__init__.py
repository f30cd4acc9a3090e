"""Losses; importing this package registers them in BasicSR's ``LOSS_REGISTRY``."""

from lightsr_basicsr import _compat

_compat.require_basicsr()

from lightsr_basicsr.losses import kd_loss  # noqa: E402, F401
