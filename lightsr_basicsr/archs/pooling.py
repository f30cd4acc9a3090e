"""Statistics of whole feature maps, which can be those of a picture of which a network sees one tile.

Attention is made of means and deviations over the whole picture, so a tile alone gives other factors. Every module that
pools derives from :class:`Pooling` and computes as ever, until :func:`seen_as_whole` gives a network a
:class:`WholePicture`. Then each pooling adds what the tile's core holds to sums over the picture, and uses the sums of
the pass before. The first pooling's are exact after one pass, the second's after two, and so on; what is left shrinks
quickly long before. Plain ``nn.AdaptiveAvgPool2d(1)``, of any package, takes part without being changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from math import ceil, floor
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lightsr_basicsr.archs.layers import MIN_VARIANCE, std_mean


class Span(NamedTuple):
    """Rows or columns from ``start`` up to ``stop``."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """How many there are."""
        return self.stop - self.start


class Tile(NamedTuple):
    """One tile in pixels of the LR picture: what the network sees of it, and the core of which the output is kept."""

    seen: tuple[Span, Span]
    core: tuple[Span, Span]


class Place(NamedTuple):
    """Where the rows or columns of a core lie in the feature map of the whole picture, and how many that has."""

    start: int
    whole: int


class Grid(NamedTuple):
    """How a small map lies on the picture: its row k is made of ``window`` rows from ``stride * k`` on.

    >>> Grid(6, 15).length(21), Grid(6, 15).of_core(Span(36, 72), 120, 4, 20), Grid(6, 15).around(Span(24, 90), 120, 3)
    (2, Span(start=5, stop=11), Span(start=0, stop=18))
    """

    stride: int
    window: int

    def length(self, side: int) -> int:
        """Return how many rows the map of an image of ``side`` rows has."""
        return (side - self.window) // self.stride + 1

    def of_core(self, core: Span, whole: int, first: int, size: int) -> Span:
        """Return the rows whose middles lie in a core, of the ``size`` from ``first`` on that its tile has."""
        ends = [self.length(whole) if end == whole else ceil((end - self.window // 2) / self.stride) for end in core]
        return Span(*(min(max(0, first, end), first + size) for end in ends))

    def around(self, seen: Span, whole: int, reach: int) -> Span:
        """Return the rows of the map of the picture that interpolation over ``seen`` needs, and ``reach`` more."""
        start, stop = seen.start // self.stride - 2, ceil(seen.stop / self.stride) + 2
        return Span(max(0, start - reach), min(self.length(whole), stop + reach))


class Statistic(NamedTuple):
    """A function of sums over pixels."""

    compute: Callable[[Tensor], Any]  # of a whole feature map (N, C, H, W), as a network computes it
    add_up: Callable[[Tensor, tuple[Place, Place]], Tensor]  # sums, float64, of a core (N, C, h, w)
    finish: Callable[[Tensor], Any]  # the statistic of sums over all cores, in float64


class PassDoneError(Exception):
    """The last pooling of a pass that only collects has been reached: the rest of the network is not needed."""


class Pooling(nn.Module):
    """Base of modules that use statistics of the whole feature map."""

    whole: WholePicture | None = None  # set while a network sees tiles

    def pooled(self, statistic: Statistic, x: Tensor) -> Any:
        """Return a statistic of (N, C, H, W)."""
        return statistic.compute(x) if self.whole is None else self.whole.pooled(statistic, x)

    def mean(self, x: Tensor, keepdim: bool = True) -> Tensor:
        """Return the mean of each channel of (N, C, H, W), (N, C, 1, 1) or without ``keepdim`` (N, C)."""
        if self.whole is None:
            return x.mean(dim=(2, 3), keepdim=keepdim)
        mean = self.whole.pooled(MEAN, x)
        return mean if keepdim else mean.flatten(1)

    def std_mean(self, x: Tensor, eps: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return deviation and mean of each channel of (N, C, H, W), (N, C, 1, 1), as :func:`layers.std_mean` does."""
        return std_mean(x, eps) if self.whole is None else self.whole.pooled(_std_mean(eps), x)


def _moments(x: Tensor, order: int) -> Tensor:
    """Return the number of pixels of (N, C, h, w) and the sums of their first powers, (order + 1, N, C, 1, 1)."""
    x = x.double()
    count = torch.full_like(x[:, :, :1, :1], x.shape[2] * x.shape[3])
    return torch.stack([count, *((x**power).sum((2, 3), keepdim=True) for power in range(1, order + 1))])


