"""Cut a picture into tiles: cores that do not overlap, and around each what the network sees of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from torch import nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.archs.pooling import Span, Tile
from lightsr_basicsr.errors import UserError

# Of a tile's core, in LR pixels. Smaller ones are mostly overlap.
SMALLEST_TILE, DEFAULT_TILE = 16, 192


class TileError(UserError):
    """Tiles of this size, overlap or number of passes are not possible."""


class TilePlan(NamedTuple):
    """How a picture is cut, and how often its tiles are run.

    ``size`` is the side of a core and ``overlap`` what a tile sees beyond it on each side, in LR pixels; both are
    rounded up to multiples of ``multiple``. ``passes`` collect statistics of the whole picture before the last one.
    ``min_side`` is the smallest side that the network takes. ``wide`` tiles are as wide as the picture: libraries of a
    CPU add up in an order that depends on the width, so that only these give the very bits of the whole picture.
    """

    size: int = DEFAULT_TILE
    overlap: int = 32
    passes: int = 0
    multiple: int = 1
    min_side: int = 1
    wide: bool = False

    @classmethod
    def for_network(cls, net: nn.Module | None, **chosen: int | None) -> TilePlan:
        """Return the plan for a network, None for a program without known facts, with ``chosen`` instead of defaults.

        Raises:
            TileError: If a chosen number is negative, or the size is not positive.
        """
        facts = net if isinstance(net, SRNetwork) else SRNetwork
        defaults = {
            "overlap": facts.tile_overlap,
            "passes": facts.tile_passes if net is not None and facts.pools_globally else 0,
            "multiple": facts.tile_multiple,
            "min_side": facts.min_side,
            "wide": facts.tile_wide,
        }
        plan = cls(**{**defaults, **{key: value for key, value in chosen.items() if value is not None}})
        if plan.size < 1 or min(plan.overlap, plan.passes) < 0:
            raise TileError(
                "Expected tiles of at least 1 LR pixel, and overlap and passes of at least 0, got "
                f"{plan.size}, {plan.overlap} and {plan.passes}: leave them out for the network's own."
            )
        return plan

    def halved(self) -> TilePlan | None:
        """Return the plan with cores of half the side, or no longer wide, None if they are too small for that."""
        size = max(SMALLEST_TILE, _up(self.size // 2, self.multiple))
        if size < self.size:
            return self._replace(size=size)
        return self._replace(size=DEFAULT_TILE, wide=False) if self.wide else None

    def limited_to(self, sides: Sequence[int]) -> TilePlan:
        """Return the plan with cores no larger than a picture of these sides, (height, width)."""
        longest = sides[0] if self.wide else max(sides)
        return self._replace(size=min(self.size, _up(longest, self.multiple)))

    def rows(self, height: int, width: int, first: int = 0) -> list[list[Tile]]:
        """Return the tiles of a picture, row by row from the LR row ``first`` on, a multiple of ``multiple``."""
        whole = Span(0, width)
        down, across = self._along(height, first), [(whole, whole)] if self.wide else self._along(width)
        return [[Tile((row[0], column[0]), (row[1], column[1])) for column in across] for row in down]

    @property
    def margin(self) -> int:
        """What a tile sees beyond its core on each side, in LR pixels."""
        return _up(self.overlap, self.multiple)

    def seen_side(self) -> int:
        """Return the largest side that the network sees."""
        return max(self.min_side, _up(self.size, self.multiple) + 2 * self.margin)

    def _along(self, side: int, first: int = 0) -> list[tuple[Span, Span]]:
        """Return what is seen and the core of each tile along a side; cores are of nearly equal length."""
        count = ceil((side - first) / _up(self.size, self.multiple))
        length = _up(ceil((side - first) / count), self.multiple)
        cores = [Span(start, min(start + length, side)) for start in range(first, side, length)]
        return [(self._around(core, side), core) for core in cores]

    def _around(self, core: Span, side: int) -> Span:
        start, stop = max(0, core.start - self.margin), min(side, core.stop + self.margin)
        if stop - start < self.min_side:
            start = max(0, (stop - self.min_side) // self.multiple * self.multiple)
            stop = min(side, max(stop, start + _up(self.min_side, self.multiple)))
        return Span(start, stop)


def _up(number: int, multiple: int) -> int:
    """Return the next multiple, itself if it is one, at least one of them unless it is 0."""
    return ceil(number / multiple) * multiple
