"""What a method costs: parameters, multi-adds and latency for an output of 1280x720."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch

from lightsr_basicsr.archs.reparam import deploy
from lightsr_basicsr.tools.compare.methods import Method
from lightsr_basicsr.tools.complexity import count_multi_adds, count_parameters, hd_lr_size, in_rounds
from lightsr_basicsr.tools.photographs import image_of_size

ROUNDS = 5
ENOUGH = 6.0  # seconds for one method; slower ones are measured in fewer rounds


@dataclass(frozen=True)
class Costs:
    """Parameters, multi-adds, and seconds of one image; None where unknown."""

    parameters: int | None = None
    multi_adds: int | None = None
    latency: float | None = None


def measure_costs(methods: Sequence[Method], latency: bool = True) -> dict[str, Costs]:
    """Return the costs by title, for LR images whose result has 1280x720 pixels.

    Latencies are medians of rounds in which every network runs once, so that they can be compared with each other.

    Args:
        methods (Sequence[Method]): What to measure; bicubic interpolation has no costs.
        latency (bool): Whether to measure it. Default: True.
    """
    seconds = _latencies([each for each in methods if each.upscaler is not None]) if latency else {}
    return {each.title: Costs(*_counts(each), seconds.get(each.title)) for each in methods}


def _counts(method: Method) -> tuple[int | None, int | None]:
    if method.net is None:
        return None, None
    net = deploy(method.net)
    try:
        return count_parameters(net), count_multi_adds(net, *hd_lr_size(method.scale))
    except (RuntimeError, TypeError):  # torch < 2.1 has no counter; other packages' networks may take more than LR
        return count_parameters(net), None


def _latencies(methods: Sequence[Method]) -> dict[str, float]:
    runs = {}
    for method in methods:
        runtime = method.upscaler.runtime
        image = image_of_size(*hd_lr_size(method.scale), runtime.num_in_ch)
        image = image.to(runtime.device if runtime.device.startswith("cuda") else "cpu")

        def run(runtime=runtime, image=image) -> None:
            runtime(image)
            if image.is_cuda:
                torch.cuda.synchronize()

        try:
            run()
        except Exception:  # too large for the memory, or for the backend: the pictures themselves will tell
            continue
        runs[method.title] = run
    first = in_rounds(runs, 1, warm_ups=0)
    quick = {title: runs[title] for title, taken in first.items() if taken[0] * ROUNDS <= ENOUGH}
    taken = {**first, **in_rounds(quick, ROUNDS, warm_ups=0)}
    return {title: median(seconds) for title, seconds in taken.items()}
