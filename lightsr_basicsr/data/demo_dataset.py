"""A small training and validation set from the photographs that scikit-image ships, made on first use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils.dist_util import get_dist_info
from basicsr.utils.lmdb_util import LmdbMaker
from basicsr.utils.registry import DATASET_REGISTRY
from tqdm import tqdm

from lightsr_basicsr import fields
from lightsr_basicsr.data.blind_dataset import ClassicBlindDataset
from lightsr_basicsr.data.degradations import imresize, mod_crop
from lightsr_basicsr.data.degraded_dataset import MultiScalePairedDataset
from lightsr_basicsr.data.photographs import PHOTOGRAPHS, photographs
from lightsr_basicsr.registry import register

DATAROOT = {"dataroot": fields.text("Folder in which the LMDBs are made.", default="datasets/demo")}
CROP_SIZE = 192
CROP_STEP = 96


@register(DATASET_REGISTRY)
class DemoPairedDataset(PairedImageDataset):
    """PairedImageDataset over photographs that come with scikit-image, a dependency of BasicSR.

    On first use writes ``<dataroot>/x<scale>_{train,val}_{HR,LR}.lmdb``: sub-images of 192x192 of ten photographs for
    training, two other photographs whole for validation, and their MATLAB-exact bicubic LR images.

    Args:
        opt (dict): As ``PairedImageDataset`` takes it, except that ``dataroot`` (str) names the folder for the LMDBs
            and replaces ``dataroot_gt``, ``dataroot_lq`` and ``io_backend``.
    """

    options: ClassVar = DATAROOT
    prepares_data = True
    required_keys: ClassVar = {
        "train": ("scale", "gt_size", "use_hflip", "use_rot"),
        "val": ("scale",),
        "test": ("scale",),
    }

    def __init__(self, opt: dict[str, Any]) -> None:
        split = "train" if opt["phase"] == "train" else "val"
        root = Path(opt.get("dataroot", "datasets/demo")).expanduser()
        gt, lq = _prepare_once(root, split, opt["scale"])
        super().__init__({**opt, "dataroot_gt": str(gt), "dataroot_lq": str(lq), "io_backend": {"type": "lmdb"}})


@register(DATASET_REGISTRY)
class DemoBlindDataset(ClassicBlindDataset):
    """ClassicBlindDataset over the same photographs, prepared in the same way; LR images are made of HR as it does.

    Args:
        opt (dict): As ``ClassicBlindDataset`` takes it, except that ``dataroot`` (str) names the folder for the LMDBs
            and replaces ``dataroot_gt`` and ``io_backend``.
    """

    options: ClassVar = DATAROOT
    prepares_data = True
    required_keys: ClassVar = DemoPairedDataset.required_keys

    def __init__(self, opt: dict[str, Any]) -> None:
        split = "train" if opt["phase"] == "train" else "val"
        gt, _ = _prepare_once(Path(opt.get("dataroot", "datasets/demo")).expanduser(), split, opt["scale"])
        super().__init__({**opt, "dataroot_gt": str(gt), "io_backend": {"type": "lmdb"}})


@register(DATASET_REGISTRY)
class DemoMultiScaleDataset(MultiScalePairedDataset):
    """MultiScalePairedDataset over the same photographs, prepared in the same way; larger LR images are made of HR.

    Args:
        opt (dict): As ``MultiScalePairedDataset`` takes it, except that ``dataroot`` (str) names the folder for the
            LMDBs and replaces ``dataroot_gt``, ``dataroot_lq`` and ``io_backend``.
    """

    options: ClassVar = DATAROOT
    prepares_data = True
    required_keys: ClassVar = DemoPairedDataset.required_keys

    def __init__(self, opt: dict[str, Any]) -> None:
        split = "train" if opt["phase"] == "train" else "val"
        gt, lq = _prepare_once(Path(opt.get("dataroot", "datasets/demo")).expanduser(), split, opt["scale"])
        super().__init__({**opt, "dataroot_gt": str(gt), "dataroot_lq": str(lq), "io_backend": {"type": "lmdb"}})


def _prepare_once(root: Path, split: str, scale: int) -> tuple[Path, Path]:
    """Prepare on the first rank only; the others wait, then find the files."""
    rank, world_size = get_dist_info()
    if rank == 0:
        prepare_demo(root, split, scale)
    if world_size > 1:
        torch.distributed.barrier()
    return prepare_demo(root, split, scale)


def prepare_demo(root: Path, split: str, scale: int) -> tuple[Path, Path]:
    """Write the HR and LR LMDBs of one split unless they are there.

    Both are made in a folder beside and moved at the end, so an interrupted run leaves nothing half-made.

    Args:
        root (Path): Folder for the LMDBs.
        split (str): ``'train'`` or ``'val'``.
        scale (int): LR is ``1 / scale`` of HR.

    Returns:
        tuple: Paths of the HR and the LR LMDB.
    """
    paths = tuple(root / f"x{scale}_{split}_{kind}.lmdb" for kind in ("HR", "LR"))
    if not all(path.is_dir() for path in paths):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="making_") as folder:
            images = dict(_sub_images(split, scale))
            _write_lmdb(Path(folder) / paths[0].name, images, f"demo {split} HR")
            small = {key: imresize(image, 1 / scale) for key, image in tqdm(images.items(), f"demo {split} LR")}
            _write_lmdb(Path(folder) / paths[1].name, small, f"demo {split} LR")
            for path in paths:
                shutil.rmtree(path, ignore_errors=True)
                shutil.move(Path(folder) / path.name, path)
    return paths


def _sub_images(split: str, scale: int) -> Iterator[tuple[str, np.ndarray]]:
    for stem, image in photographs(PHOTOGRAPHS[split]):
        if split == "val":
            yield stem, mod_crop(image, scale)
            continue
        side = CROP_SIZE - CROP_SIZE % scale
        for top in range(0, image.shape[0] - side + 1, CROP_STEP):
            for left in range(0, image.shape[1] - side + 1, CROP_STEP):
                yield f"{stem}_{top:04d}_{left:04d}", image[top : top + side, left : left + side]


def _write_lmdb(path: Path, images: Mapping[str, np.ndarray], title: str) -> None:
    encoded = {key: cv2.imencode(".png", image)[1] for key, image in images.items()}
    # lmdb reserves address space, not disk; a third more than the content covers its page overhead.
    maker = LmdbMaker(str(path), map_size=4 * sum(code.nbytes for code in encoded.values()) // 3 + (1 << 24))
    for key, code in tqdm(encoded.items(), title):
        maker.put(code.tobytes(), key, images[key].shape)
    maker.close()
