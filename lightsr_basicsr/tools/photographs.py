"""Test images: one that scikit-image contains, or an LR image of the user; and images as tensors."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from lightsr_basicsr.data.degradations import imresize
from lightsr_basicsr.data.photographs import photographs
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.tools.images import read_image

PHOTOGRAPH = "coffee.png"
LR_SIZE = (120, 160)
LARGEST_SIDE = 256  # of a user's image: more pixels show nothing more, and need memory
SEED = 0


class LRImage(NamedTuple):
    """An LR image (H, W, 3), BGR, uint8 or uint16, and its name in messages."""

    name: str
    image: np.ndarray


def load_photograph() -> np.ndarray:
    """Return the test image (400, 600, 3), BGR uint8.

    Raises:
        ImageError: If scikit-image, which contains it, is missing.
    """
    try:
        ((_, image),) = photographs([PHOTOGRAPH])
    except (ImportError, FileNotFoundError) as error:
        raise ImageError(
            "The test image comes with scikit-image, which is missing or incomplete: pip install scikit-image."
        ) from error
    return image


def lr_image(file: Path | None, scale: float) -> LRImage:
    """Return the LR image to compare networks on.

    Args:
        file (Path | None): An LR image, of which the center is used. None downscales the test image.
        scale (float): Output side over input side of the network.

    Raises:
        ImageError: If the file is missing or cannot be read, or None is given and scikit-image is missing.
    """
    if file is not None:
        if not file.is_file():
            found = f"{file} is a folder" if file.is_dir() else f"There is no LR image at {file}"
            raise ImageError(f"{found} (looked from {Path.cwd()}): name an LR image with -i.")
        return LRImage(str(file), center(read_image(file), LARGEST_SIDE, LARGEST_SIDE))
    try:
        image = load_photograph()
    except ImageError as error:
        raise ImageError(f"{error} Or name an LR image with -i.") from error
    factor = max(round(scale), 1)
    sides = (factor * min(side, most // factor) for side, most in zip(LR_SIZE, image.shape[:2], strict=True))
    part = center(image, *sides)
    return LRImage(
        f"test image '{Path(PHOTOGRAPH).stem}' of scikit-image", part if factor == 1 else imresize(part, 1 / factor)
    )


def center(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the center of an image (H, W, C), at most ``height`` by ``width`` pixels."""
    top, left = (max(side - most, 0) // 2 for side, most in zip(image.shape[:2], (height, width), strict=True))
    return image[top : top + height, left : left + width]


def to_tensor(image: np.ndarray, num_in_ch: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return an image (H, W, 3), BGR, uint8 or uint16, as (1, num_in_ch, H, W) in [0, 1]: RGB, repeated, or gray.

    >>> to_tensor(np.uint8([[[0, 51, 255]]])).flatten()
    tensor([1.0000, 0.2000, 0.0000])
    """
    if num_in_ch == 1:
        planes = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)]
    else:
        planes = [image[:, :, 2 - channel % 3] for channel in range(num_in_ch)]
    return torch.from_numpy(np.stack(planes)[None] / float(np.iinfo(image.dtype).max)).to(dtype)


def image_of_size(height: int, width: int, channels: int = 3) -> Tensor:
    """Return an LR image (1, channels, height, width), float32 RGB in [0, 1]: the test image, mirrored to its size.

    Without scikit-image a smooth random image replaces it: activations of some networks overflow on noise.
    """
    try:
        small = nn.functional.interpolate(to_tensor(load_photograph()), scale_factor=0.25, mode="area")
    except ImageError:
        noise = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(SEED))
        small = nn.functional.interpolate(noise, LR_SIZE, mode="bicubic").clamp(0, 1)
    rows, columns = (np.pad(np.arange(have), (0, max(want - have, 0)), "symmetric")[:want]
                     for have, want in zip(small.shape[2:], (height, width), strict=True))  # fmt: skip
    image = small[:, :, torch.from_numpy(rows)][:, :, :, torch.from_numpy(columns)]
    if channels == 1:
        return image.mean(1, keepdim=True)
    return image[:, [channel % 3 for channel in range(channels)]].contiguous()