def _finish_std_mean(sums: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    mean, square = sums[1:] / sums[0]
    return torch.sqrt((square - mean.square()).clamp_min(MIN_VARIANCE) + eps), mean


def _std_mean(eps: float) -> Statistic:
    return Statistic(lambda x: std_mean(x, eps), lambda x, _: _moments(x, 2), lambda sums: _finish_std_mean(sums, eps))


MEAN = Statistic(
    lambda x: x.mean(dim=(2, 3), keepdim=True), lambda x, _: _moments(x, 1), lambda sums: sums[1] / sums[0]
)


class WholePicture:
    """A picture of which a network sees tiles, one after the other, with the statistics of its poolings so far.

    Args:
        height (int): Of the picture, in LR pixels.
        width (int): Of the picture, in LR pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        self.size = (height, width)
        # Sums, and small maps, of the last finished pass, in the order in which the network pools.
        self.known: list[Tensor] = []
        self.sums: list[Tensor] = []  # of the running pass
        self.collects = False
        self.tile: Tile | None = None
        self.count = 0  # poolings of the running tile so far
        self.number: int | None = None  # poolings of any tile, once one was run to its end

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect statistics over the tiles that are shown in the block, and use them after it."""
        self.sums, self.collects = [], True
        try:
            yield
            self.known = self.sums
        finally:
            self.sums, self.collects = [], False

    def show(self, tile: Tile, run: Callable[[], Tensor]) -> Tensor | None:
        """Return what ``run`` makes of a tile; None in a pass that collects, which leaves out what needs no pooling."""
        self.tile, self.count = tile, 0
        try:
            made = run()
        except PassDoneError:
            return None
        self.number = self.count
        return None if self.collects else made

    def pooled(self, statistic: Statistic, x: Tensor) -> Any:
        """Return a statistic of the whole picture's feature map, of which (N, C, h, w) is the tile's."""
        index, self.count = self.count, self.count + 1
        if self.collects:
            self._add(index, statistic.add_up(*self._core_of(x)))
            self._end_at_last()
        # Of the first pass the tile's own, which serve better than those of the tiles so far.
        return _cast(statistic.finish(self.known[index]), x) if index < len(self.known) else statistic.compute(x)

    def _end_at_last(self) -> None:
        if self.count == self.number:
            raise PassDoneError

    def _add(self, index: int, sums: Tensor) -> None:
        if index == len(self.sums):
            self.sums.append(sums)
        else:
            self.sums[index] = self.sums[index] + sums

    def _core_of(self, x: Tensor) -> tuple[Tensor, tuple[Place, Place]]:
        """Return the core of a tile's feature map, and its place in the picture's."""
        x, places = x.detach(), []
        for axis, seen, core, whole in zip((2, 3), self.tile.seen, self.tile.core, self.size, strict=True):
            start, stop, place = locate(x.shape[axis], seen, core, whole)
            x = x.narrow(axis, start, stop - start)
            places.append(place)
        return x, tuple(places)

    def completed(self, x: Tensor, grid: Grid, reach: int) -> tuple[Tensor, list[int]]:
        """Return a tile's part of a small map of the picture, with what lies around it, and its first row and column.

        ``x`` (N, C, h, w) is what the tile alone gives. Pixels of the core are of these, all others of the pass before,
        up to ``reach`` pixels beyond what the tile sees. In the first pass, or where no tile saw them, ``x`` returns.
        """
        index, self.count = self.count, self.count + 1
        sides = list(zip(self.tile.seen, self.tile.core, self.size, strict=True))
        firsts = [seen.start // grid.stride for seen, _, _ in sides]
        spans = [
            grid.of_core(core, whole, first, size)
            for (_, core, whole), first, size in zip(sides, firsts, x.shape[2:], strict=True)
        ]
        own = _part(x, spans, firsts)
        if self.collects:
            if index == len(self.sums):
                size = [grid.length(whole) for whole in self.size]
                self.sums.append(x.new_full((*x.shape[:2], *size), torch.nan))
            _part(self.sums[index], spans, (0, 0)).copy_(own)
            self._end_at_last()
        if index >= len(self.known):
            return x, firsts
        around = [grid.around(seen, whole, reach) for seen, _, whole in sides]
        starts = [span.start for span in around]
        part = _part(self.known[index], around, (0, 0)).clone()
        _part(part, spans, starts).copy_(own)
        return (x, firsts) if part.isnan().any() else (part, starts)

    def resized(self, x: Tensor, size: Sequence[int], grid: Grid, starts: Sequence[int]) -> Tensor:
        """Return a tile's part of the picture's map that is resized, bilinearly, to the size of the picture.

        ``x`` (N, C, h, w) is a part of the small map, from row and column ``starts`` on; ``size`` is that of the tile.
        """
        for axis, side, seen, whole, first in zip((2, 3), size, self.tile.seen, self.size, starts, strict=True):
            length = grid.length(whole)
            position = (torch.arange(side, device=x.device, dtype=torch.float64) + (seen.start + 0.5)) / whole
            x = _sample(x, axis, (position * length - 0.5).clamp(0, length - 1) - first)
        return x


def _part(x: Tensor, spans: Sequence[Span], starts: Sequence[int]) -> Tensor:
    """Return rows and columns of a map (N, C, h, w) that begins at ``starts``."""
    rows, columns = (slice(span.start - start, span.stop - start) for span, start in zip(spans, starts, strict=True))
    return x[:, :, rows, columns]


def _sample(x: Tensor, axis: int, position: Tensor) -> Tensor:
    """Return linear interpolations of ``x`` along an axis; positions outside are those of the ends."""
    position = position.clamp(0, x.shape[axis] - 1)
    below = position.floor().long()
    above = (below + 1).clamp(max=x.shape[axis] - 1)
    part = (position - below).to(x).unsqueeze(1) if axis == 2 else (position - below).to(x)
    return torch.lerp(x.index_select(axis, below), x.index_select(axis, above), part)


def locate(size: int, seen: Span, core: Span, whole: int) -> tuple[int, int, Place]:
    """Return where the core begins and ends in a tile's feature map of ``size`` rows, and its place in the picture's.

    A network makes feature maps a whole number of times as large or as small as the image, less a border where it does
    not pad.

    >>> locate(16, Span(40, 60), Span(48, 52), 100)  # two rows lost at each end
    (6, 10, Place(start=46, whole=96))
    >>> locate(40, Span(40, 60), Span(48, 60), 60)
    (16, 40, Place(start=96, whole=120))
    """
    length = seen.length
    factor = Fraction(round(size / length)) if size >= length else Fraction(1, round(length / size))
    lost = max(0, floor((factor * length - size) / 2))
    start = max(0, ceil(factor * (core.start - seen.start)) - lost)
    stop = size if core.stop == seen.stop else max(start, min(size, ceil(factor * (core.stop - seen.start)) - lost))
    before = 0 if core.start == 0 else ceil(factor * core.start) - lost
    return start, stop, Place(max(0, before), ceil(factor * whole) - 2 * lost)


def _cast(value: Any, x: Tensor) -> Any:
    return tuple(each.to(x) for each in value) if isinstance(value, tuple) else value.to(x)


@contextmanager
def seen_as_whole(net: nn.Module, whole: WholePicture) -> Iterator[None]:
    """Let all poolings of a network, of any package, be those of a whole picture inside the block."""
    ours = [module for module in net.modules() if isinstance(module, Pooling)]
    with ExitStack() as stack:
        for module in net.modules():
            if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1), [1, 1]):
                stack.callback(_watch_pool(module, whole).remove)
            elif hasattr(module, "watch_pooling"):
                for handle in module.watch_pooling(whole):
                    stack.callback(handle.remove)
        for module in ours:
            stack.callback(setattr, module, "whole", None)
            module.whole = whole
        yield


def sees_tiles(net: nn.Module) -> bool:
    """Return whether a network of this package sees tiles of a whole picture."""
    return any(isinstance(module, Pooling) and module.whole is not None for module in net.modules())


def _watch_pool(module: nn.Module, whole: WholePicture) -> RemovableHandle:
    def replace(_: nn.Module, given: tuple[Tensor], made: Tensor) -> Tensor:
        # A map of one pixel has been pooled before.
        return made if given[0].shape[2:] == (1, 1) else whole.pooled(MEAN, given[0])

    return module.register_forward_hook(replace)
