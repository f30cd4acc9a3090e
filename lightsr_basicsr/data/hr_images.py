"""Shared by data sets of HR images: listing and reading images, checks of options, crops aligned to the LR grid."""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Mapping
from dataclasses import replace
from difflib import get_close_matches
from os import path as osp
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
from basicsr.data.data_util import paths_from_lmdb
from basicsr.data.transforms import augment
from basicsr.utils import FileClient, img2tensor
from torch import Tensor
from torch.utils.data import Dataset

from lightsr_basicsr import fields
from lightsr_basicsr.data.degradations import mod_crop
from lightsr_basicsr.data.image_cache import ImageCache, Key
from lightsr_basicsr.pictures.files import is_image
from lightsr_basicsr.pictures.pixels import PixelError, decode

# Keys that BasicSR reads from any dataset section, whatever its type.
READ_BY_BASICSR = (
    "name", "type", "phase", "scale", "num_worker_per_gpu", "batch_size_per_gpu", "dataset_enlarge_ratio",
    "prefetch_mode", "num_prefetch_queue", "pin_memory", "persistent_workers", "max_broken",
    "halves", "cache", "prefetch",
)  # fmt: skip
BACKENDS = ("disk", "lmdb", "memcached")


def is_backend(value: Any) -> bool:
    """Return whether ``value`` is an ``io_backend`` of BasicSR."""
    return isinstance(value, Mapping) and value.get("type") in BACKENDS


OPTIONS = {
    "dataroot_gt": fields.anything("Folder or LMDB of HR images."),
    "io_backend": replace(
        fields.section("Whether images are files or in an LMDB."),
        wanted="{type: disk} or {type: lmdb}",
        takes=is_backend,
    ),
    "gt_size": fields.count("Side of the HR crops in pixels, a multiple of the scale; training only.", null=True),
    "use_hflip": fields.flag("Whether crops are flipped at random; training only.", null=True),
    "use_rot": fields.flag("Whether crops are turned at random; training only.", null=True),
}


class ImageStore:
    """Images of one or several folders or LMDBs, read as BasicSR reads them: 8 bits, colour, B G R.

    Args:
        roots (Mapping[str, str]): Folder or LMDB by kind, for example ``gt``.
        io_backend (Mapping): ``{'type': 'disk'}`` or ``{'type': 'lmdb'}``, as in option files.

    Raises:
        ValueError: If ``io_backend`` is unknown, a folder is missing or the name of an LMDB does not end in .lmdb.
    """

    def __init__(self, roots: Mapping[str, str], io_backend: Mapping[str, Any]) -> None:
        if not is_backend(io_backend):
            raise ValueError(f"io_backend must be {{type: disk}} or {{type: lmdb}}, got {io_backend!r}")
        for kind, root in roots.items():
            if not isinstance(root, (str, os.PathLike)):
                raise ValueError(f"dataroot_{kind} must be one folder or LMDB, got {root!r}")
        self.roots = {kind: osp.expanduser(root) for kind, root in roots.items()}
        self.backend = dict(io_backend)
        self.in_lmdb = self.backend["type"] == "lmdb"
        self.client: FileClient | None = None
        self.cache: ImageCache | None = None
        for root in self.roots.values():
            if not osp.isdir(root):
                raise ValueError(f"folder {root} does not exist (working directory: {Path.cwd()})")
            if self.in_lmdb and not root.endswith(".lmdb"):
                raise ValueError(f"{root} must end in .lmdb for io_backend lmdb")

    def paths(self, kind: str, listed_in: str | None = None) -> list[str]:
        """Return paths (keys in an LMDB) of all images of a kind, sorted, or those that a meta-info file lists.

        Raises:
            ValueError: If the list, or a file that it names, is missing.
        """
        root = self.roots[kind]
        if listed_in:
            return self._listed(root, Path(osp.expanduser(str(listed_in))))
        if self.in_lmdb:
            return sorted(paths_from_lmdb(root))
        return [str(file) for file in sorted(Path(root).iterdir()) if is_image(file)]

    def _listed(self, root: str, file: Path) -> list[str]:
        if not file.is_file():
            raise ValueError(f"list of images {file} does not exist (working directory: {Path.cwd()})")
        lines = file.read_text(encoding="utf-8").splitlines()
        names = [line.split(" ")[0] for line in lines if line.strip()]
        if self.in_lmdb:
            return [osp.splitext(name)[0] for name in names]
        for name in names if self.backend["type"] == "disk" else ():
            if not osp.isfile(osp.join(root, name)):
                raise ValueError(f"{root} lacks {name}, which {file} lists: is it the list of another folder?")
        return [osp.join(root, name) for name in names]

    def read(self, path: str, kind: str) -> np.ndarray:
        """Return an image (H, W, 3), B G R, uint8.

        Raises:
            ValueError: If the image is missing or broken.
        """
        image = self.cache.find((kind, path)) if self.cache else None
        if image is None:
            image = self._decode(path, kind)
            if self.cache:
                self.cache.keep((kind, path), image)
        return image

    def _decode(self, path: str, kind: str) -> np.ndarray:
        if self.client is None:  # opened in the process that reads
            options = dict(self.backend)
            if self.in_lmdb:
                options |= {"db_paths": list(self.roots.values()), "client_keys": list(self.roots)}
            self.client = FileClient(options.pop("type"), **options)
        content = self.client.get(path, kind)
        try:
            image = None if content is None else decode(content, cv2.IMREAD_COLOR)
        except PixelError as error:
            raise ValueError(f"{path} in {self.roots[kind]}: {error}") from error
        if image is None:
            raise ValueError(f"{path} in {self.roots[kind]} is missing or cannot be read by OpenCV")
        return image


