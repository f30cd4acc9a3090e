"""Networks; importing this package registers them in BasicSR's ``ARCH_REGISTRY``."""

from lightsr_basicsr import _compat

_compat.require_basicsr()

from lightsr_basicsr.archs import (  # noqa: E402, F401
    ddistill_sr_arch,
    drn_arch,
    dual_regression_arch,
    fdiwn_arch,
    imdn_arch,
    kdsr_arch,
    reparameterized_arch,
)
