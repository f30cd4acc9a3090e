"""One way to work through many files: on all cores, with a progress bar, in any order, and again after a stop.

A job turns one source file into some outputs. Outputs that are there are not made again, because files are only ever
moved into place whole; ``claims.py`` sees to it that they are of the kind and of the source that is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.images import ImageError, remove_parts


class PrepareError(UserError):
    """Something about the whole task that the user can put right; the message says how."""


@dataclass(frozen=True)
class Work:
    """How to work through the files.

    Attributes:
        workers (int | None): Files at a time; None: one per core.
        overwrite (bool): Whether to recreate existing files.
        progress (bool): Whether to show a progress bar on standard error.
    """

    workers: int | None = None
    overwrite: bool = False
    progress: bool = True


ALL_CORES = Work()


@dataclass
class Prepared:
    """What a task of ``prepare`` did.

    Attributes:
        made, kept (int): Outputs that were written, and that were there already.
        failed (list[str]): Files that could not be used, with the reason.
        folders (list[Path]): Where outputs are.
        section (dict): Section ``datasets`` for an option file, ready to be dumped as YAML.
        others (dict): Where several scales were made, ``section`` of each scale, since an option file has one.
        notes (list[str]): What the user should know about the data.
    """

    made: int = 0
    kept: int = 0
    failed: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    section: dict[str, Any] = field(default_factory=dict)
    others: dict[int, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add_section(self, key: str, section: dict[str, Any], scale: int) -> None:
        """Add the section of one scale; ``section`` is that of the first."""
        self.others[scale] = {key: section}
        self.section = next(iter(self.others.values()))


@dataclass(frozen=True)
class Job:
    """One source file and the files that are made of it; ``make`` gets those that are wanted."""

    source: Path
    outputs: tuple[Path, ...]
    make: Callable[[Sequence[Path]], None]


def run_jobs(jobs: Sequence[Job], title: str, work: Work) -> Prepared:
    """Do ``jobs``, several at a time, and return what was made, kept and failed.

    Args:
        jobs (Sequence[Job]): What to do. A broken source file is noted, and the others go on.
        title (str): Shown at the progress bar.
        work (Work): Threads and progress bar; existing outputs are kept.
    """
    done = Prepared()
    remove_parts({output.parent for job in jobs for output in job.outputs})
    todo = []
    for job in jobs:
        missing = [output for output in job.outputs if not output.exists()]
        done.kept += len(job.outputs) - len(missing)
        if missing:
            todo.append((job, missing))
    with (
        _one_thread_each(),
        tqdm(total=len(jobs), initial=len(jobs) - len(todo), desc=title, disable=not work.progress) as bar,
    ):
        for job, missing, error in _in_threads(todo, work.workers or cores()):
            bar.update()
            if error is None:
                done.made += len(missing)
            else:
                done.failed.append(str(error) if isinstance(error, ImageError) else f"{job.source}: {error}")
    done.failed.sort()
    return done


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_threads(
    todo: Iterable[tuple[Job, list[Path]]], workers: int
) -> Iterator[tuple[Job, list[Path], Exception | None]]:
    """Yield jobs as they end. Threads serve, since decoding, encoding and arithmetic all leave Python's lock."""
    remaining, running = iter(todo), {}
    executor = ThreadPoolExecutor(workers)
    try:
        while True:
            # No more are begun than can be kept in memory, and none is left to wait for after Ctrl-C.
            for job, missing in remaining:
                running[executor.submit(job.make, missing)] = (job, missing)
                if len(running) > workers:
                    break
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield (*running.pop(future), _error_of(future))
    finally:
        executor.shutdown(cancel_futures=True)


def _error_of(future: Future) -> Exception | None:
    error = future.exception()
    if error is None or isinstance(error, (ImageError, OSError, ValueError, cv2.error)):
        return error
    raise error


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """The jobs share the cores, so each must keep to one."""
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)
