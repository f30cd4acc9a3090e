"""Data sets; importing this package registers them in BasicSR's ``DATASET_REGISTRY``."""

from lightsr_basicsr.errors import require_basicsr

require_basicsr()

from lightsr_basicsr.data import blind_dataset, degraded_dataset, demo_dataset, kernel_dataset  # noqa: E402

__all__ = ["blind_dataset", "degraded_dataset", "demo_dataset", "kernel_dataset"]
