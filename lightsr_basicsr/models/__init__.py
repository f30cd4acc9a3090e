"""Training models; importing this package registers them in BasicSR's ``MODEL_REGISTRY``."""

from lightsr_basicsr.models import base

__all__ = ["base"]
