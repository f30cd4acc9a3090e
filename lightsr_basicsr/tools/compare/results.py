"""What a comparison has found: methods with their costs, pictures with their scores, means, and what failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lightsr_basicsr.tools.compare.costs import Costs
from lightsr_basicsr.tools.compare.scores import METRICS, Metric, Protocol, mean
from lightsr_basicsr.tools.compare.sets import Failure, Item
from lightsr_basicsr.tools.images import fitted_high, read_image, to_8_bit

KILO, GIGA = 1e3, 1e9
MILLI = 1e-3


class Shown(NamedTuple):
    """A method in tables."""

    title: str
    source: str
    costs: Costs


class Column(NamedTuple):
    """A kind of cost in tables: title, unit, decimals, and its number for a method."""

    title: str
    unit: str
    digits: int
    value: Callable[[Costs], float | None]

    def shown(self, costs: Costs) -> str:
        """Return the number of a method as it is printed."""
        value = self.value(costs)
        return "-" if value is None else f"{value:,.{self.digits}f}"


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value / unit


COSTS = (
    Column("Params", "K", 0, lambda costs: _scaled(costs.parameters, KILO)),
    Column("Multi-adds", "G", 1, lambda costs: _scaled(costs.multi_adds, GIGA)),
    Column("Latency", "ms", 0, lambda costs: _scaled(costs.latency, MILLI)),
)


@dataclass(frozen=True)
class Compared:
    """A picture that all methods enlarged: their scores by metric, in the order of the methods, and their files."""

    item: Item
    scores: dict[str, list[float | None]]
    files: list[Path]


class Images(NamedTuple):
    """The images of a picture, (H, W, 3) BGR uint8: LR, HR where there is one, and those of the methods in order."""

    low: np.ndarray
    high: np.ndarray | None
    made: list[np.ndarray]


@dataclass
class Comparison:
    """The result of :func:`~lightsr_basicsr.tools.compare.run.compare`.

    Args:
        scale (int): Of all methods.
        methods (list[Shown]): In the order that they were named.
        protocol (Protocol): How pictures were measured.
        pictures (list[Compared]): Those that all methods enlarged; the means are over these.
        failed (list[Failure]): Files that could not be compared, and why.
        machine (str): What ran the networks, for the latencies.
        folder (Path): Where everything is.
        written (list[Path]): Files for the reader.
        full (bool): Whether there was no more room on the disk, after which nothing was tried.
    """

    scale: int
    methods: list[Shown]
    protocol: Protocol
    folder: Path
    machine: str = ""
    pictures: list[Compared] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    full: bool = False

    @property
    def titles(self) -> list[str]:
        """The titles of the methods."""
        return [each.title for each in self.methods]

    @property
    def metrics(self) -> list[Metric]:
        """The metrics."""
        return [METRICS[name] for name in self.protocol.metrics]

    @property
    def sets(self) -> list[str]:
        """The titles of the sets that have pictures."""
        return list(dict.fromkeys(each.item.set for each in self.pictures))

    @property
    def costs(self) -> list[Column]:
        """The kinds of costs that are known of a method."""
        return [each for each in COSTS if any(each.value(method.costs) is not None for method in self.methods)]

    @cached_property
    def means(self) -> dict[str, dict[str, list[float | None]]]:
        """Means over the pictures of a set, by its title and by metric, in the order of the methods."""
        return {
            title: {
                name: [mean(column) for column in zip(*rows, strict=True)]
                for name in self.protocol.metrics
                for rows in [[each.scores[name] for each in self.pictures if each.item.set == title]]
            }
            for title in self.sets
        }

    def images(self, picture: Compared) -> Images:
        """Return the images of a picture, read again.

        Raises:
            ImageError, OSError: If a file is no longer there, or has changed.
        """
        low, high = read_pair(picture.item, self.scale)
        return Images(low, high, [to_8_bit(read_image(file)) for file in picture.files])


def read_pair(item: Item, scale: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return LR and, where there is one, HR, (H, W, 3) BGR uint8; HR without what exceeds the size of the result.

    Raises:
        ImageError: If one cannot be read.
        ValueError: If HR has not ``scale`` times the size of LR.
    """
    low = to_8_bit(read_image(item.low))
    if item.high is None:
        return low, None
    high = to_8_bit(read_image(item.high))
    fitting = fitted_high(low, high, scale)
    if fitting is None:
        (height, width), wanted = high.shape[:2], [scale * side for side in low.shape[:2]]
        raise ValueError(
            f"{item.high} has {width}x{height} pixels; at x{scale} the {low.shape[1]}x{low.shape[0]} of LR need "
            f"{wanted[1]}x{wanted[0]}: is this LR of another scale, or another picture?"
        )
    return low, fitting


def luma(image: np.ndarray) -> np.ndarray:
    """Return Y of a BGR uint8 image (H, W, 3), (H, W) float32 in [16, 235], as MATLAB computes it."""
    weights = np.float32([[24.966, 128.553, 65.481]]) / 255
    return cv2.transform(image.astype(np.float32), weights).reshape(image.shape[:2]) + 16
