"""PSNR and SSIM of a network on a folder of LR images and a folder of HR images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import numpy as np
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from torch import Tensor

from lightsr_basicsr.runtimes.base import Runtime
from lightsr_basicsr.tools.benchmark.sources import BenchmarkError
from lightsr_basicsr.tools.images import fitted_high, folder_images, partners, read_image, some, to_8_bit
from lightsr_basicsr.tools.photographs import to_tensor

Pair = tuple[Path, Path]  # an LR image and its HR image


class Quality(NamedTuple):
    """Means over the images: PSNR in dB, SSIM, and seconds of one image."""

    psnr: float
    ssim: float
    seconds: float


def find_pairs(data: str | Path, gt: str | Path) -> list[Pair]:
    """Return the LR images of ``data`` with the HR images of ``gt``, by name: ``0801.png`` or ``0801x4.png``.

    Raises:
        ImageError: If a folder is missing or empty.
        BenchmarkError: If an LR image has no HR image.
    """
    lows = folder_images(data, ": name another with --data")
    highs = folder_images(gt, ": name another with --gt")
    partner = partners(lows, highs)
    alone = [low.name for low, high in partner.items() if high is None]
    if alone:
        raise BenchmarkError(
            f"{gt} has no HR image for {some(alone)} of {data}: names must be the same, or end in x2, x3 and "
            "so on for LR."
        )
    return list(partner.items())


def read_pair(pair: Pair, scale: float) -> tuple[Tensor, np.ndarray]:
    """Return LR (1, 3, H, W), float32 RGB in [0, 1], and HR (sH, sW, 3), BGR uint8, cropped to that size.

    Raises:
        ImageError: If an image cannot be read.
        BenchmarkError: If HR is not ``scale`` times as large; up to ``scale`` - 1 extra rows and columns are allowed.
    """
    low, high = read_image(pair[0]), to_8_bit(read_image(pair[1]))
    fitting = fitted_high(low, high, scale)
    if fitting is None:
        wanted = [round(side * scale) for side in low.shape[:2]]
        raise BenchmarkError(
            f"{pair[1]} has {high.shape[0]}x{high.shape[1]} pixels (height x width); for x{scale:g} and the "
            f"{low.shape[0]}x{low.shape[1]} of {pair[0]} it must have {wanted[0]}x{wanted[1]}: name the LR images of "
            "this scale with --data, or measure networks of another scale on their own."
        )
    return to_tensor(low), fitting


def score(runtime: Runtime, pairs: Sequence[Pair], device: str = "cpu") -> Quality:
    """Return mean PSNR and SSIM of a network's outputs: luma, without a border of the scale's width.

    Raises:
        ImageError, BenchmarkError: As :func:`read_pair`.
    """
    how = {"crop_border": round(runtime.scale), "test_y_channel": True}
    found = []
    for pair in pairs:
        low, high = read_pair(pair, runtime.scale)
        image = low.to(device)
        start = time.perf_counter()
        output = runtime(image)
        if image.is_cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        made = tensor2img([output.cpu()])
        found.append((calculate_psnr(made, high, **how), calculate_ssim(made, high, **how), seconds))
    return Quality(*(float(mean(numbers)) for numbers in zip(*found, strict=True)))
