"""Choose for each picture what runs the network, in how many tiles, and say when that changes the result."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isinf

import numpy as np
from torch import nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.runtimes.base import Runtime
from lightsr_basicsr.runtimes.network import unwrap
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from lightsr_basicsr.upscale.memory import (
    MOST_PIXELS,
    OVERHEAD,
    SHARE,
    UNKNOWN,
    available_memory,
    largest_tiles,
    live_bytes_per_pixel,
)
from lightsr_basicsr.upscale.plan import TilePlan
from lightsr_basicsr.upscale.probe import PROBED_TILE, probe_tiles
from lightsr_basicsr.upscale.tiles import TileRunner, refinable

Report = Callable[[str], None]
SURELY = 65_536  # bytes per LR pixel of which no network takes more: three times those of the largest one here
WHOLE = 0  # the size of tiles that stands for none


class Runners:
    """Gives each picture a runner: the whole picture where it fits into memory, else the largest tiles that do.

    Args:
        runtime (Runtime): What runs the network.
        net (nn.Module | None): The network, if it is known.
        free (bool): Whether torch may run the network instead where that makes tiles equal the whole picture.
        chosen (dict): Numbers of :class:`TilePlan` that the user has chosen, ``size`` ``WHOLE`` for no tiles; None for
            the network's own.
        report (Callable): Called with a sentence where the result is another than that of the whole picture.

    Raises:
        TileError: If a number is not possible, or the network has no whole scale.
    """

    def __init__(
        self, runtime: Runtime, net: nn.Module | None, free: bool, chosen: dict[str, int | None], report: Report
    ) -> None:
        self.runtime, self.net, self.free, self.report = runtime, net, free, report
        self.whole = chosen["size"] == WHOLE
        self.chosen = {**chosen, "size": None if self.whole else chosen["size"]}
        facts = net if isinstance(net, SRNetwork) else None
        self.pools = facts is None or facts.pools_globally
        self.scale = self._runner(runtime, self._plan(runtime)).scale
        self.live: float | None = None
        self.most = inf  # side of tiles that fitted after memory ran out
        self.told = False

    def runner_for(self, picture: np.ndarray, host_bytes: int = 0) -> TileRunner:
        """Return the runner of a picture (H, W, C); the host needs so many bytes besides."""
        sides, runtime = picture.shape[:2], self.runtime
        plan = self._fitting(runtime, *sides, host_bytes)
        if self.free and self.pools and _tiles(plan, *sides) > 1 and refinable(runtime) is None:
            runtime = self._with_torch()
            plan = self._fitting(runtime, *sides, host_bytes)
        runner = self._runner(runtime, plan)
        if _tiles(plan, *sides) > 1 and not self.told:
            self.told = True
            self._tell(runner, picture)
        return runner

    def note(self, runner: TileRunner, planned: TilePlan) -> None:
        """Remember, and say, that memory ran out, if a runner had to make its tiles smaller than planned."""
        if runner.plan.size < planned.size:
            self.most = runner.plan.size
            self.report(f"memory ran out: went on with tiles of {runner.plan.size} pixels.")

    def _runner(self, runtime: Runtime, plan: TilePlan) -> TileRunner:
        net = refinable(runtime)
        return TileRunner(runtime, runtime.scale, plan, net and unwrap(net))

    def _plan(self, runtime: Runtime) -> TilePlan:
        """Return the plan with the network's own numbers; what an exported program needs is that of its network."""
        plan = TilePlan.for_network(refinable(runtime) or self.net, **self.chosen)
        return plan._replace(min_side=runtime.min_side)

    def _fitting(self, runtime: Runtime, height: int, width: int, host_bytes: int) -> TilePlan:
        plan = self._plan(runtime)
        if self.chosen["size"] is None:
            plan = plan._replace(size=max(height, width))
            if not self.whole:
                free = available_memory(runtime.device)
                free -= 0 if runtime.device.startswith("cuda") else host_bytes
                room = SHARE * max(0, free) / OVERHEAD[runtime.backend]
                # Measuring imports the compiler of torch, which takes seconds.
                if height * width > min(MOST_PIXELS, room / SURELY):
                    pixels = min(MOST_PIXELS, int(room / self._live_bytes(runtime)))
                    plan = plan if height * width <= pixels else largest_tiles(plan, pixels, width)
        return plan._replace(size=int(min(plan.size, self.most)))

    def _live_bytes(self, runtime: Runtime) -> float:
        """Return about how many bytes live at once for each LR pixel, measured once, in torch."""
        if self.live is None:
            like = refinable(runtime) or self.net
            runs = TorchRuntime.of_network(like, device="cpu") if like is not None else None
            self.live = UNKNOWN if runs is None else live_bytes_per_pixel(runs, runs.num_in_ch)
        return self.live

    def _with_torch(self) -> Runtime:
        """Return the runtime that makes exact tiles, which from now on runs all pictures that need them."""
        if not hasattr(self, "exact"):
            device = self.runtime.device if self.runtime.device.startswith("cuda") else "cpu"
            self.exact = TorchRuntime.of_network(self.net, "fp32", device=device, threads=self.runtime.threads)
        return self.exact

    def _tell(self, runner: TileRunner, picture: np.ndarray) -> None:
        """Report that there are tiles, and by how much they change the result."""
        height, width = picture.shape[:2]
        plan = runner.plan.limited_to((height, width))
        why = "as asked for" if self.chosen["size"] else "because it does not fit into memory as a whole"
        passes = f", after {plan.passes} run{'s'[: plan.passes > 1]} that collect statistics" if plan.passes else ""
        text = f"{width}x{height} pixels in {_tiles(plan, height, width)} tiles of {plan.size} pixels, {why}{passes}"
        if runner.run is not self.runtime:
            text += f"; by torch, since {self.runtime.backend} sees nothing of a picture but the tile"
        self.report(f"{text}. {self._difference(runner, picture)}")

    def _difference(self, runner: TileRunner, picture: np.ndarray) -> str:
        if not self.pools:
            return "The result is that of the whole picture."
        side = min(PROBED_TILE, runner.plan.size)
        found = probe_tiles(runner, picture, side)
        if isinf(found):
            return "A part of it equals the result without tiles."
        return f"Tiles of {side} pixels agree with the result without tiles to {found:.0f} dB, measured on its middle."


def _tiles(plan: TilePlan, height: int, width: int) -> int:
    return sum(len(row) for row in plan.rows(height, width))
