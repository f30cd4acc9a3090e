"""Peak memory of this process, or of the GPU it uses."""

from __future__ import annotations

import ctypes
import gc
import threading
from pathlib import Path

import torch

SAMPLED = 0.001  # in seconds
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # code of the peak of the resident set, see proc(5)


class PeakMemory:
    """Measure peak memory inside the block; the result is in ``bytes``, None if unknown.

    On the CPU: largest resident memory of the process minus ``idle``. On a GPU: largest memory allocated by torch.

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
    """Return the resident memory of this process in bytes, 0 if unknown."""
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
    """Restart the kernel's own peak; return whether that worked."""
    try:
        CLEAR_REFS.write_text(RESET_PEAK)
    except OSError:
        return False
    return _status("VmHWM") > 0


def release_freed() -> None:
    """Return freed memory, which the allocator keeps and which would hide growth, to the system."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return  # not glibc
