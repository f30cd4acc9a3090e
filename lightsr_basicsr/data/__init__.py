"""Datasets; importing this package registers them in BasicSR's ``DATASET_REGISTRY``."""

from lightsr_basicsr.data import demo_dataset

__all__ = ["demo_dataset"]
