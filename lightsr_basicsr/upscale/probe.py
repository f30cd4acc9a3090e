"""How much a picture's tiles differ from the picture as a whole, measured on a part of it."""

from __future__ import annotations

import numpy as np

from lightsr_basicsr.upscale.tiles import TileRunner

PROBED_TILE = 96  # core of each of the four tiles, in LR pixels


def probe_tiles(runner: TileRunner, picture: np.ndarray, tile: int = PROBED_TILE) -> float:
    """Return the PSNR in dB of four tiles against the same part of a picture as a whole; inf where they are equal.

    Smaller tiles differ more, so that of larger ones it says the least that they reach.

    Args:
        runner (TileRunner): As it will run the picture: overlap and passes are its own.
        picture (np.ndarray): (H, W, C), uint8, uint16, or floating point in [0, 1]; its middle is taken.
        tile (int): Core of the tiles, in LR pixels. Default: 96.

    Raises:
        TileError: If memory is too small for the part as a whole.
    """
    part = middle_of(picture, 2 * tile)
    cut, whole = (
        TileRunner(runner.run, runner.scale, runner.plan._replace(size=size), runner.net).upscale(part, "float32")
        for size in (tile, max(part.shape[:2]))
    )
    return psnr_between(cut, whole)


def middle_of(picture: np.ndarray, side: int) -> np.ndarray:
    """Return the middle of (H, W, C), at most ``side`` rows and columns.

    >>> middle_of(np.arange(5)[:, None, None], 3)[:, 0, 0]
    array([1, 2, 3])
    """
    starts = [max(0, (length - side) // 2) for length in picture.shape[:2]]
    return picture[starts[0] : starts[0] + side, starts[1] : starts[1] + side]


def psnr_between(first: np.ndarray, second: np.ndarray) -> float:
    """Return the PSNR in dB of two pictures in [0, 1], outside of which values are clamped; inf for equal ones.

    >>> psnr_between(np.zeros((2, 2, 3)), np.full((2, 2, 3), 0.1))
    20.0
    """
    error = np.square(np.clip(first, 0, 1).astype(np.float64) - np.clip(second, 0, 1)).mean()
    return float("inf") if error == 0 else round(float(-10 * np.log10(error)), 6)
