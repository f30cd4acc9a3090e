"""Degradations as pure functions of their arguments; nothing here draws random numbers on its own."""

from __future__ import annotations

import math

import numpy as np

BORDERS = {"mirror": "symmetric", "replicate": "edge"}


def cubic(x: np.ndarray) -> np.ndarray:
    """Return the bicubic interpolation kernel with a = -0.5 (Keys, 1981), as MATLAB's ``imresize`` uses it."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def resize_taps(size: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where each output sample of a bicubic resize looks, and with which weights.

    Args:
        size (int): Input length.
        scale (float): Output length over input length. Below 1 the kernel is stretched against aliasing.

    Returns:
        tuple: Indices (out, taps), possibly outside [0, size), and weights (out, taps) that sum to 1 per row.
    """
    stretch = max(1.0, 1 / scale)
    out = math.ceil(size * scale)
    center = (np.arange(1, out + 1) / scale) + 0.5 * (1 - 1 / scale)
    left = np.floor(center - 2 * stretch)
    taps = left[:, None] + np.arange(math.ceil(4 * stretch) + 2)
    weights = cubic((center[:, None] - taps) / stretch)
    return taps.astype(int) - 1, weights / weights.sum(axis=1, keepdims=True)


def imresize_uint8(image: np.ndarray, scale: float, border: str = "mirror") -> np.ndarray:
    """Bicubic resize of an 8-bit image, bit for bit as MATLAB's ``imresize`` does it on ``uint8``.

    Height first, rounded to 8 bit, then width, rounded again. Floating-point resizes with one rounding at the end
    differ from MATLAB's files in 10 to 16 % of the samples.

    Args:
        image (ndarray): (H, W) or (H, W, C), uint8.
        scale (float): Output over input size, for example 0.25 for x4 LR. Output sides are rounded up.
        border (str): ``'mirror'`` (current MATLAB; the IMDN test files) or ``'replicate'`` (older MATLAB; the FDIWN
            test files). The two differ in the outer two LR pixels only.

    Returns:
        ndarray: (ceil(H * scale), ceil(W * scale)) with the channels of ``image``, uint8.

    Raises:
        TypeError: If ``image`` is not uint8.
        ValueError: If ``border`` or ``scale`` is not supported.
    """
    if image.dtype != np.uint8:
        raise TypeError(f"imresize_uint8 needs a uint8 image, got {image.dtype}.")
    if border not in BORDERS:
        raise ValueError(f"`border` must be one of {sorted(BORDERS)}, got {border!r}.")
    if scale <= 0:
        raise ValueError(f"`scale` must be positive, got {scale}.")
    rows = _resize_first_axis(image, scale, border)
    return _resize_first_axis(rows.swapaxes(0, 1), scale, border).swapaxes(0, 1)


def _resize_first_axis(image: np.ndarray, scale: float, border: str) -> np.ndarray:
    size = image.shape[0]
    indices, weights = resize_taps(size, scale)
    pad = max(-indices.min(), indices.max() - size + 1, 0)
    position = np.pad(np.arange(size), pad, mode=BORDERS[border])[indices + pad]
    out = np.zeros((len(indices), *image.shape[1:]))
    for tap in range(indices.shape[1]):
        out += image[position[:, tap]] * weights[:, tap].reshape(-1, *[1] * (image.ndim - 1))
    return np.clip(np.floor(out + 0.5), 0, 255).astype(np.uint8)


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Cut (H, W, ...) at the bottom and right so that both sides are multiples of ``scale``."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]
