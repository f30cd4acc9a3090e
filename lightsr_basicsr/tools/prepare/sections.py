"""The sections of option files that read prepared data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def paired(name: str, gt: Path | str, lq: Path | str, template: str = "{}", backend: str = "disk") -> dict[str, Any]:
    """Return a section that pairs ``gt`` with ``lq``, whose names follow ``template``, for PairedImageDataset."""
    section = {"name": name, "type": "PairedImageDataset", "dataroot_gt": str(gt), "dataroot_lq": str(lq)}
    if template != "{}" and backend == "disk":
        section["filename_tmpl"] = template
    return {**section, "io_backend": {"type": backend}}


def training(section: Mapping[str, Any], scale: int, patch: int = 64) -> dict[str, Any]:
    """Return ``section`` with what training reads beside it: crops of ``patch`` LR pixels, 16 in a batch."""
    return {
        **section,
        "gt_size": patch * scale,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": 6,
        "batch_size_per_gpu": 16,
        "dataset_enlarge_ratio": 10,
        "persistent_workers": True,
    }
