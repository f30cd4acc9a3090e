"""Numbers of a picture: PSNR, SSIM, LPIPS and DISTS against HR, NIQE without it, computed as by ``basicsr test``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np
from basicsr.utils.registry import METRIC_REGISTRY

from lightsr_basicsr.tools.compare.sets import CompareError

SSIM_WINDOW = 11  # pixels
NIQE_BLOCK = 96  # pixels; NIQE compares blocks with each other, so it needs two


class Metric(NamedTuple):
    """A metric: its name in an option file without ``calculate_``, title, unit, decimals, and how it is read."""

    name: str
    title: str
    digits: int
    higher: bool  # whether higher is better
    unit: str = ""
    needs_high: bool = True  # whether it compares with HR
    luma: bool = False  # whether the border and the choice of Y apply to it

    def shown(self, value: float | None) -> str:
        """Return a value as it is printed."""
        return "-" if value is None else f"{value:.{self.digits}f}"


METRICS = {
    each.name: each
    for each in (
        Metric("psnr", "PSNR", 2, True, "dB", luma=True),
        Metric("ssim", "SSIM", 4, True, luma=True),
        Metric("lpips", "LPIPS", 4, False),
        Metric("dists", "DISTS", 4, False),
        Metric("niqe", "NIQE", 3, False, needs_high=False),
    )
}


@dataclass(frozen=True)
class Protocol:
    """How pictures are measured.

    Args:
        metrics (tuple[str, ...]): Keys of ``METRICS``.
        crop_border (int): Pixels cut off at each side for PSNR, SSIM and NIQE.
        y_channel (bool): Whether PSNR and SSIM are those of the luma Y, else of RGB. Default: True.
    """

    metrics: tuple[str, ...]
    crop_border: int
    y_channel: bool = True

    def measure(self, name: str, image: np.ndarray, high: np.ndarray | None) -> float | None:
        """Return a metric of an image (H, W, 3), BGR uint8; None if it is too small for it.

        Raises:
            UserError: If what computes it is not installed.
        """
        calculate = METRIC_REGISTRY.get(f"calculate_{name}")
        inside = [side - 2 * self.crop_border for side in image.shape[:2]]
        if name == "niqe":
            enough = (inside[0] // NIQE_BLOCK) * (inside[1] // NIQE_BLOCK) >= 2
            return float(calculate(image, crop_border=self.crop_border)) if enough else None
        if not METRICS[name].luma:
            return float(calculate(image, high))
        if min(inside) < (SSIM_WINDOW if name == "ssim" else 1):
            return None
        return float(calculate(image, high, crop_border=self.crop_border, test_y_channel=self.y_channel))

    def fingerprint(self, name: str, high: str) -> str:
        """Return what the number of a metric depends on, besides the image: ``high`` stands for the HR image."""
        how = [name, METRICS[name].needs_high and high]
        how += [self.crop_border, self.y_channel] if METRICS[name].luma or name == "niqe" else []
        return hashlib.sha256(json.dumps(how).encode()).hexdigest()[:16]

    @property
    def text(self) -> str:
        """The protocol in words."""
        parts, border = [], f"without {self.crop_border} pixels at each side" if self.crop_border else "whole pictures"
        for names, how in (
            (("psnr", "ssim"), f"on {'luma (Y)' if self.y_channel else 'RGB'}, {border}"),
            (("niqe",), f"on luma (Y), {border}"),
            (("lpips",), "VGG, on RGB, whole pictures"),
            (("dists",), "on RGB, whole pictures"),
        ):
            titles = [METRICS[name].title for name in names if name in self.metrics]
            parts += [f"{' and '.join(titles)} {how}"] if titles else []
        return "; ".join(parts)


def chosen_metrics(asked: Sequence[str] | None, with_high: bool) -> tuple[str, ...]:
    """Return the metrics to compute: those asked for, else PSNR and SSIM, or NIQE without HR images.

    Raises:
        CompareError: If one is unknown, or needs HR images.
        MetricUnavailableError: If the library or the weights of one are missing.
    """
    if not asked:
        return ("psnr", "ssim") if with_high else ("niqe",)
    names = tuple(dict.fromkeys(name.lower() for name in asked))
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise CompareError(f"Expected metrics among {', '.join(METRICS)}, got {unknown[0]!r}: correct --metrics.")
    comparing = [name for name in names if METRICS[name].needs_high]
    if comparing and not with_high:
        raise CompareError(f"{comparing[0]} compares with HR images, and none were named: add --gt FOLDER.")
    for name in names:
        prepare = getattr(METRIC_REGISTRY.get(f"calculate_{name}"), "prepare", None)
        if prepare is not None:
            prepare(better="lower")
    return names


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the numbers among ``values``, None without any.

    >>> mean([1.0, None, 2.0])
    1.5
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def ranks(values: Sequence[float | None], metric: Metric) -> list[int]:
    """Return 1 for the best of ``values``, 2 for the second best and 0 for the rest; equal as printed is equal.

    Nothing is marked where all are equal.

    >>> ranks([30.001, 30.004, 29.0, 28.0, None], METRICS["psnr"])
    [1, 1, 2, 0, 0]
    """
    shown = [None if value is None else (round(value, metric.digits) if isfinite(value) else value) for value in values]
    steps = sorted({value for value in shown if value is not None}, reverse=metric.higher)
    if len(steps) < 2:
        return [0] * len(shown)
    return [0 if value is None or value not in steps[:2] else steps.index(value) + 1 for value in shown]
