"""Source images of ``prepare``: list them, read or verify them, make PNG files of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from lightsr_basicsr.data.degradations import mod_crop
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.tools.images import decode, folder_images, measure, read_image, to_8_bit, write_png
from lightsr_basicsr.tools.prepare.jobs import FileJob, PrepareError

# Scale to whose multiples an image is cropped, and what makes LR of it then; None for HR images.
Output = tuple[int, Callable[[np.ndarray], np.ndarray] | None]


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


def image_job(source: Path, outputs: Mapping[Path, Output], depth: str, deep: list[str]) -> FileJob:
    """Return the job that makes ``outputs`` of the image in ``source``; the rest as for :func:`read_source`."""
    return FileJob(source, tuple(outputs), partial(_make, source, outputs, depth, deep))


def _make(source: Path, outputs: Mapping[Path, Output], depth: str, deep: list[str], wanted: Sequence[Path]) -> None:
    whole = read_source(source, depth, deep)
    made = {}
    for output in wanted:
        scale, degrade = outputs[output]
        image = crop_for(whole, scale)
        made[output] = degrade(image) if degrade else image
    # All are made before the first is written, so that a failure leaves no half pair.
    for output, image in made.items():
        write_png(output, image)


@dataclass(frozen=True)
class Verified:
    """A decoded image file: its bytes, (height, width, channels) as data sets read it, and bits per channel."""

    content: bytes
    shape: tuple[int, int, int]
    bits: int


def verify(file: Path) -> Verified | ImageError:
    """Read and decode an image file; return the error if it is broken, no image, or not of 8 or 16 bit."""
    try:
        content, image = decode(file, cv2.IMREAD_UNCHANGED)
    except ImageError as error:
        return error
    width, height = measure(file)  # decoding as it is stored ignores an orientation tag
    return Verified(content, (height, width, image.shape[2] if image.ndim == 3 else 1), image.itemsize * 8)
