"""What datasets of HR images share: where the images are, reading them, crops aligned to the LR grid."""

from __future__ import annotations

import random
from collections.abc import Mapping
from copy import deepcopy
from os import path as osp
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.data.data_util import paths_from_lmdb
from basicsr.data.transforms import augment
from basicsr.utils import FileClient, img2tensor
from torch import Tensor

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")


class ImageStore:
    """Images of one or several folders or LMDBs, read as BasicSR reads them: 8 bit, colour, B G R.

    Args:
        roots (Mapping[str, str]): Folder or LMDB by kind, for example ``gt``.
        io_backend (Mapping): ``{'type': 'disk'}`` or ``{'type': 'lmdb'}``, as in option files.

    Raises:
        ValueError: If a folder is missing or an LMDB is not named ``*.lmdb``.
    """

    def __init__(self, roots: Mapping[str, str], io_backend: Mapping[str, Any]) -> None:
        self.roots = {kind: osp.expanduser(root) for kind, root in roots.items()}
        self.backend = dict(io_backend)
        self.in_lmdb = self.backend.get("type") == "lmdb"
        self.client: FileClient | None = None
        for root in self.roots.values():
            if not osp.isdir(root):
                raise ValueError(f"there is no folder {root} (looked from {Path.cwd()})")
            if self.in_lmdb and not root.endswith(".lmdb"):
                raise ValueError(f"{root} must end in .lmdb for io_backend lmdb")

    def paths(self, kind: str, listed_in: str | None = None) -> list[str]:
        """Return paths (keys in an LMDB) of all images of a kind, sorted, or those that a meta-info file lists."""
        root = self.roots[kind]
        if listed_in:
            lines = Path(listed_in).expanduser().read_text(encoding="utf-8").splitlines()
            names = [line.split(" ")[0] for line in lines if line.strip()]
            return [osp.splitext(name)[0] if self.in_lmdb else osp.join(root, name) for name in names]
        if self.in_lmdb:
            return sorted(paths_from_lmdb(root))
        return [str(file) for file in sorted(Path(root).iterdir()) if is_image(file)]

    def by_stem(self, kind: str) -> dict[str, str]:
        """Return paths (keys in an LMDB) of a kind by name without suffix."""
        return {Path(path).stem: path for path in self.paths(kind)}

    def read(self, path: str, kind: str) -> np.ndarray:
        """Return an image (H, W, 3), B G R, uint8.

        Raises:
            ValueError: If it cannot be read.
        """
        if self.client is None:  # opened by the process that reads
            self.client = FileClient(**self._client_options())
        content = self.client.get(path, kind)
        image = None if content is None else cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise ValueError(f"{path} in {self.roots[kind]} is missing or no image that OpenCV can read")
        return image

    def _client_options(self) -> dict[str, Any]:
        options = {"backend": "disk", **deepcopy(self.backend)}
        options["backend"] = options.pop("type", "disk")
        if self.in_lmdb:
            options.update(db_paths=list(self.roots.values()), client_keys=list(self.roots))
        return options


def is_image(file: Path) -> bool:
    """Tell by its name whether ``file`` is an image; hidden files are none."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def random_corner(image: np.ndarray, size: int, grid: int, path: str) -> tuple[int, int]:
    """Return the top left corner of a random crop, in pixels of ``image`` (H, W, C), multiples of ``grid``.

    Draws from ``random`` as BasicSR's paired crop does, so that the same seed gives the same crop.

    Raises:
        ValueError: If the image is smaller than the crop, or the crop no multiple of ``grid``.
    """
    height, width = (side - side % grid for side in image.shape[:2])
    if size % grid:
        raise ValueError(f"gt_size must be a multiple of the scale {grid}, got {size}")
    if height < size or width < size:
        raise ValueError(
            f"{path} is {width}x{height} (in multiples of {grid}), smaller than gt_size {size}: leave it out"
        )
    top, left = (random.randint(0, (side - size) // grid) for side in (height, width))
    return top * grid, left * grid


def to_tensors(images: list[np.ndarray], options: Mapping[str, Any]) -> list[Tensor]:
    """Flip and turn images (H, W, 3), uint8, alike while training, and return them as RGB (3, H, W) in [0, 1]."""
    images = [image.astype(np.float32) / 255 for image in images]
    if options["phase"] == "train":
        images = augment(images, options["use_hflip"], options["use_rot"])
        images = images if isinstance(images, list) else [images]
    return img2tensor(images, bgr2rgb=True, float32=True)
