"""What a pixel of the LR image costs in time and memory, and how that grows from the smallest image to the largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightsr_basicsr.tools.benchmark.rows import Row


@dataclass(frozen=True)
class Growth:
    """One series of sizes of a network on a backend: its smallest and its largest image that ran."""

    smallest: Row
    largest: Row

    @property
    def time(self) -> float:
        """Time per pixel at the largest size over that at the smallest; 1 where time is in proportion to pixels."""
        return microseconds_per_pixel(self.largest) / microseconds_per_pixel(self.smallest)

    @property
    def memory(self) -> float | None:
        """Peak memory per pixel likewise; None if it was not measured at both."""
        first, last = bytes_per_pixel(self.smallest), bytes_per_pixel(self.largest)
        return last / first if first and last else None


def pixels_of(row: Row) -> int:
    """Return the pixels of the LR image."""
    return row.height * row.width


def microseconds_per_pixel(row: Row) -> float | None:
    """Return the median time of one image per LR pixel; None if it did not run.

    >>> from lightsr_basicsr.tools.benchmark.rows import summarise
    >>> microseconds_per_pixel(Row("IMDN", "", 4, "deployed", "torch", "fp32", 10, 10, timing=summarise([0.002], None)))
    20.0
    """
    return None if row.timing is None else 1e6 * row.timing.seconds / pixels_of(row)


def bytes_per_pixel(row: Row) -> float | None:
    """Return the peak memory per LR pixel; None if it was not measured."""
    return None if row.memory is None else row.memory / pixels_of(row)


def series_of(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows that ran, by network, weights and kind of run, each series by growing size."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.timing is not None:
            found.setdefault((row.network, row.weights, row.form, row.backend, row.precision), []).append(row)
    return [sorted(series, key=pixels_of) for series in found.values()]


def growth_of(rows: Sequence[Row]) -> list[Growth]:
    """Return the growth of each series of at least two sizes."""
    return [Growth(series[0], series[-1]) for series in series_of(rows) if pixels_of(series[0]) < pixels_of(series[-1])]
