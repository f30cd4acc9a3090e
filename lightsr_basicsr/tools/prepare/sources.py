"""Source images of ``prepare``: list them, read them at the chosen depth, crop them to multiples of the scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightsr_basicsr.data.degradations import mod_crop
from lightsr_basicsr.tools.images import folder_images, read_image, to_8_bit
from lightsr_basicsr.tools.prepare.jobs import PrepareError

ORIENTATION = 0x112  # Exif tag of a camera


def source_images(folder: Path | str) -> list[Path]:
    """Return the images of a source folder.

    Raises:
        PrepareError: If the folder is missing or holds no image, or two of its images would share an output name.
    """
    images = folder_images(folder)
    stems: dict[str, Path] = {}
    for image in images:
        if image.stem in stems:
            raise PrepareError(
                f"{stems[image.stem].name} and {image.name} in {folder} would become the same file: rename one."
            )
        stems[image.stem] = image
    return images


def size_text(size: Sequence[int]) -> str:
    """Return width and height, such as ``48x32``."""
    return f"{size[0]}x{size[1]}"


def depth_note(deep: Sequence[str]) -> list[str]:
    """Return the note on images of 16 bits, if any."""
    if not deep:
        return []
    return [f"{len(deep)} images stay at 16 bits (first {min(deep)}). BasicSR reads the upper 8: see --depth 8."]


def read_source(source: Path, depth: str, deep: list[str]) -> np.ndarray:
    """Return an image (H, W, 3), B G R, at ``depth`` ``'keep'`` or ``'8'``; add its name to ``deep`` if of 16 bits."""
    image = read_image(source)
    if depth == "8":
        return to_8_bit(image)
    if image.dtype == np.uint16:
        deep.append(source.name)
    return image


def crop_for(image: np.ndarray, scale: int) -> np.ndarray:
    """Return ``image`` (H, W, C) cropped to multiples of ``scale``; ValueError if nothing remains."""
    if min(image.shape[:2]) < scale:
        raise ValueError(f"{image.shape[1]}x{image.shape[0]} is too small for x{scale}")
    return mod_crop(image, scale)
