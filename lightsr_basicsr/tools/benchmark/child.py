"""The process that :mod:`lightsr_basicsr.tools.benchmark.probe` starts: loads one network, runs it, tells what it took.

The last line of its output is JSON.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.tools.benchmark.measure import open_variant, runner
from lightsr_basicsr.tools.benchmark.probe import OUT_OF_MEMORY, OVER_LIMIT, Probe, decode, lacks_memory
from lightsr_basicsr.tools.photographs import image_of_size
from lightsr_basicsr.tools.plugins import load_plugins

SAMPLED = 0.001  # in seconds
STATUS, CLEAR_REFS, OOM_SCORE = (Path("/proc/self") / name for name in ("status", "clear_refs", "oom_score_adj"))
RESET_PEAK = "5"  # what the kernel calls the peak of the resident set, proc(5)


class PeakMemory:
    """Largest resident memory of this process inside the block, minus ``idle``, in ``bytes``; of a GPU, all it holds.

    Args:
        device (str): ``'cpu'`` or ``'cuda'``.
        idle (int): Resident memory before, in bytes.
    """

    def __init__(self, device: str, idle: int) -> None:
        self.device, self.idle, self.bytes = device, idle, None
        self.done = threading.Event()
        self.largest = 0
        self.sampler: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        if self.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        elif not _reset_peak():
            self.sampler = threading.Thread(target=self._sample, daemon=True)
            self.sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device != "cpu":
            self.bytes = torch.cuda.max_memory_allocated()
            return
        if self.sampler is not None:
            self.done.set()
            self.sampler.join()
        peak = _status("VmHWM") if self.sampler is None else self.largest
        self.bytes = max(peak - self.idle, 0) if peak else None

    def _sample(self) -> None:
        while not self.done.wait(SAMPLED):
            self.largest = max(self.largest, resident())


def resident() -> int:
    """Return the resident memory of this process in bytes; 0 where it cannot be told."""
    if STATUS.is_file():
        return _status("VmRSS")
    try:
        import psutil
    except ImportError:
        return 0
    return psutil.Process().memory_info().rss


def _status(name: str) -> int:
    found = (line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(next(found, "0")) * 1024


def _reset_peak() -> bool:
    """Let the kernel's own peak begin anew; False where it does not."""
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:
        return False
    return _status("VmHWM") > 0


def _settle() -> None:
    """Give back what the allocator keeps of what was freed, which would hide growth."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # not glibc


def measure(get_ready: Callable[[], Callable[[], Tensor]], task: Probe) -> dict[str, Any]:
    """Return ``memory``, ``seconds`` and ``problem`` of running an image: once to warm up, then as often as asked.

    Args:
        get_ready (Callable): Prepares the engine for the image and returns the call that runs it.
        task (Probe): What is asked for.
    """
    _settle()
    idle = resident()
    run = get_ready()
    watch = _watch(task.limit)
    with PeakMemory(task.device, idle) as peak:
        first = _seconds(run)
    watch()
    if task.limit is not None and first > task.limit:
        return {"memory": peak.bytes, "seconds": [first], "problem": f"over {task.limit:g} s"}
    _settle()
    with PeakMemory(task.device, idle) as peak:
        taken = [_seconds(run)]
    while len(taken) < task.runs and (task.limit is None or sum(taken) < task.limit):
        taken.append(_seconds(run))
    return {"memory": peak.bytes, "seconds": taken if task.runs else [], "problem": ""}


def _seconds(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _watch(limit: float | None) -> Callable[[], None]:
    """End the process if nothing calls what is returned within twice the limit, in seconds."""
    if limit is None:
        return lambda: None
    timer = threading.Timer(2 * limit, os._exit, (OVER_LIMIT,))
    timer.daemon = True
    timer.start()
    return timer.cancel


def _go_first() -> None:
    """Have the kernel end this process, and no other, where memory runs out."""
    try:
        OOM_SCORE.write_text("1000")
    except OSError:
        return


def main(text: str) -> int:
    """Measure what ``text`` asks for and return the exit status."""
    task = decode(text)
    _go_first()
    load_plugins()
    torch.set_num_threads(task.threads)
    try:
        net = None if task.subject.exported else task.subject.network()
        runtime = open_variant(task.subject, net, task.variant, task.device, task.threads)
        image = image_of_size(task.height, task.width, runtime.num_in_ch).to(task.device)
        found = measure(lambda: runner(runtime, image), task)
    except (MemoryError, RuntimeError, BackendError) as error:
        if lacks_memory(error):
            return OUT_OF_MEMORY
        if not isinstance(error, BackendError):
            raise
        found = {"memory": None, "seconds": [], "problem": short_message(error)}
    sys.stdout.write(f"\n{json.dumps(found)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
