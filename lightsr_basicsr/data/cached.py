"""Training sets whose images are decoded once: ``datasets.train.cache: memory``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.data.realesrgan_paired_dataset import RealESRGANPairedDataset
from basicsr.utils import FileClient
from torch.utils.data import Dataset

from lightsr_basicsr import fields
from lightsr_basicsr.data.hr_images import HRDataset
from lightsr_basicsr.data.image_cache import CHANNELS, ImageCache, Key
from lightsr_basicsr.pictures.pixels import open_header

OPTIONS = {
    "cache": fields.text(
        "`memory`: decoded training images are kept in memory, which the processes of a machine share, so that each is "
        "decoded once.",
        ("memory",),
        null=True,
    ),
    "prefetch": fields.flag(
        "Whether the next batch is fetched during a step: `prefetch_mode: cuda` with `pin_memory` on a GPU, else "
        "`prefetch_mode: cpu`.",
        default=False,
    ),
}
PAIRED = (PairedImageDataset, RealESRGANPairedDataset)
SUPPORTED = "PairedImageDataset, RealESRGANDataset, RealESRGANPairedDataset and those of this package"
SHARE = 0.9  # of the memory that is free, because the run itself takes some


def find_cache_problem(dataset: Dataset, available: int) -> str:
    """Return why the decoded images of a data set cannot be kept in ``available`` bytes, '' if they can."""
    if not keeps_images(dataset):
        return f"is for {SUPPORTED}, and {type(dataset).__name__} reads images in another way: remove it"
    if backend_of(dataset)["type"] not in ("disk", "lmdb"):
        return f"needs io_backend disk or lmdb, got {backend_of(dataset)['type']}: remove it"
    needed = sum(sizes_of(dataset, keys := keys_of(dataset)))
    if needed <= SHARE * available:
        return ""
    return (
        f"needs {needed / 1e9:.2f} GB for {len(keys):,} decoded images, more than {SHARE:.0%} of the free memory of "
        f"{available / 1e9:.2f} GB: take fewer or smaller images, free memory, or remove it"
    )


def keeps_images(dataset: Any) -> bool:
    """Return whether all images that a data set reads are known, and how it reads them."""
    reads = getattr(type(dataset), "__getitem__", None)
    own = str(getattr(reads, "__module__", "")).split(".")[0] in ("basicsr", "lightsr_basicsr")
    return own and isinstance(dataset, (HRDataset, RealESRGANDataset, *PAIRED))


def backend_of(dataset: Any) -> Mapping[str, Any]:
    """Return the ``io_backend`` of a data set that :func:`keeps_images`."""
    return dataset.store.backend if isinstance(dataset, HRDataset) else dataset.io_backend_opt


def keys_of(dataset: Any) -> list[Key]:
    """Return the kind and the path of all images that a data set reads, each once."""
    if isinstance(dataset, HRDataset):
        keys = dataset.images()
    elif isinstance(dataset, PAIRED):
        keys = [(kind, pair[f"{kind}_path"]) for pair in dataset.paths for kind in ("gt", "lq")]
    else:
        keys = [("gt", path) for path in dataset.paths]
    return list(dict.fromkeys(keys))


def sizes_of(dataset: Any, keys: list[Key]) -> list[int]:
    """Return the bytes of each image, decoded, by the headers of files or the list of an LMDB; 0 where that fails."""
    if backend_of(dataset)["type"] != "lmdb":
        return [_size_of_file(path) for _, path in keys]
    named = dataset.store.roots if isinstance(dataset, HRDataset) else _lmdbs(dataset)
    listed = {kind: dict(_listed_in(Path(root) / "meta_info.txt")) for kind, root in named.items()}
    return [listed.get(kind, {}).get(path, 0) for kind, path in keys]


def _lmdbs(dataset: Any) -> dict[str, str]:
    options = dataset.io_backend_opt
    return dict(zip(options["client_keys"], options["db_paths"], strict=True))


def _size_of_file(path: str) -> int:
    try:
        with open(path, "rb") as stream:
            width, height = open_header(stream, os.fstat(stream.fileno()).st_size).size
    except Exception:  # what is wrong with it is told when it is read
        return 0
    return width * height * CHANNELS


def _listed_in(file: Path) -> Iterator[tuple[str, int]]:
    """Yield the keys of an LMDB and the bytes of their images: `name.png (h,w,c) 1` in a line."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, rest = line.rpartition(" (")
        sides = rest.partition(")")[0].split(",")[:2]
        if len(sides) == 2 and all(side.strip().isdecimal() for side in sides):
            yield name.split(".")[0], int(sides[0]) * int(sides[1]) * CHANNELS


def keep_images(dataset: Any, cache: ImageCache) -> None:
    """Let a data set that :func:`keeps_images` read each image from ``cache``, once it has been decoded."""
    if isinstance(dataset, HRDataset):
        dataset.store.cache = cache
        return
    crops = isinstance(dataset, PAIRED) and dataset.opt["phase"] == "train"
    dataset.file_client = CachedClient(dict(dataset.io_backend_opt), cache, crops)


class CachedClient:
    """In the place of BasicSR's ``FileClient``: gives images that are decoded already, or will be kept.

    Args:
        backend (dict): As in option files: ``type`` and the arguments of that backend.
        cache (ImageCache): The images.
        crops (bool): Whether the reader takes a crop of each image first, so that the rest need not be converted.
    """

    def __init__(self, backend: dict[str, Any], cache: ImageCache, crops: bool) -> None:
        self.backend, self.cache, self.crops = backend, cache, crops

    @cached_property
    def files(self) -> FileClient:
        """The client of the encoded images, opened in the process that reads."""
        return FileClient(self.backend["type"], **{key: each for key, each in self.backend.items() if key != "type"})

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "files"}

    def get(self, path: str, kind: str = "default") -> Content | None:
        """Return an image for BasicSR's ``imfrombytes``.

        Raises:
            OSError: If it is not kept yet and cannot be read.
        """
        image = self.cache.find((kind, path))
        if image is not None:
            FileClient.being_read = (self.files.client, path, kind)  # errors name it
            return Content(image, lambda: self.files.get(path, kind), None, self.crops)
        encoded = self.files.get(path, kind)
        if encoded is None:
            return None
        return Content(None, lambda: encoded, lambda image: self.cache.keep((kind, path), image), self.crops)


