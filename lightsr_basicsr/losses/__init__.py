"""Losses; importing this package registers them in BasicSR's ``LOSS_REGISTRY``."""

from lightsr_basicsr.errors import require_basicsr

require_basicsr()

from lightsr_basicsr.losses import kd_loss  # noqa: E402, F401
