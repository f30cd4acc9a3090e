"""Datasets; importing this package registers them in BasicSR's ``DATASET_REGISTRY``."""

from lightsr_basicsr import _compat

_compat.require_basicsr()

from lightsr_basicsr.data import demo_dataset  # noqa: E402

__all__ = ["demo_dataset"]
