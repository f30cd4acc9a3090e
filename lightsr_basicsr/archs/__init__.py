"""Networks; importing this package registers them in BasicSR's ``ARCH_REGISTRY``."""

from lightsr_basicsr.errors import require_basicsr

require_basicsr()

from lightsr_basicsr.archs import (  # noqa: E402, F401
    dcls_arch,
    ddistill_sr_arch,
    drn_arch,
    dual_regression_arch,
    fdiwn_arch,
    imdn_arch,
    kdsr_arch,
    pruned_arch,
    reparameterized_arch,
    tiny_arch,
)
