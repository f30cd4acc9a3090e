"""Which part of a picture to zoom into: the one that a user names, or where the methods differ most."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lightsr_basicsr.tools.compare.methods import BICUBIC
from lightsr_basicsr.tools.compare.results import Comparison, Images, luma
from lightsr_basicsr.tools.compare.sets import CompareError
from lightsr_basicsr.tools.images import largest_sum

SMALLEST, LARGEST = 32, 112  # sides of a part that is chosen, in pixels of HR
PARTS = 4.5  # the shorter side of a picture over that of a part


class Crop(NamedTuple):
    """A part of HR: left, top, width and height in pixels."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """Return this part of an image (H, W, ...)."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]

    def of_low(self, image: np.ndarray, scale: int) -> np.ndarray:
        """Return the pixels of LR that this part was made of."""
        below, beside = -(-(self.y + self.height) // scale), -(-(self.x + self.width) // scale)
        return image[self.y // scale : below, self.x // scale : beside]

    def fits(self, height: int, width: int) -> bool:
        """Return whether it lies within an image."""
        return self.x + self.width <= width and self.y + self.height <= height


class Chosen(NamedTuple):
    """A part, and how much the methods differ there: the mean standard deviation of Y over the methods."""

    crop: Crop
    spread: float


def parse_crop(text: str) -> Crop:
    """Return the part that ``x,y,w,h`` names.

    Raises:
        CompareError: If it is not four whole numbers, or has no size.

    >>> parse_crop("120,40,64,48")
    Crop(x=120, y=40, width=64, height=48)
    """
    if re.fullmatch(r"\s*(\d{1,6}\s*,\s*){3}\d{1,6}\s*", text):
        found = Crop(*map(int, text.split(",")))
        if found.width and found.height:
            return found
    raise CompareError(f"Expected x,y,w,h in pixels of HR, such as 120,40,64,64, got {text!r}: correct --crop.")


def choose_crop(found: Comparison, images: Images, asked: Crop | None = None) -> Chosen:
    """Return the part that is asked for, where it lies within the picture, else a square where the methods differ most.

    Args:
        found (Comparison): Names the methods; where there are several networks, bicubic interpolation does not count.
        images (Images): Of one picture.
        asked (Crop | None): A part. Default: None.
    """
    height, width = images.made[0].shape[:2]
    differences = _differences(found.titles, images)
    if asked is not None and asked.fits(height, width):
        crop = asked
    else:
        side = int(np.clip(min(height, width) / PARTS, SMALLEST, LARGEST)) // found.scale * found.scale
        sides = [min(max(side, found.scale), each) for each in (height, width)]
        top, left = largest_sum(differences, *sides)
        # Whole pixels of LR, so that those of all images lie in the same place.
        crop = Crop(left // found.scale * found.scale, top // found.scale * found.scale, sides[1], sides[0])
    return Chosen(crop, float(crop.of(differences).mean()))


def _differences(titles: Sequence[str], images: Images) -> np.ndarray:
    """Return by how much the methods differ at each pixel; of a single one its error, or its detail without HR."""
    networks = [image for title, image in zip(titles, images.made, strict=True) if title != BICUBIC]
    compared = [luma(image) for image in (networks if len(networks) > 1 else images.made)]
    if len(compared) == 1:
        against = compared[0].mean() if images.high is None else luma(images.high)
        return np.abs(compared[0] - against)
    return np.std(compared, axis=0)
