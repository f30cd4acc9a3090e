"""Networks; importing this package registers them in BasicSR's ``ARCH_REGISTRY``."""

from lightsr_basicsr import _compat

_compat.require_basicsr()

from lightsr_basicsr.archs import imdn_arch  # noqa: E402

__all__ = ["imdn_arch"]
