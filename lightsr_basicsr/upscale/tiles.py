"""Run a network over a picture tile by tile, so that the result is that of the whole picture.

Picture and result stay in the memory of the host, and the device holds one tile. Where a network pools over the whole
picture, passes before the last one collect its statistics: see ``archs.pooling``.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.pooling import Tile, WholePicture, seen_as_whole
from lightsr_basicsr.runtimes.base import BackendError, Runtime
from lightsr_basicsr.runtimes.network import unwrap
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from lightsr_basicsr.upscale.plan import TileError, TilePlan

Run = Callable[[Tensor], Tensor]
Made = TypeVar("Made")
# Parts of the messages with which torch, its CPU libraries and other backends say that memory is used up.
NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "bad_alloc",
    "bad allocation",
    "failed to allocate",
)


class Progress(NamedTuple):
    """How far a picture is: step ``step`` of ``steps``, of which ``part`` (0 to 1) is done, in tiles of this size."""

    step: int
    steps: int
    part: float
    size: int

    @property
    def total(self) -> float:
        """The part of all steps that is done, 0 to 1."""
        return (self.step - 1 + self.part) / self.steps


class Strip(NamedTuple):
    """Finished rows of the result: the first one's number, and their pixels (h, scale * W, C)."""

    row: int
    pixels: np.ndarray


class TileRunner:
    """Enlarges pictures tile by tile.

    When memory runs out, the tiles are halved, for all further pictures too.

    Args:
        run (Callable): Maps (1, C, h, w) in [0, 1] to (1, C, scale * h, scale * w), on any device.
        scale (int): Output side over input side.
        plan (TilePlan): How pictures are cut.
        net (nn.Module | None): The network that ``run`` runs, if its poolings can be those of the whole picture. None:
            each tile has its own statistics, and the passes of the plan are left out. Default: None.

    Raises:
        TileError: If the scale is not a whole number.
    """

    def __init__(self, run: Run, scale: float, plan: TilePlan, net: nn.Module | None = None) -> None:
        if scale < 1 or scale != int(scale):
            raise TileError(f"Tiles need a network of a whole scale of at least 1, got {scale}: run the whole picture.")
        self.run, self.scale, self.net = run, int(scale), net
        self.plan = plan if net is not None else plan._replace(passes=0)

    @classmethod
    def of_runtime(cls, runtime: Runtime, **chosen: int | None) -> TileRunner:
        """Return a runner for any backend; ``chosen`` are numbers of :class:`TilePlan` instead of the network's own.

        Raises:
            TileError: See the class and :meth:`TilePlan.for_network`.
        """
        net = refinable(runtime)
        plan = TilePlan.for_network(net, **{"min_side": runtime.min_side, **chosen})
        return cls(runtime, runtime.scale, plan, net and unwrap(net))

    def upscale(
        self, picture: np.ndarray, dtype: str | None = None, progress: Callable[[Progress], None] | None = None
    ) -> np.ndarray:
        """Return the enlarged picture, (scale * H, scale * W, C); see :meth:`strips` for the arguments."""
        made = None
        for row, pixels in self.strips(picture, dtype, progress):
            if made is None:
                made = np.empty((picture.shape[0] * self.scale, *pixels.shape[1:]), pixels.dtype)
            made[row : row + len(pixels)] = pixels
        return made

    def strips(
        self, picture: np.ndarray, dtype: str | None = None, progress: Callable[[Progress], None] | None = None
    ) -> Iterator[Strip]:
        """Yield the enlarged picture from top to bottom, as soon as a row of tiles is finished.

        Args:
            picture (np.ndarray): (H, W, C), uint8, uint16, or floating point in [0, 1].
            dtype (str | None): ``'uint8'``, ``'uint16'`` or a floating-point type, of which values are not clamped, for
                the result; None for that of the picture. Default: None.
            progress (Callable | None): Called after each tile. Default: None.

        Raises:
            TileError: If even the smallest tile needs more memory than there is, or this is no picture.
        """
        check_picture(picture)
        height, width = picture.shape[:2]
        short = [max(0, self.plan.min_side - side) for side in (height, width)]
        if any(short):
            picture = np.pad(picture, ((0, short[0]), (0, short[1]), (0, 0)), mode="edge")
        job = _Job(self, picture, np.dtype(dtype or picture.dtype), progress)
        for row, pixels in job.strips():
            kept = pixels[: max(0, height * self.scale - row), : width * self.scale]
            if len(kept):
                yield Strip(row, kept)


