"""Pixels as a network takes and gives them, without a loss of bits."""

from __future__ import annotations

import numpy as np

from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.picture import Picture, largest

ROWS = 256  # converted at once, so that no second picture of floats is needed
Area = tuple[slice, slice]
WHOLE: Area = (slice(None), slice(None))


def to_network(picture: Picture, area: Area = WHOLE) -> np.ndarray:
    """Return color as a network's input (1, 3, H, W), RGB, float32 in [0, 1]; gray is repeated.

    Args:
        picture (Picture): The picture. Of floats, ``picture.value_range`` becomes 0 to 1.
        area (tuple[slice, slice]): Rows and columns to take. Default: all.
    """
    return _to_network(picture.color[area], *picture.value_range)


def alpha_to_network(picture: Picture, area: Area = WHOLE) -> np.ndarray:
    """Return transparency as the gray input (1, 3, H, W) of a network, float32 in [0, 1].

    Args:
        picture (Picture): A picture with ``alpha``.
        area (tuple[slice, slice]): Rows and columns to take. Default: all.

    Raises:
        ValueError: If the picture has no alpha.
    """
    if picture.alpha is None:
        raise ValueError("The picture has no alpha.")
    return _to_network(np.clip(picture.alpha[area], 0, largest(picture.alpha.dtype))[:, :, None],
                       0.0, largest(picture.alpha.dtype))  # fmt: skip


def _to_network(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    values = pixels.transpose(2, 0, 1).astype(np.float32, order="C")
    if low:
        values -= np.float32(low)
    if high - low != 1:
        values /= np.float32(high - low)
    return (values if len(values) == 3 else values.repeat(3, axis=0))[None]


def from_network(output: np.ndarray, picture: Picture) -> np.ndarray:
    """Return a network's output as color (H, W, C) of the picture's kind: rounded, and clipped to its range of values.

    Args:
        output (np.ndarray): (1, 3, H, W) or (3, H, W), RGB, in [0, 1] and beyond; one channel is taken as gray.
        picture (Picture): What the network was given: gray gets the mean of the channels, floats their range.

    Raises:
        ImageError: If the output holds NaN.
        ValueError: If it has another shape.
    """
    return _from_network(output, picture.color.shape[2], picture.color.dtype, *picture.value_range)


def alpha_from_network(output: np.ndarray, picture: Picture) -> np.ndarray:
    """Return a network's output as alpha (H, W) of the picture's kind; arguments and errors as of `from_network`."""
    return _from_network(output, 1, picture.color.dtype, 0.0, largest(picture.color.dtype))[:, :, 0]


def _from_network(output: np.ndarray, channels: int, kind: np.dtype, low: float, high: float) -> np.ndarray:
    planes = output[0] if output.ndim == 4 and len(output) == 1 else output
    if planes.ndim != 3 or len(planes) not in (1, 3):
        raise ValueError(f"A network's output must be (1, 3, H, W) or (3, H, W), got {output.shape}.")
    found = np.empty((*planes.shape[1:], channels), kind)
    for top in range(0, planes.shape[1], ROWS):
        part = planes[:, top : top + ROWS].astype(np.float32)
        if len(part) != channels:
            # In float64 the mean of three equal numbers is exactly that number.
            mean = part.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
            part = mean if channels == 1 else part.repeat(channels, axis=0)
        if np.isnan(part).any():
            raise ImageError("the network gives NaN: try precision fp32, or check the checkpoint with `basicsr info`.")
        part = np.clip(part, 0, 1, out=part)
        if high - low != 1:
            part *= np.float32(high - low)
        if low:
            part += np.float32(low)
        found[top : top + ROWS] = (part if kind == np.float32 else np.rint(part, out=part)).transpose(1, 2, 0)
    return found
