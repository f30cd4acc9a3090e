"""Run networks in turns: every round runs each variant once, in random order, so that ratios compare neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lightsr_basicsr.archs.network import SRNetwork
from lightsr_basicsr.archs.published import published_form
from lightsr_basicsr.runtimes.base import Runtime
from lightsr_basicsr.runtimes.choice import open_runtime
from lightsr_basicsr.runtimes.network import traits_of
from lightsr_basicsr.runtimes.torch_runtime import TorchRuntime
from lightsr_basicsr.tools.benchmark.sources import Subject

PAUSE = 0.05  # in seconds; the threads of the previous backend keep spinning that long


class Variant(NamedTuple):
    """One way to run a network; ``form`` is that of :class:`~lightsr_basicsr.tools.benchmark.rows.Row`."""

    form: str
    backend: str
    precision: str


REFERENCE = Variant("reference", "torch", "fp32")


def open_variant(subject: Subject, net: SRNetwork | None, variant: Variant, device: str, threads: int) -> Runtime:
    """Return a network on its backend: the exported file ``subject``, or else ``net``, which the reference also needs.

    Raises:
        BackendError: If the backend cannot run it in this way.
    """
    if variant == REFERENCE:
        published = published_form(net).eval()
        plain = {"channels_last": False, "keep_memory": False}
        return TorchRuntime(published, traits_of(net), device=device, threads=threads, **plain)
    if subject.exported:
        # A file of fp16 or int8 has its own precision.
        precision = variant.precision if variant.precision in ("fp32", "bf16") else None
        return open_runtime(subject.path, variant.backend, precision, device, threads, subject.trust)
    return open_runtime(net, variant.backend, variant.precision, device, threads)


def runner(runtime: Runtime, image: Tensor) -> Callable[[], Tensor]:
    """Return a call that runs ``image`` and waits for the output.

    A backend that compiles for an image size does so here.
    """
    runtime.prepare_for(tuple(image.shape))

    def run() -> Tensor:
        output = runtime(image)
        if image.is_cuda:
            torch.cuda.synchronize()
        return output

    return run
