"""Networks; importing this package registers them in BasicSR's ``ARCH_REGISTRY``."""

from lightsr_basicsr.archs import imdn_arch

__all__ = ["imdn_arch"]
