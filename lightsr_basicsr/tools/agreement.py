"""What two networks are compared on: a real picture, for noise makes some of them overflow."""

from __future__ import annotations

from copy import deepcopy
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.tools.images import read_image
from lightsr_basicsr.tools.networks import ConvertError

PHOTOGRAPH = "coffee.png"
LR_SIZE = (120, 160)
LARGEST_SIDE = 256  # of a given picture: more shows nothing more, and takes memory


class Picture(NamedTuple):
    """An LR image (H, W, 3), B G R, uint8 or uint16, and what it is."""

    name: str
    image: np.ndarray


class Difference(NamedTuple):
    """Largest difference of two networks' images in [0, 1], and that in float32 where float64 had to decide."""

    value: float
    in_float32: float | None = None


def take_picture(file: Path | None, scale: float) -> Picture:
    """Return the LR picture to compare on.

    Args:
        file (Path | None): An LR image, of which the middle is taken. None takes a photograph that comes with
            scikit-image, made small.
        scale (float): Output side over input side of the network.

    Raises:
        ImageError: If the image cannot be read.
        ConvertError: If there is no such file, or no photograph.
    """
    if file is not None:
        if not file.is_file():
            found = f"{file} is a folder" if file.is_dir() else f"There is no picture at {file}"
            raise ConvertError(f"{found} (looked from {Path.cwd()}): name an LR image with -i.")
        return Picture(str(file), _middle(read_image(file), LARGEST_SIDE, LARGEST_SIDE))
    try:
        ((name, image),) = photographs([PHOTOGRAPH])
    except (ImportError, FileNotFoundError) as error:
        raise ConvertError(
            "The comparison needs a picture, and scikit-image, which brings photographs, is not there: name an LR "
            "image with -i, or pip install scikit-image."
        ) from error
    factor = max(round(scale), 1)
    sides = (factor * min(side, most // factor) for side, most in zip(LR_SIZE, image.shape[:2], strict=True))
    part = _middle(image, *sides)
    return Picture(f"photograph '{name}' of scikit-image", part if factor == 1 else imresize(part, 1 / factor))


def _middle(image: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (max(side - most, 0) // 2 for side, most in zip(image.shape[:2], (height, width), strict=True))
    return image[top : top + height, left : left + width]


def run_on(net: SRNetwork, picture: Picture, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return the images (1, C, H, W) in [0, 1] that a network makes of a picture, in evaluation mode.

    Inputs beside the LR image, such as the HR image of a KDSR teacher, are made of the same picture.

    Args:
        net (SRNetwork): The network, in float32; it stays as it is.
        picture (Picture): The LR image.
        dtype (torch.dtype): What to compute in, float32 or float64. Default: float32.

    Raises:
        ConvertError: If the network cannot be run on it.
    """
    height, width = picture.image.shape[:2]
    try:
        inputs = _in_place_of(net.example_input(height, width), picture.image, dtype)
        run = net if dtype == torch.float32 else deepcopy(net).to(dtype)
        with torch.no_grad():
            output = run.eval()(*inputs)
    except Exception as error:
        # Networks of other packages raise anything.
        raise ConvertError(f"The network cannot be run on {picture.name}, {height}x{width} pixels: {error}") from error
    return [output] if isinstance(output, Tensor) else [image for image in output if isinstance(image, Tensor)]


def _in_place_of(example: Any, image: np.ndarray, dtype: torch.dtype) -> Any:
    """Return inputs of the same structure and sizes as ``example``, made of the image (H, W, 3)."""
    if isinstance(example, (list, tuple)):
        return type(example)(_in_place_of(part, image, dtype) for part in example)
    factor = example.shape[2] / image.shape[0]
    resized = image if factor == 1 else imresize(image, factor)
    if example.shape[1] == 1:
        planes = [cv2.cvtColor(resized, cv2.COLOR_BGR2GRAY)]
    else:
        planes = [resized[:, :, 2 - channel % 3] for channel in range(example.shape[1])]
    return torch.from_numpy(np.stack(planes)[None].astype(np.float64) / np.iinfo(image.dtype).max).to(dtype)


def compare(source: SRNetwork, written: SRNetwork, picture: Picture, tolerance: float) -> Difference:
    """Return by how much two networks' images of a picture differ, which is at most ``tolerance``.

    Where they differ by more in float32, rounding of a network that enlarges it may be the reason: float64 decides.

    Raises:
        ConvertError: If they differ by more in float64 as well, or a network gives no finite numbers.
    """
    expected = run_on(source, picture)
    if not all(bool(torch.isfinite(image).all()) for image in expected):
        raise ConvertError(
            f"The output of the network itself is not a number on {picture.name}: nothing was written. Try another "
            "picture with -i; if it stays so, the training diverged."
        )
    single = _finite_difference(expected, run_on(written, picture), picture)
    if single <= tolerance:
        return Difference(single)
    told = f"The deployed network's output differs by {single:.3g} of the range"
    allowed = f"on {picture.name}; {tolerance:g} is allowed (--tolerance). Nothing was written."
    try:
        pair = [run_on(net, picture, torch.float64) for net in (source, written)]
    except ConvertError as error:
        raise ConvertError(f"{told} {allowed} Float64 could not decide. {error}") from error
    double = _finite_difference(*pair, picture)
    if not double <= tolerance:
        raise ConvertError(f"{told} in float32, and by {double:.3g} in float64, {allowed}")
    return Difference(double, single)


def _finite_difference(expected: list[Tensor], got: list[Tensor], picture: Picture) -> float:
    shapes, others = ([tuple(image.shape) for image in images] for images in (expected, got))
    if shapes != others:
        raise ConvertError(
            f"The deployed network makes images of other shapes of {picture.name}: expected "
            f"{', '.join(map(str, shapes))}, got {', '.join(map(str, others))}. Nothing was written."
        )
    difference = largest_difference(expected, got)
    if not isfinite(difference):
        raise ConvertError(
            f"The deployed network's output differs by what is not a number on {picture.name}. Nothing was written."
        )
    return difference


def largest_difference(ones: list[Tensor], others: list[Tensor]) -> float:
    """Return the largest absolute difference of two networks' images; not finite where one has no finite number."""
    if [one.shape for one in ones] != [other.shape for other in others]:
        return float("inf")
    # `max` of torch hands on what is not a number, Python's does not.
    return torch.stack([(one - other).abs().max() for one, other in zip(ones, others, strict=True)]).max().item()
