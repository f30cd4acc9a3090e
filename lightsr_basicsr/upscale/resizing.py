"""Bring the result of a network to a scale that the network does not have."""

from __future__ import annotations

from math import isfinite

import numpy as np
from PIL import Image

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.pictures.picture import largest

LARGEST_SCALE = 64  # a network and a filter add nothing beyond


class ScaleError(UserError):
    """The wanted scale is not possible."""


def check_outscale(outscale: float | None) -> None:
    """Raise ScaleError unless a scale is None, or more than 0 and at most ``LARGEST_SCALE``."""
    number = isinstance(outscale, (int, float)) and not isinstance(outscale, bool)
    if outscale is None or (number and isfinite(outscale) and 0 < outscale <= LARGEST_SCALE):
        return
    raise ScaleError(
        f"Expected a scale above 0 and up to {LARGEST_SCALE}, got {outscale}: leave it out for that of the network."
    )


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return width and height at a scale, at least one pixel.

    >>> scaled((101, 3), 1.5), scaled((1, 1), 0.25)
    ((152, 4), (1, 1))
    """
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return pixels in another size by Lanczos' filter of three lobes, which is widened where it shrinks.

    Values stay within the range of the type, those of floats within that of ``pixels``.

    Args:
        pixels (np.ndarray): (H, W) or (H, W, C), uint8, uint16 or float32.
        size (tuple[int, int]): Width and height of the result.
    """
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
    made = np.empty((size[1], size[0], planes.shape[2]), pixels.dtype)
    for channel in range(planes.shape[2]):
        made[:, :, channel] = _plane(np.ascontiguousarray(planes[:, :, channel]), size)
    return made[:, :, 0] if pixels.ndim == 2 else made


def _plane(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if plane.dtype == np.uint8:
        return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS))
    found = np.asarray(Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.LANCZOS))
    if plane.dtype == np.float32:
        return np.clip(found, plane.min(), plane.max())
    return np.rint(np.clip(found, 0, largest(plane.dtype)))
