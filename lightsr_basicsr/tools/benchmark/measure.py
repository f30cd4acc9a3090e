"""Run networks in turns: every round runs each variant once, in random order, so that ratios compare neighbours."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.archs.published import published_form
from lightsr_basicsr.runtimes.base import Runtime, Traits
from lightsr_basicsr.runtimes.choice import open_runtime
from lightsr_basicsr.tools.benchmark.sources import Subject

WARM_UPS = 2  # the first compiles, the second fills caches
PAUSE = 0.05  # in seconds; the threads of the previous backend keep spinning that long

Key = TypeVar("Key")


class Variant(NamedTuple):
    """One way to run a network; ``form`` is that of :class:`~lightsr_basicsr.tools.benchmark.rows.Row`."""

    form: str
    backend: str
    precision: str


REFERENCE = Variant("reference", "torch", "fp32")


class EagerRuntime(Runtime):
    """A network run unchanged by eager torch in float32.

    Args:
        net (nn.Module): The network.
        traits (Traits): What its images must be like.
        device (str): As torch names devices.
        threads (int): CPU threads.
    """

    backend = "torch"

    def __init__(self, net: nn.Module, traits: Traits, device: str, threads: int) -> None:
        super().__init__(traits, "fp32", threads=threads, device=device)
        self.net = net.to(device).eval()

    def _run(self, images: Tensor) -> Tensor:
        return self.net(images)


def open_variant(subject: Subject, net: SRNetwork | None, variant: Variant, device: str, threads: int) -> Runtime:
    """Return a network on its backend.

    Args:
        subject (Subject): What to open if it is an exported file.
        net (SRNetwork | None): The network if it is not, and for the reference.
        variant (Variant): How to run it.
        device (str): ``'cpu'`` or ``'cuda'``.
        threads (int): CPU threads.

    Raises:
        BackendError: If this cannot be.
    """
    if variant == REFERENCE:
        traits = Traits(net.upscale, net.num_in_ch, net.min_side)
        return EagerRuntime(published_form(net), traits, device, threads)
    if subject.exported:
        # A file of fp16 or int8 has its own precision.
        precision = variant.precision if variant.precision in ("fp32", "bf16") else None
        return open_runtime(subject.path, variant.backend, precision, device, threads)
    return open_runtime(net, variant.backend, variant.precision, device, threads)


def runner(runtime: Runtime, image: Tensor) -> Callable[[], Tensor]:
    """Return a call that runs ``image`` and waits for the output.

    A backend that compiles for an image size does so here.
    """
    if hasattr(runtime, "prepare_for"):
        runtime.prepare_for(tuple(image.shape))

    def run() -> Tensor:
        output = runtime(image)
        if image.is_cuda:
            torch.cuda.synchronize()
        return output

    return run


def in_rounds(
    runs: Mapping[Key, Callable[[], Any]],
    rounds: int,
    *,
    warm_ups: int = WARM_UPS,
    pause: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    seed: int = 0,
    tick: Callable[[], Any] = lambda: None,
) -> dict[Key, list[float]]:
    """Return the seconds of each of ``runs`` in each round.

    Args:
        runs (Mapping): Calls by key.
        rounds (int): Measured rounds.
        warm_ups (int): Rounds before them that do not count. Default: 2.
        pause (float): Seconds between two runs. Default: 0.
        clock (Callable): Returns the time in seconds.
        seed (int): Of the order within rounds. Default: 0.
        tick (Callable): Called after each round, warm-ups included.
    """
    draw = random.Random(seed)
    taken: dict[Key, list[float]] = {key: [] for key in runs}
    for _ in range(warm_ups + rounds):
        for key in draw.sample(list(runs), len(runs)):
            if pause:
                time.sleep(pause)
            start = clock()
            runs[key]()
            taken[key].append(clock() - start)
        tick()
    return {key: seconds[warm_ups:] for key, seconds in taken.items()}


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set the number of torch's CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
