"""Numbers over iterations: of one start of a run, joined over resumes, and thinned for a page."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import NamedTuple

LOSS, METRIC, RATE, PACE, OTHER = "loss", "metric", "lr", "time", "other"
MOST = 1500  # points of a curve in a page


class Key(NamedTuple):
    """What a curve shows: its kind, the name as logged without the stage, the validation set or '', the stage or ''."""

    kind: str
    name: str
    set: str = ""
    stage: str = ""


@dataclass
class Series:
    """A curve: iterations, values, and the seconds of training up to each of them; NaN and Inf are kept."""

    iterations: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, iteration: int, value: float, seconds: float) -> None:
        """Append a point; what was there of this iteration or later ones is replaced."""
        if self.iterations and iteration <= self.iterations[-1]:
            self.cut(iteration - 1)
        self.iterations.append(iteration)
        self.values.append(value)
        self.seconds.append(seconds)

    def cut(self, last: int) -> None:
        """Remove the points after iteration ``last``."""
        end = bisect_right(self.iterations, last)
        for column in (self.iterations, self.values, self.seconds):
            del column[end:]

    @property
    def broken(self) -> list[int]:
        """Iterations whose value is NaN or Inf."""
        return [iteration for iteration, value in zip(self.iterations, self.values, strict=True) if not isfinite(value)]


Curves = dict[Key, Series]


def join(curves: Curves, more: Mapping[Key, Series], start: int, before: float) -> int:
    """Append the curves of a later start of the run, and return how many iterations they replace.

    Args:
        curves (dict): Those of the earlier starts, which are changed.
        more (Mapping): Those of the later one.
        start (int): The iteration that it goes on from; what came after it was computed again.
        before (float): Seconds of training up to ``start``.
    """
    last = max((each.iterations[-1] for each in curves.values() if each.iterations), default=0)
    for each in curves.values():
        each.cut(start)
    for key, series in more.items():
        own = curves.setdefault(key, Series())
        for iteration, value, seconds in zip(series.iterations, series.values, series.seconds, strict=True):
            own.add(iteration, value, before + seconds)
    return max(0, last - start)


class Thinned(NamedTuple):
    """A curve for a page: its points, and where they stand for several, the lowest and the highest of these."""

    iterations: list[int]
    values: list[float | None]
    seconds: list[float]
    low: list[float | None] | None
    high: list[float | None] | None


def thin(series: Series, most: int = MOST) -> Thinned:
    """Return a curve of at most ``most`` points: means of spans of equal numbers of points. NaN and Inf become None."""
    values = [value if isfinite(value) else None for value in series.values]
    if len(values) <= most:
        seconds = [round(each, 1) for each in series.seconds]
        return Thinned(list(series.iterations), [_short(each) for each in values], seconds, None, None)
    edges = [round(place * len(values) / most) for place in range(most + 1)]
    spans = list(pairwise(edges))
    kept = [[each for each in values[first:end] if each is not None] for first, end in spans]
    return Thinned(
        [series.iterations[end - 1] for _, end in spans],
        [_short(sum(each) / len(each)) if each else None for each in kept],
        [round(series.seconds[end - 1], 1) for _, end in spans],
        [_short(min(each)) if each else None for each in kept],
        [_short(max(each)) if each else None for each in kept],
    )


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def best_of(
    series: Series, higher: bool, among: Sequence[int] | None = None, since: int = 0
) -> tuple[int, float] | None:
    """Return iteration and value of the best point, the first of equal ones; None without a finite one.

    Args:
        series (Series): A curve.
        higher (bool): Whether higher is better.
        among (Sequence[int] | None): Only these iterations. Default: None, all.
        since (int): Only iterations after this one; 0 is all. Default: 0.
    """
    pairs = [
        (iteration, value)
        for iteration, value in zip(series.iterations, series.values, strict=True)
        if isfinite(value) and (among is None or iteration in among) and (iteration > since or not since)
    ]
    return (max if higher else min)(pairs, key=lambda pair: pair[1], default=None)
