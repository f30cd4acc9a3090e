"""How much a picture's tiles differ from the picture as a whole, measured on parts of it."""

from __future__ import annotations

import numpy as np

from lightsr_basicsr.upscale.tiles import TileRunner

PROBED_TILE, PROBED_SIDE = 96, 192  # core of each tile, and side of all together, in LR pixels


def probe_tiles(runner: TileRunner, picture: np.ndarray, tile: int = PROBED_TILE) -> float:
    """Return the PSNR in dB of small tiles of a picture against the same parts as a whole; inf where they are equal.

    The parts are spread over the picture and joined, so that they differ as its own tiles do. Smaller tiles differ
    more, so that of larger ones it says about the least that they reach.

    Args:
        runner (TileRunner): As it will run the picture: overlap and passes are its own.
        picture (np.ndarray): (H, W, C), uint8, uint16, or floating point in [0, 1].
        tile (int): Core of the tiles, in LR pixels. Default: 96.

    Raises:
        TileError: If memory is too small for the parts as a whole.
    """
    part = spread_parts(picture, tile, max(2, PROBED_SIDE // tile))
    cut, whole = (
        TileRunner(runner.run, runner.scale, runner.plan._replace(size=size), runner.net).upscale(part, "float32")
        for size in (tile, max(part.shape[:2]))
    )
    return psnr_between(cut, whole)


def spread_parts(picture: np.ndarray, side: int, count: int) -> np.ndarray:
    """Return parts of (H, W, C), ``count`` down and across, evenly spread and joined; all along a side that is shorter.

    >>> spread_parts(np.arange(11)[:, None, None], 2, 2)[:, 0, 0]
    array([1, 2, 7, 8])
    """
    for axis in (0, 1):
        length = picture.shape[axis]
        if length > side * count:
            starts = [(2 * number + 1) * length // (2 * count) - side // 2 for number in range(count)]
            picture = picture.take(np.concatenate([np.arange(start, start + side) for start in starts]), axis)
    return picture


def psnr_between(first: np.ndarray, second: np.ndarray) -> float:
    """Return the PSNR in dB of two pictures in [0, 1], outside of which values are clamped; inf for equal ones.

    >>> psnr_between(np.zeros((2, 2, 3)), np.full((2, 2, 3), 0.1))
    20.0
    """
    error = np.square(np.clip(first, 0, 1).astype(np.float64) - np.clip(second, 0, 1)).mean()
    return float("inf") if error == 0 else round(float(-10 * np.log10(error)), 6)