class _Job:
    """One picture."""

    def __init__(
        self, runner: TileRunner, picture: np.ndarray, dtype: np.dtype, progress: Callable[[Progress], None] | None
    ) -> None:
        self.runner, self.picture, self.dtype, self.progress = runner, picture, dtype, progress
        self.sides = picture.shape[:2]
        self.plan = runner.plan.limited_to(self.sides)
        self.whole = WholePicture(*self.sides)
        self.steps = 1

    def strips(self) -> Iterator[Strip]:
        if len(self._tiles()) > 1:
            self.steps = self.plan.passes + 1
        for step in range(1, self.steps):
            self._within_memory(lambda step=step: self._collect(step))
        row = 0
        while row < self.sides[0]:
            pixels = self._within_memory(lambda row=row: self._finish(row))
            yield Strip(row * self.runner.scale, pixels)
            row += len(pixels) // self.runner.scale

    def _tiles(self) -> list[Tile]:
        return [tile for row in self.plan.rows(*self.sides) for tile in row]

    def _collect(self, step: int) -> None:
        done = 0
        with self._watched(), self.whole.collecting():
            for tile in self._tiles():
                self._show(tile)
                done += _area(tile)
                self._report(step, done)

    def _finish(self, row: int) -> np.ndarray:
        """Return the result of the row of tiles from the LR row ``row`` on."""
        tiles = self.plan.rows(*self.sides, first=row)[0]
        pixels, done = None, row * self.sides[1]
        with self._watched():
            for tile in tiles:
                made = to_pixels(self._show(tile), self.dtype)
                if pixels is None:
                    width = self.sides[1] * self.runner.scale
                    pixels = np.empty((made.shape[0], width, made.shape[2]), self.dtype)
                columns = tile.core[1]
                pixels[:, columns.start * self.runner.scale : columns.stop * self.runner.scale] = made
                done += _area(tile)
                self._report(self.steps, done)
        return pixels

    def _show(self, tile: Tile) -> Tensor | None:
        """Return what the network makes of a tile's core, (C, h, w), None in a pass that collects."""
        made = self.whole.show(tile, lambda: self.runner.run(to_tensor(self.picture, tile)))
        if made is None:
            return None
        cuts = [
            slice((core.start - seen.start) * self.runner.scale, (core.stop - seen.start) * self.runner.scale)
            for seen, core in zip(*tile, strict=True)
        ]
        return made[0, :, cuts[0], cuts[1]]

    def _watched(self) -> AbstractContextManager[None]:
        return nullcontext() if self.runner.net is None else seen_as_whole(self.runner.net, self.whole)

    def _report(self, step: int, done: int) -> None:
        if self.progress is not None:
            self.progress(Progress(step, self.steps, done / (self.sides[0] * self.sides[1]), self.plan.size))

    def _within_memory(self, work: Callable[[], Made]) -> Made:
        """Return what ``work`` returns; where memory runs out, start it again with smaller tiles."""
        while True:
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                smaller = self.plan.halved()
                if smaller is None:
                    raise TileError(
                        f"Expected enough memory for tiles of {self.plan.seen_side()} pixels, the smallest, got "
                        f"{type(error).__name__}: close other programs, or take a smaller network."
                    ) from None
            # Outside the block above, which keeps the tensors of the failed attempt alive.
            self.plan = smaller
            self.runner.plan = self.runner.plan._replace(size=smaller.size, wide=smaller.wide)
            free_memory()


def refinable(runtime: Runtime) -> nn.Module | None:
    """Return the network of a runtime if its poolings can be those of a whole picture, None for exported programs."""
    if not isinstance(runtime, TorchRuntime) or runtime.compiled or isinstance(runtime.module, torch.jit.ScriptModule):
        return None
    return runtime.module


def check_picture(picture: np.ndarray) -> None:
    """Raise TileError unless ``picture`` is an array (H, W, C) of pixels."""
    fits = isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.size
    if not fits or not (picture.dtype in (np.uint8, np.uint16) or picture.dtype.kind == "f"):
        found = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise TileError(
            f"Expected a picture (H, W, C) of uint8, uint16 or floating point, got {found}: a gray picture is x[..., "
            "None]."
        )


def to_tensor(picture: np.ndarray, tile: Tile) -> Tensor:
    """Return what a tile sees as (1, C, h, w) in [0, 1], float32, of a float64 picture float64."""
    rows, columns = tile.seen
    part = picture[rows.start : rows.stop, columns.start : columns.stop]
    part = part.astype(np.float64 if part.dtype == np.float64 else np.float32) / _largest(picture.dtype)
    return torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1)))[None]


def to_pixels(image: Tensor, dtype: np.dtype) -> np.ndarray:
    """Return (C, h, w) as pixels (h, w, C); whole numbers are clamped and rounded."""
    image = image.detach().permute(1, 2, 0)
    if dtype.kind == "f":
        return image.cpu().numpy().astype(dtype, copy=False)
    largest = _largest(dtype)
    return (image.float() * largest).clamp(0, largest).round().cpu().numpy().astype(dtype, copy=False)


def _largest(dtype: np.dtype) -> int:
    return 1 if dtype.kind == "f" else np.iinfo(dtype).max


def _area(tile: Tile) -> int:
    rows, columns = tile.core
    return rows.length * columns.length


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is used up.

    >>> is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."))
    True
    """
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, (RuntimeError, BackendError)) and any(part in text for part in NO_MEMORY)


def free_memory() -> None:
    """Give back what torch keeps for later."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
