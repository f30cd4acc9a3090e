"""Choose for each picture what runs the network, in how many tiles, and say when that changes the result."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isinf

import numpy as np
from torch import nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.runtimes.base import Runtime
from lightsr_basicsr.runtimes.fastest import FastestRuntime
from lightsr_basicsr.runtimes.network import unwrap
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from lightsr_basicsr.upscale.memory import bytes_per_pixel, plan_within_memory, surely_fits
from lightsr_basicsr.upscale.plan import TilePlan
from lightsr_basicsr.upscale.probe import PROBED_TILE, probe_tiles
from lightsr_basicsr.upscale.tiles import TileRunner, refinable

Report = Callable[[str], None]
WHOLE = 0  # the size of tiles that stands for none
ENOUGH = 60  # dB, far below what 8 bits show


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
        self.needed: dict[str, float] = {}  # bytes for each LR pixel, by backend
        self.most, self.narrow = inf, False  # side of tiles that fitted after memory ran out, and whether not wide
        self.told = False

    def runner_for(self, picture: np.ndarray, host_bytes: int = 0) -> TileRunner:
        """Return the runner of a picture (H, W, C); the host needs so many bytes besides."""
        sides = picture.shape[:2]
        runtime = self._decided(*sides)
        plan = self._fitting(runtime, *sides, host_bytes)
        if self.free and self.pools and _tiles(plan, *sides) > 1 and refinable(runtime) is None:
            runtime = self._with_torch()
            plan = self._fitting(runtime, *sides, host_bytes)
        runner = self._runner(runtime, plan)
        if _tiles(plan, *sides) > 1 and not self.told:
            self.told = True
            self._tell(runner, picture)
        return runner

    def _decided(self, height: int, width: int) -> Runtime:
        """Return the runtime, which the first picture decides if it is to be the fastest."""
        if isinstance(self.runtime, FastestRuntime):
            self.runtime = self.runtime.decide(height, width)
            self.report(f"run by {self.runtime.explained}.")
        return self.runtime

    def note(self, runner: TileRunner, planned: TilePlan) -> None:
        """Remember, and say, that memory ran out, if a runner had to make its tiles smaller than planned."""
        if runner.plan != planned:
            self.most, self.narrow = runner.plan.size, not runner.plan.wide
            self.report(f"memory ran out: went on with tiles of {runner.plan.size} pixels.")

    def _runner(self, runtime: Runtime, plan: TilePlan) -> TileRunner:
        net = refinable(runtime)
        return TileRunner(runtime, runtime.scale, plan, net and unwrap(net))

    def _plan(self, runtime: Runtime) -> TilePlan:
        """Return the plan with the network's own numbers; what an exported program needs is that of its network."""
        plan = TilePlan.for_network(refinable(runtime) or self.net, **self.chosen)
        return plan._replace(min_side=runtime.min_side)

    def _fitting(self, runtime: Runtime, height: int, width: int, host_bytes: int) -> TilePlan:
        asked = self.chosen["size"] is not None
        if self.whole or (not asked and surely_fits(runtime, height, width, host_bytes)):
            plan = self._plan(runtime)._replace(size=max(height, width))
        else:
            needed = None if asked else self._bytes_per_pixel(runtime)
            plan = plan_within_memory(runtime, height, width, host_bytes, None, self.net, needed, **self.chosen)
        return plan._replace(size=int(min(plan.size, self.most)), wide=plan.wide and not self.narrow)

    def _bytes_per_pixel(self, runtime: Runtime) -> float:
        """Return about how many bytes a runtime takes for each LR pixel, measured once."""
        if runtime.backend not in self.needed:
            self.needed[runtime.backend] = bytes_per_pixel(runtime, self.net)
        return self.needed[runtime.backend]

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
        why = "as asked for" if self.chosen["size"] else "since the whole does not fit into memory"
        text = f"{width}x{height} pixels in {_tiles(plan, height, width)} tiles of {plan.size}, {why}"
        if runner.run is not self.runtime:
            text += f", by torch, since {self.runtime.backend} would see nothing of a picture but the tile"
        self.report(f"{text}. {self._difference(runner, picture)}")

    def _difference(self, runner: TileRunner, picture: np.ndarray) -> str:
        if not self.pools:
            return "The result is that of the whole picture."
        passes, side = runner.plan.passes, min(PROBED_TILE, runner.plan.size)
        after = f" after {passes} pass{'es'[: 2 * (passes > 1)]} for its statistics" if passes else ""
        found = probe_tiles(runner, picture, side)
        if isinf(found):
            return f"Equal to the whole{after}, measured on parts of it."
        more = f"; {self._better(runner)}" if found < ENOUGH and self.net is not None else ""
        return f"{found:.0f} dB against the whole{after}, measured on parts of it in tiles of {side}{more}."

    def _better(self, runner: TileRunner) -> str:
        return f"tile_passes {runner.plan.passes + 1} gives more" if runner.net is not None else "torch gives more"


def _tiles(plan: TilePlan, height: int, width: int) -> int:
    return sum(len(row) for row in plan.rows(height, width))
