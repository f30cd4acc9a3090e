"""Describe the machine: processor, threads, versions, date, current load; and the conventions of the measurements."""

from __future__ import annotations

import os
import platform
import sys
from datetime import datetime

import torch

from lightsr_basicsr import __version__
from lightsr_basicsr.runtimes.base import BACKENDS
from lightsr_basicsr.runtimes.processor import cpu_name
from lightsr_basicsr.tools.environment import version_of

BUSY_CORES = 0.3  # more than an idle desktop's background work
WATCHED = 0.5  # in seconds
CONVENTIONS = (
    "reference: the network's eager float32 torch form as its authors' code computes it",
    "latency: one image, output included; on a GPU without transfers. Median, minimum and maximum of the rounds",
    "speed-up: time of the reference over own time. In each round all variants of a network run once, in random order; "
    "the ratio is taken per round, then median, minimum and maximum of the rounds. The first two rounds warm up",
    "multi-adds: convolutions, linear layers and matrix products at the row's LR size; 1 multi-add = 2 FLOPs",
    "OpenVINO runs a model compiled for the image's size; the latency excludes compiling",
    "activations: output elements of all convolutions, at the row's LR size",
    "memory, CPU: peak resident memory of a fresh process while it runs a second image of that size, minus that after "
    "loading (excludes weights and input, includes what a backend prepares for the size); GPU: "
    "torch.cuda.max_memory_allocated (includes weights and input)",
    "PSNR and SSIM: luma (Y), 8 bits, without a border of the scale's width, as BasicSR computes them",
    "difference: maximum absolute difference to the output of the reference, where 1 is white",
)
PRESSURE_CONVENTIONS = (
    "each size in a fresh process, after one image to warm up: latency is the median of up to three images, with "
    "minimum and maximum; the first size out of memory or over the limit ends a series",
    "per pixel: median latency and peak memory over the pixels of the LR image; growth: the largest image's over the "
    "smallest image's",
    *(
        line
        for line in CONVENTIONS
        if line.startswith(("reference", "multi-adds", "activations", "OpenVINO", "memory"))
    ),
)
NTIRE_CONVENTIONS = (
    "NTIRE columns: Params, FLOPs (a multiplication and an addition count as one), Acts, Conv and Mem (MiB) for an LR "
    "image of 256x256; Time is the mean over the given images, else the median at the first LR size",
)


def describe_machine(threads: int, device: str = "cpu") -> dict[str, str]:
    """Return one line of text per fact, in the order to show them."""
    facts = {"CPU": f"{cpu_name()} ({os.cpu_count()} cores)"}
    if device != "cpu":
        facts["GPU"] = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    facts["threads"] = str(threads)
    facts |= {name: version_of(name) or "not installed" for name in BACKENDS}
    facts["python"] = platform.python_version()
    facts["system"] = platform.platform()
    facts["lightsr-basicsr"] = __version__
    facts["date"] = datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    return facts


def busy() -> str | None:
    """Return a warning if other programs use the processor now, else None. Takes half a second."""
    try:
        import psutil

        cores = psutil.cpu_percent(interval=WATCHED) / 100 * (os.cpu_count() or 1)
    except ImportError:
        if sys.platform == "win32":
            return None
        cores = os.getloadavg()[0]  # the average of one minute
    if cores <= BUSY_CORES:
        return None
    return (
        f"the machine is busy: other programs use {cores:.1f} of {os.cpu_count()} cores, so times and ratios are "
        "unreliable. Close them, or repeat this later."
    )
