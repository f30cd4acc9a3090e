"""A small training and validation set of scikit-image's test images, made on first use."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from os.path import expanduser
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
from lightsr_basicsr.data.kernel_dataset import KernelBlindDataset
from lightsr_basicsr.data.photographs import PHOTOGRAPHS, photographs
from lightsr_basicsr.registry import register

DATAROOT = {"dataroot": fields.text("Folder in which the LMDBs are made.", default="datasets/demo")}
CROP_SIZE = 192
CROP_STEP = 96


class DemoDataset:
    """Mixin of a data set whose LMDBs are made of test images on first use; ``roots`` are the keys that it reads."""

    options: ClassVar = DATAROOT
    prepares_data = True
    required_keys: ClassVar = {
        "train": ("scale", "gt_size", "use_hflip", "use_rot"),
        "val": ("scale",),
        "test": ("scale",),
    }
    roots = ("dataroot_gt", "dataroot_lq")

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(_with_lmdbs(opt, *self.roots))


@register(DATASET_REGISTRY)
class DemoPairedDataset(DemoDataset, PairedImageDataset):
    """PairedImageDataset of test images that come with scikit-image, a dependency of this package.

    First use writes ``<dataroot>/x<scale>_{train,val}_{HR,LR}.lmdb``: 192x192 crops of ten images for training, two
    other whole images for validation, and their MATLAB-exact bicubic LR images.

    Args:
        opt (dict): As in ``PairedImageDataset``, except that ``dataroot`` (str), the folder of the LMDBs, replaces
            ``dataroot_gt``, ``dataroot_lq`` and ``io_backend``.
    """


@register(DATASET_REGISTRY)
class DemoBlindDataset(DemoDataset, ClassicBlindDataset):
    """ClassicBlindDataset of the HR images of :class:`DemoPairedDataset`.

    Args:
        opt (dict): As in ``ClassicBlindDataset``, except that ``dataroot`` (str), the folder of the LMDBs, replaces
            ``dataroot_gt`` and ``io_backend``.
    """

    roots = ("dataroot_gt",)


@register(DATASET_REGISTRY)
class DemoKernelDataset(DemoDataset, KernelBlindDataset):
    """KernelBlindDataset of the HR images of :class:`DemoPairedDataset`.

    Args:
        opt (dict): As in ``KernelBlindDataset``, except that ``dataroot`` (str), the folder of the LMDBs, replaces
            ``dataroot_gt`` and ``io_backend``.
    """

    roots = ("dataroot_gt",)


@register(DATASET_REGISTRY)
class DemoMultiScaleDataset(DemoDataset, MultiScalePairedDataset):
    """MultiScalePairedDataset of the images of :class:`DemoPairedDataset`; larger LR images are made from HR.

    Args:
        opt (dict): As in ``MultiScalePairedDataset``, except that ``dataroot`` (str), the folder of the LMDBs, replaces
            ``dataroot_gt``, ``dataroot_lq`` and ``io_backend``.
    """


def _with_lmdbs(opt: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return ``opt`` with the HR LMDB, and the LR LMDB, under ``keys``; the first rank makes them, the others wait."""
    root, split = Path(expanduser(opt.get("dataroot", "datasets/demo"))), "train" if opt["phase"] == "train" else "val"
    rank, world_size = get_dist_info()
    if rank == 0:
        prepare_demo(root, split, opt["scale"])
    if world_size > 1:
        torch.distributed.barrier()
    paths = map(str, prepare_demo(root, split, opt["scale"]))
    return {**opt, **dict(zip(keys, paths, strict=False)), "io_backend": {"type": "lmdb"}}


def prepare_demo(root: Path, split: str, scale: int) -> tuple[Path, Path]:
    """Write the HR and LR LMDBs of one split unless they exist.

    Both are made in a temporary folder and moved at the end, so an interrupted run leaves nothing incomplete.

    Args:
        root (Path): Folder of the LMDBs.
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
