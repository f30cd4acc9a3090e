"""Images for quantization: crops that set the ranges, and held-out images to measure the loss of quality on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil
from os import PathLike
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from torch import Tensor
from tqdm import tqdm

from lightsr_basicsr.data.degradations import imresize, mod_crop
from lightsr_basicsr.data.photographs import PHOTOGRAPHS, photographs
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.runtimes.base import BackendError, Traits
from lightsr_basicsr.tools.images import existing_folder, list_images, read_image, some, to_8_bit
from lightsr_basicsr.tools.photographs import center, to_tensor

LR_SIDE = 48
HR_SIDE_AT_MOST = 256  # x8 can use ordinary photographs, too
HELD_OUT_SIDE = 128  # of an LR image that quality is measured on
HELD_OUT_EVERY = 4
HELD_OUT_AT_MOST = 20
CHOSEN_ON_AT_MOST = 8
FEWEST_PHOTOGRAPHS, FEWEST_CROPS = 4, 8
DEMO = "photographs of scikit-image"  # part of the metadata of exported files


class Pair(NamedTuple):
    """An LR image and its HR image."""

    lr: Tensor  # RGB (1, 3, h, w) in [0, 1]; one channel where the network takes one
    hr: np.ndarray  # BGR (scale * h, scale * w, 3), uint8


class QuantizationData(NamedTuple):
    """Images to quantize a network with."""

    crops: list[Tensor]  # LR crops (1, C, 48, 48) in [0, 1] that set the ranges
    chosen_on: list[Pair]  # of the same images as the crops: to choose between models
    held_out: list[Pair]  # of other images, or of the given folder
    held_out_from: str  # their origin, in words


def lr_side(scale: float, min_side: int) -> int:
    """Return the side of an LR crop for a network of this scale and smallest image, in pixels.

    >>> lr_side(4, min_side=15), lr_side(8, min_side=15)
    (48, 32)
    """
    return max(min_side, min(LR_SIDE, int(HR_SIDE_AT_MOST / scale)))


def gather(
    folder: str | PathLike | None,
    held_out: str | PathLike | None,
    traits: Traits,
    *,
    images: int,
    held_out_at_most: int = HELD_OUT_AT_MOST,
    progress: bool = True,
) -> QuantizationData:
    """Return LR crops and held-out pairs of HR images, by MATLAB-exact bicubic downscaling.

    Args:
        folder (str | PathLike | None): HR images; every fourth is held out unless ``held_out`` is given. None takes ten
            images of scikit-image, and holds out two others.
        held_out (str | PathLike | None): A folder of other HR images to measure quality on.
        traits (Traits): Those of the network: a whole scale, 3 or 1 channels.
        images (int): Number of crops, at least 8; from as many different images as possible.
        held_out_at_most (int): Number of images to measure quality on. Default: 20.
        progress (bool): Whether to show a bar. Default: True.

    Raises:
        BackendError: If there are too few images, or one is too small or cannot be read.
    """
    if images < FEWEST_CROPS:
        raise BackendError(f"Quantization needs at least {FEWEST_CROPS} crops to set ranges, got {images}: name more.")
    scale, num_in_ch, min_side = traits
    if scale < 1 or scale != int(scale) or num_in_ch not in (1, 3):
        raise BackendError(
            f"Crops are made for whole scales and 1 or 3 channels; this network has scale {scale} and {num_in_ch} "
            "channels. Use fp32 or bf16."
        )
    scale, side = int(scale), lr_side(scale, min_side)
    calibration, checked, title = _choose(folder, held_out, images, held_out_at_most)
    try:
        crops = list(_crops(tqdm(calibration, "LR crops", disable=not progress), images, side, scale))
        chosen_on = _spread(calibration, CHOSEN_ON_AT_MOST)
        kinds = [[_hr_center(source, max(HELD_OUT_SIDE, side), side, scale) for source in sources]
                 for sources in (chosen_on, checked)]  # fmt: skip
    except ImageError as error:
        raise BackendError(f"{error}: take it out of the folder.") from error
    return QuantizationData(
        [_with_channels(crop, num_in_ch) for crop in crops],
        *([Pair(_with_channels(imresize(hr, 1 / scale), num_in_ch), hr) for hr in pairs] for pairs in kinds),
        title,
    )


Source = Path | str  # an image file, or the name of an image of scikit-image


def _choose(
    folder: str | PathLike | None, held_out: str | PathLike | None, images: int, most: int
) -> tuple[list[Source], list[Source], str]:
    """Return the sources of crops, those to measure quality on, and a name for the latter."""
    others = [] if held_out is None else _spread(_listed(Path(held_out), 1), most)
    if folder is None:
        calibration: list[Source] = [*PHOTOGRAPHS["train"]]
        kept, title = [*PHOTOGRAPHS["val"]], DEMO
    else:
        files = _listed(Path(folder), 1 if others else FEWEST_PHOTOGRAPHS)
        kept = [] if others else _spread(files[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY], most)
        calibration = _spread([file for file in files if file not in set(kept)], images)
        title = f"every {HELD_OUT_EVERY}th photograph of {Path(folder).name}"
    return calibration, others or kept, Path(held_out).name if others else title


def _listed(folder: Path, fewest: int) -> list[Path]:
    files = list_images(existing_folder(folder, ": name one with HR images"))
    if len(files) < fewest:
        raise BackendError(f"{folder} holds {len(files)} images, expected at least {fewest}: add more.")
    return files


def _spread(files: list[Path], most: int) -> list[Path]:
    """Return at most ``most`` of ``files``, evenly spread."""
    return files[:: ceil(len(files) / most)] if len(files) > most else files


def _read(source: Source) -> np.ndarray:
    """Return an image (H, W, 3), BGR, uint8."""
    return to_8_bit(read_image(source)) if isinstance(source, Path) else next(iter(photographs([source])))[1]


def _check_size(image: np.ndarray, source: Source, least: int) -> None:
    height, width = image.shape[:2]
    if min(height, width) < least:
        name = source if isinstance(source, str) else some([str(source)])
        raise BackendError(
            f"{name} is {width}x{height} pixels, expected at least {least}x{least} for one crop: take it out of the "
            "folder."
        )


def _crops(sources: Iterable[Source], images: int, side: int, scale: int) -> Iterator[np.ndarray]:
    """Yield ``images`` LR crops (side, side, 3), spread evenly over the sources, at reproducible places."""
    sources_left, images_left, random = len(sources), images, Random(0)
    for source in sources:
        image = _read(source)
        _check_size(image, source, side * scale)
        lr = imresize(mod_crop(image, scale), 1 / scale)
        number = ceil(images_left / sources_left)
        for _ in range(number):
            top, left = (random.randint(0, length - side) for length in lr.shape[:2])
            yield lr[top : top + side, left : left + side]
        images_left, sources_left = images_left - number, sources_left - 1


def _hr_center(source: Source, most: int, least: int, scale: int) -> np.ndarray:
    """Return the center of an HR image; its LR image has sides of at most ``most`` pixels."""
    image = _read(source)
    _check_size(image, source, least * scale)
    return center(mod_crop(image, scale), most * scale, most * scale)


def _with_channels(image: np.ndarray, channels: int) -> Tensor:
    """Return an image (H, W, 3), BGR, as (1, channels, H, W) in [0, 1]; gray is the mean of RGB."""
    tensor = to_tensor(image)
    return tensor if channels == 3 else tensor.mean(dim=1, keepdim=True)
