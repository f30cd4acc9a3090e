"""Sections of option files for prepared data."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightsr_basicsr.tools.prepare.jobs import PrepareError


def paired(name: str, gt: Path | str, lq: Path | str, template: str = "{}", backend: str = "disk") -> dict[str, Any]:
    """Return a section of PairedImageDataset: GT and LQ folders, LQ named by ``template``; or two LMDBs.

    Examples:
        >>> paired("Set5", "Set5/HR_x4", "Set5/LRBI_x4", "{}x4")["filename_tmpl"]
        '{}x4'
        >>> paired("Set5", "HR.lmdb", "LR.lmdb", backend="lmdb")["io_backend"]
        {'type': 'lmdb'}
    """
    section = {"name": name, "type": "PairedImageDataset", "dataroot_gt": str(gt), "dataroot_lq": str(lq)}
    if template != "{}" and backend == "disk":
        section["filename_tmpl"] = template
    return {**section, "io_backend": {"type": backend}}


def training(section: Mapping[str, Any], scale: int, patch: int = 64) -> dict[str, Any]:
    """Return ``section`` with the keys of training added: crops of ``patch`` LR pixels, 16 in a batch.

    Examples:
        >>> training({"type": "PairedImageDataset"}, scale=4, patch=48)["gt_size"]
        192
    """
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


def gt_only(name: str, gt: Path | str, meta_info: Path | str | None = None, backend: str = "disk") -> dict[str, Any]:
    """Return a section of SecondOrderDataset: all images in ``gt``, or those that ``meta_info`` lists.

    Batch size and flips are those of KDSR's option files.
    """
    section = {"name": name, "type": "SecondOrderDataset", "dataroot_gt": str(gt)}
    listed = {} if meta_info is None else {"meta_info": str(meta_info)}
    flips = {"use_hflip": True, "use_rot": False}
    workers = {"num_worker_per_gpu": 6, "batch_size_per_gpu": 9}
    return {**section, **listed, "io_backend": {"type": backend}, **flips, **workers}


def to_be_listed(source: Path, out: Path) -> tuple[dict[str, Any], str]:
    """Return a section for the images in ``source`` and ``out``, and a note with the command that makes its list."""
    name = out.resolve().name
    meta_info = out.parent / "meta_info" / f"meta_info_{name}.txt"
    command = shlex.join(["basicsr", "prepare", "meta", "-i", str(source), str(out), "-o", str(meta_info)])
    note = f"make the list that the section names with: {command}"
    return gt_only(name, common_root([source, out]), meta_info), note


def common_root(folders: Sequence[Path | str]) -> Path:
    """Return the innermost common parent of ``folders``: absolute if one of them is, else relative.

    Raises:
        PrepareError: If there is none, as for two drives of Windows.

    Examples:
        >>> common_root(["DF2K/HR", "DF2K/multiscale"]).name
        'DF2K'
    """
    try:
        root = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    except ValueError as error:
        raise PrepareError(f"the folders have no common parent: {error}.") from error
    return Path(root if any(os.path.isabs(folder) for folder in folders) else os.path.relpath(root))
