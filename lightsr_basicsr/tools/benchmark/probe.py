"""Measure one variant at one size in a fresh process, so that its memory is its own.

The parent calls :func:`probe`. The child is this module run as a program; the last line of its output is JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.plugins import import_plugins, imported, load_plugins
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.tools.benchmark.measure import Variant, open_variant, runner
from lightsr_basicsr.tools.benchmark.memory import PeakMemory, release_freed, resident
from lightsr_basicsr.tools.benchmark.sources import Subject
from lightsr_basicsr.tools.photographs import image_of_size

OPENING = 1200.0  # in seconds; an exporter may take minutes
OVER_LIMIT, OUT_OF_MEMORY = 124, 125  # exit statuses of the child
OOM_SCORE = Path("/proc/self/oom_score_adj")
MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "bad_alloc",
                "bad allocation", "failed to allocate", "insufficient memory")  # fmt: skip


class Probe(NamedTuple):
    """A measurement for a fresh process."""

    subject: Subject
    variant: Variant
    height: int  # of the LR image, in pixels
    width: int
    device: str  # 'cpu' or 'cuda'
    threads: int  # CPU threads
    runs: int = 0  # timed images, after one warm-up; 0 to measure only memory
    limit: float | None = None  # seconds for one image before giving up


@dataclass(frozen=True)
class ProbeResult:
    """Peak memory in bytes and seconds of each image; ``problem`` says why something is missing, '' for nothing."""

    memory: int | None = None
    seconds: tuple[float, ...] = ()
    problem: str = ""


def probe(task: Probe) -> ProbeResult:
    """Measure in a fresh process; a failure of that process is reported in ``problem``."""
    threads = str(task.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, "-m", __spec__.name, encode(task)]
    longest = None if task.limit is None else OPENING + (task.runs + 3) * task.limit
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=errors, env=environment, timeout=longest, check=False
            )
        except subprocess.TimeoutExpired:
            return ProbeResult(problem=f"over {task.limit:g} s")
        errors.seek(0)
        return _judge(done.returncode, done.stdout.decode(errors="replace"), errors.read(), task.limit)


def encode(task: Probe) -> str:
    """Return a probe as text for the command line of its process."""
    return json.dumps({"plugins": imported, "task": {**task._asdict(), "subject": asdict(task.subject)}})


def decode(text: str) -> Probe:
    """Return the probe that :func:`encode` wrote; import the plugins of the process that did."""
    written = json.loads(text)
    load_plugins()
    import_plugins(written["plugins"])
    read = written["task"]
    return Probe(**{**read, "subject": Subject(**read["subject"]), "variant": Variant(*read["variant"])})


def _judge(status: int, output: str, errors: bytes, limit: float | None) -> ProbeResult:
    lines = output.strip().splitlines()
    if status == 0 and lines:
        found = json.loads(lines[-1])
        return ProbeResult(**{**found, "seconds": tuple(found["seconds"])})
    if status == OVER_LIMIT and limit is not None:
        return ProbeResult(problem=f"over {limit:g} s")
    text = errors.decode(errors="replace").strip()
    if status in (OUT_OF_MEMORY, -getattr(signal, "SIGKILL", 9)) or lacks_memory(text):
        return ProbeResult(problem="out of memory")
    last = text.splitlines()[-1] if text else "no message"
    return ProbeResult(problem=short_message(f"its process ended with status {status}: {last}"))


def lacks_memory(error: BaseException | str) -> bool:
    """Return whether an error, or its text, means that memory ran out.

    >>> lacks_memory("RuntimeError: CUDA out of memory. Tried to allocate 2 GiB"), lacks_memory("no such file")
    (True, False)
    """
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in MEMORY_WORDS)


def measure(get_ready: Callable[[], Callable[[], Tensor]], task: Probe) -> ProbeResult:
    """Run an image in this process: once to warm up, then ``task.runs`` times, or once for its memory alone.

    ``get_ready`` prepares the backend for the image and returns the call that runs it.
    """
    release_freed()
    idle = resident()
    run = get_ready()
    cancel = _end_after(task.limit)
    with PeakMemory(task.device, idle) as peak:
        first = _seconds(run)
    cancel()
    if task.limit is not None and first > task.limit:
        return ProbeResult(peak.bytes, (first,), f"over {task.limit:g} s")
    release_freed()
    with PeakMemory(task.device, idle) as peak:
        taken = [_seconds(run)]
    while len(taken) < task.runs and (task.limit is None or sum(taken) < task.limit):
        taken.append(_seconds(run))
    return ProbeResult(peak.bytes, tuple(taken) if task.runs else ())


def _seconds(run: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _end_after(limit: float | None) -> Callable[[], None]:
    """End this process after twice the limit, in seconds, unless the returned function is called before."""
    if limit is None:
        return lambda: None
    timer = threading.Timer(2 * limit, os._exit, (OVER_LIMIT,))
    timer.daemon = True
    timer.start()
    return timer.cancel


def _volunteer() -> None:
    """Make the kernel end this process, and no other, when memory runs out."""
    try:
        OOM_SCORE.write_text("1000")
    except OSError:
        return


def main(text: str) -> int:
    """Measure the encoded probe ``text``, print the result, and return the exit status."""
    task = decode(text)
    _volunteer()
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
        found = ProbeResult(problem=short_message(error))
    sys.stdout.write(f"\n{json.dumps(asdict(found))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
