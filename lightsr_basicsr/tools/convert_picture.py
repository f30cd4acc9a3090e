"""What two networks are compared on: a real picture, for noise makes some of them overflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.data.demo_dataset import photographs
from lightsr_basicsr.tools.convert_source import ConvertError
from lightsr_basicsr.tools.images import read_image

PHOTOGRAPH = "coffee.png"
LR_SIZE = (120, 160)
LARGEST_SIDE = 256  # of a given picture: more shows nothing more, and takes memory


class Picture(NamedTuple):
    """An LR image (H, W, 3), B G R, uint8 or uint16, and what it is."""

    name: str
    image: np.ndarray


def take_picture(file: Path | None, scale: float) -> Picture:
    """Return the LR picture to compare on.

    Args:
        file (Path | None): An LR image, of which the middle is taken. None takes a photograph that comes with
            scikit-image, made small.
        scale (float): Output side over input side of the network.

    Raises:
        ImageError: If the image cannot be read.
        ConvertError: If there is no photograph.
    """
    if file is not None:
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


def run_on(net: SRNetwork, picture: Picture) -> list[Tensor]:
    """Return the images (1, C, H, W) in [0, 1] that a network makes of a picture, in evaluation mode.

    Inputs beside the LR image, such as the HR image of a KDSR teacher, are made of the same picture.

    Raises:
        ConvertError: If the network cannot be run on it.
    """
    height, width = picture.image.shape[:2]
    try:
        inputs = _in_place_of(net.example_input(height, width), picture.image)
        with torch.no_grad():
            output = net.eval()(*inputs)
    except Exception as error:
        # Networks of other packages raise anything.
        raise ConvertError(f"The network cannot be run on {picture.name}, {height}x{width} pixels: {error}") from error
    return [output] if isinstance(output, Tensor) else [image for image in output if isinstance(image, Tensor)]


def _in_place_of(example: Any, image: np.ndarray) -> Any:
    """Return inputs of the same structure and sizes as ``example``, made of the image (H, W, 3)."""
    if isinstance(example, (list, tuple)):
        return type(example)(_in_place_of(part, image) for part in example)
    factor = example.shape[2] / image.shape[0]
    resized = image if factor == 1 else imresize(image, factor)
    if example.shape[1] == 1:
        planes = [cv2.cvtColor(resized, cv2.COLOR_BGR2GRAY)]
    else:
        planes = [resized[:, :, 2 - channel % 3] for channel in range(example.shape[1])]
    return torch.from_numpy(np.stack(planes)[None].astype(np.float32) / np.iinfo(image.dtype).max)


def largest_difference(ones: list[Tensor], others: list[Tensor]) -> float:
    """Return the largest absolute difference of two networks' images; not finite where one has no finite number."""
    if [one.shape for one in ones] != [other.shape for other in others]:
        return float("inf")
    # `max` of torch hands on what is not a number, Python's does not.
    return torch.stack([(one - other).abs().max() for one, other in zip(ones, others, strict=True)]).max().item()
