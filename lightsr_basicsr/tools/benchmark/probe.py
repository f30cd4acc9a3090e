"""Measures one variant at one size in a process of its own: memory cannot be told apart within one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import NamedTuple

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.tools.benchmark.measure import Variant
from lightsr_basicsr.tools.benchmark.sources import Subject

OPENING = 1200.0  # in seconds; an exporter may take minutes
OVER_LIMIT, OUT_OF_MEMORY = 124, 125  # exit statuses of the process
MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "bad_alloc", "bad allocation",
                "failed to allocate", "std::bad_alloc", "cannot allocate memory", "insufficient memory")  # fmt: skip


class Probe(NamedTuple):
    """What a process is asked to measure.

    Attributes:
        subject (Subject): The network.
        variant (Variant): How it is run.
        height (int): Of the LR image, in pixels.
        width (int): Likewise.
        device (str): ``'cpu'`` or ``'cuda'``.
        threads (int): CPU threads.
        runs (int): Images that are timed, after one that warms up; 0 where memory is all that is asked for.
        limit (float | None): Seconds for one image, after which it is given up; None for no limit.
    """

    subject: Subject
    variant: Variant
    height: int
    width: int
    device: str
    threads: int
    runs: int = 0
    limit: float | None = None


@dataclass(frozen=True)
class Probed:
    """What it found: peak memory in bytes, seconds of each image; ``problem`` says why there is nothing, or no more."""

    memory: int | None = None
    seconds: tuple[float, ...] = ()
    problem: str = ""


def probe(task: Probe) -> Probed:
    """Measure in a fresh process; whatever happens to it is told in ``problem``."""
    threads = str(task.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    command = [sys.executable, "-m", "lightsr_basicsr.tools.benchmark.child", encode(task)]
    longest = None if task.limit is None else OPENING + (task.runs + 3) * task.limit
    with tempfile.TemporaryFile() as errors:
        try:
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=errors, env=environment, timeout=longest, check=False
            )
        except subprocess.TimeoutExpired:
            return Probed(problem=f"over {task.limit:g} s")
        errors.seek(0)
        return _judge(done.returncode, done.stdout.decode(errors="replace"), errors.read(), task.limit)


def encode(task: Probe) -> str:
    """Return a probe as text for the command line of its process."""
    return json.dumps({**task._asdict(), "subject": asdict(task.subject)})


def decode(text: str) -> Probe:
    """Return the probe that :func:`encode` wrote."""
    told = json.loads(text)
    return Probe(**{**told, "subject": Subject(**told["subject"]), "variant": Variant(*told["variant"])})


def _judge(status: int, output: str, errors: bytes, limit: float | None) -> Probed:
    lines = output.strip().splitlines()
    if status == 0 and lines:
        told = json.loads(lines[-1])
        return Probed(told["memory"], tuple(told["seconds"]), told["problem"])
    if status == OVER_LIMIT and limit is not None:
        return Probed(problem=f"over {limit:g} s")
    text = errors.decode(errors="replace").strip()
    if status in (OUT_OF_MEMORY, -getattr(signal, "SIGKILL", 9)) or lacks_memory(text):
        return Probed(problem="out of memory")
    last = text.splitlines()[-1] if text else "nothing was said"
    return Probed(problem=short_message(f"its process ended with status {status}: {last}"))


def lacks_memory(error: BaseException | str) -> bool:
    """Return whether an error, or its text, says that memory was not enough."""
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in MEMORY_WORDS)
