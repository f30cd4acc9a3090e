"""Training models; importing this package registers them in BasicSR's ``MODEL_REGISTRY``."""

from lightsr_basicsr import _compat

_compat.require_basicsr()

from lightsr_basicsr.models import base  # noqa: E402

__all__ = ["base"]
