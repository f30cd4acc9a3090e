"""Source images of ``prepare``: which a folder holds, read in the depth that is wanted, cut to exact sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightsr_basicsr.data.degradations import mod_crop
from lightsr_basicsr.tools.images import list_images, read_image, to_8_bit
from lightsr_basicsr.tools.prepare.jobs import PrepareError


def source_images(folder: Path | str) -> list[Path]:
    """Return the images of a source folder.

    Raises:
        PrepareError: If there is no such folder, no image in it, or two whose outputs would have the same name.
    """
    images = folder_images(folder)
    stems: dict[str, Path] = {}
    for image in images:
        if image.stem in stems:
            raise PrepareError(
                f"{stems[image.stem].name} and {image.name} in {folder} would become one file: rename one."
            )
        stems[image.stem] = image
    return images


def folder_images(folder: Path | str) -> list[Path]:
    """Return the images of a folder, whatever their names.

    Raises:
        PrepareError: If there is no such folder or no image in it.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise PrepareError(f"there is no folder {folder} (looked from {Path.cwd()}).")
    images = list_images(path)
    if not images:
        nested = [each.name for each in sorted(path.iterdir()) if each.is_dir() and list_images(each)]
        hint = f"; its sub-folder {nested[0]} does" if nested else ""
        raise PrepareError(f"{folder} holds no images (png, bmp, jpg, tif, webp){hint}.")
    return images


def depth_note(deep: Sequence[str]) -> list[str]:
    """Return the note on images of 16 bits, if there are any."""
    if not deep:
        return []
    return [
        f"{len(deep)} images have 16 bits and keep them (first {min(deep)}). BasicSR reads the upper 8: see --depth 8."
    ]


def read_source(source: Path, depth: str, deep: list[str]) -> np.ndarray:
    """Read an image in the wanted depth, and note it in ``deep`` if it keeps 16 bits."""
    image = read_image(source)
    if depth == "8":
        return to_8_bit(image)
    if image.dtype == np.uint16:
        deep.append(source.name)
    return image


def crop_for(image: np.ndarray, scale: int) -> np.ndarray:
    """Return ``image`` cut to multiples of ``scale``; ValueError if nothing is left."""
    if min(image.shape[:2]) < scale:
        raise ValueError(f"{image.shape[1]}x{image.shape[0]} is too small for x{scale}")
    return mod_crop(image, scale)