class HRDataset(Dataset):
    """Base of the data sets of HR images: checks the options that they share, and lists and reads the images.

    Raises:
        ValueError: If an option is unknown or wrong, or a folder, the list or a listed image is missing.
    """

    options: ClassVar = {
        "meta_info_file": fields.text("List of the images to take.", null=True),
        "noise_seed": fields.count("Seed of the noise of `dn`; of blind noise in validation.", least=0, default=0),
        **OPTIONS,
    }

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.scale, self.training = opt, opt["scale"], opt["phase"] == "train"
        check_section(type(self), opt, self.known_keys)
        size = opt["gt_size"] if self.training else None
        if self.training and (not size or size % self.scale):
            wanted = f"a multiple of the scale {self.scale}, for example {48 * self.scale}"
            raise ValueError(f"gt_size must be {wanted}, got {size}")
        self.store = ImageStore(self._roots(), opt["io_backend"])
        self.paths = self.store.paths("gt", opt.get("meta_info_file"))

    @property
    def known_keys(self) -> tuple[str, ...]:
        """Options beyond those that BasicSR reads from any section."""
        return tuple(fields.declared(type(self)))

    def option(self, key: str) -> Any:
        """Return the value of an option, its default where the section lacks it."""
        return self.opt.get(key, fields.declared(type(self))[key].default)

    def _roots(self) -> dict[str, str]:
        return {"gt": self.opt["dataroot_gt"]}

    def __len__(self) -> int:
        return len(self.paths)

    def images(self) -> list[Key]:
        """Return the kind and the path of all images that are read."""
        return [("gt", path) for path in self.paths]

    def read_hr(self, path: str) -> np.ndarray:
        """Return an HR image (H, W, 3), B G R, uint8, cropped to multiples of the scale."""
        return mod_crop(self.store.read(path, "gt"), self.scale)

    def random_crop(self, hr: np.ndarray, path: str) -> tuple[int, int, int]:
        """Return top, left and size of a random crop of ``hr`` (H, W, C), multiples of the scale.

        Draws from ``random`` as BasicSR's paired crop does, so that the same seed gives the same crop.

        Raises:
            ValueError: If the image is smaller than the crop.
        """
        (height, width), size, grid = hr.shape[:2], self.opt["gt_size"], self.scale
        if height < size or width < size:
            raise ValueError(
                f"{path} is {width}x{height} (in multiples of {grid}), smaller than gt_size {size}: leave it out"
            )
        top, left = (random.randint(0, (side - size) // grid) * grid for side in (height, width))
        return top, left, size


def check_section(dataset: type, options: Mapping[str, Any], own: Collection[str]) -> None:
    """Check that a section holds only keys that BasicSR reads and the ``own`` keys of ``dataset``.

    Raises:
        ValueError: For the first other key: ignoring a misspelled option would leave its default in force; or for a
            value that the field of its key does not take.
    """
    known = [*own, *READ_BY_BASICSR]
    for key in map(str, options):
        if key in known:
            continue
        close = get_close_matches(key, known, n=1, cutoff=0.8) or get_close_matches(key, known, n=2)
        names = " or ".join(f"'{name}'" for name in close)
        hint = f": did you mean {names}?" if close else f"; it takes {', '.join(known)}"
        raise ValueError(f"{key} is not an option of {dataset.__name__}{hint}")
    for key, field in fields.declared(dataset).items():
        if key in options and (problem := field.problem(options[key])):
            raise ValueError(f"{key} {problem}")


def to_tensors(images: list[np.ndarray], options: Mapping[str, Any]) -> list[Tensor]:
    """Return images (H, W, 3), B G R, uint8, as RGB (3, H, W) in [0, 1]; flipped and rotated alike in training."""
    images = [image.astype(np.float32) / 255 for image in images]
    if options["phase"] == "train":
        images = augment(images, options["use_hflip"], options["use_rot"])
        images = images if isinstance(images, list) else [images]
    return img2tensor(images, bgr2rgb=True, float32=True)
