"""Process many files: on all cores, with a progress bar, and resumable.

A job turns one source file into some outputs. Existing outputs are kept, because a file is only ever moved into place
whole; ``claims.py`` ensures that they were made from the same source with the same settings.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch
from tqdm import tqdm

from lightsr_basicsr.errors import UserError, short_message
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.tools.images import remove_parts

Item, Result = TypeVar("Item"), TypeVar("Result")


class PrepareError(UserError):
    """An error that concerns the whole task; a broken source file is reported in :class:`Prepared` instead."""


@dataclass(frozen=True)
class Work:
    """How to process the files."""

    workers: int | None = None  # files at a time; None: one per core
    overwrite: bool = False  # whether to recreate existing files
    progress: bool = True  # whether to show a progress bar on standard error


ALL_CORES = Work()


@dataclass
class Prepared:
    """Result of a ``prepare`` function."""

    made: int = 0  # number of outputs written
    kept: int = 0  # number of existing outputs
    failed: list[str] = field(default_factory=list)  # files that could not be used, each with the reason
    folders: list[Path] = field(default_factory=list)  # of the outputs
    section: dict[str, Any] = field(default_factory=dict)  # `datasets` of an option file, to be dumped as YAML
    # `section` by scale where several scales were made, since an option file has one scale.
    others: dict[int, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # remarks on the data for the user


@dataclass(frozen=True)
class FileJob:
    """One source file, its outputs, and ``make``, which writes the outputs that it is given."""

    source: Path
    outputs: tuple[Path, ...]
    make: Callable[[Sequence[Path]], None]


def run_jobs(jobs: Sequence[FileJob], title: str, work: Work) -> Prepared:
    """Run ``jobs`` in threads, below a progress bar named ``title``, and return what was made, kept and failed.

    Existing outputs are kept; a broken source file is recorded in the result and does not stop the others.
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
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_threads(
    todo: Iterable[tuple[FileJob, list[Path]]], workers: int
) -> Iterator[tuple[FileJob, list[Path], Exception | None]]:
    """Yield jobs as they finish. Threads suffice: decoding, encoding and arithmetic all release Python's lock."""
    executor = ThreadPoolExecutor(workers)
    try:
        running = {executor.submit(job.make, missing): (job, missing) for job, missing in todo}
        for future in as_completed(running):
            yield (*running.pop(future), _error_of(future))
    finally:
        executor.shutdown(cancel_futures=True)


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with the result of ``function``, in the order of ``items``; threads work a few items ahead."""
    count = workers or cores()
    executor, ahead = ThreadPoolExecutor(count), deque()
    try:
        for item in items:
            ahead.append((item, executor.submit(function, item)))
            # One item more than threads, so that none is idle while the first result is consumed.
            if len(ahead) > count:
                first, future = ahead.popleft()
                yield first, future.result()
        for item, future in ahead:
            yield item, future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def _error_of(future: Future) -> Exception | None:
    error = future.exception()
    if isinstance(error, MemoryError):
        text = short_message(error, 100)
        return ValueError(f"needs more memory than there is ({text}): crop it, or use fewer --jobs")
    if error is None or isinstance(error, (ImageError, OSError, ValueError, cv2.error)):
        return error
    raise error


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit torch and OpenCV to one thread, since the jobs share the cores."""
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)