class Content:
    """What stands for the bytes of an image file; ``decoded`` takes the place of decoding them.

    Args:
        image (ndarray | None): (H, W, 3), B G R, uint8, if it is decoded already.
        read (Callable): Returns the bytes.
        keep (Callable | None): Takes the image once it is decoded.
        crops (bool): Whether the reader begins with a crop.
    """

    def __init__(self, image: np.ndarray | None, read: Callable[[], bytes], keep: Callable | None, crops: bool) -> None:
        self.image, self.read, self.keep, self.crops = image, read, keep, crops

    def decoded(self, decode: Callable, flag: str, float32: bool) -> Any:
        """Return what ``decode``, BasicSR's ``imfrombytes``, gives for the bytes, with the same bits."""
        if flag != "color":
            return decode(self.read(), flag, float32)
        image = decode(self.read(), flag, False) if self.image is None else self.image
        if image is None:  # broken, which fails as it always does
            return decode(self.read(), flag, float32)
        if self.keep:
            self.keep(image)
        if not float32:
            return image.copy() if image is self.image else image
        return Pixels(image) if self.crops else _to_float32(image)


class Pixels:
    """An image (H, W, 3) in [0, 1], float32, of which only the part that is taken is computed."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.shape, self.ndim = image, image.shape, image.ndim

    def __getitem__(self, part: Any) -> np.ndarray:
        return _to_float32(self.image[part])


def _to_float32(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 255.0
