"""Enlarge one file after the other, while the next one is decoded and the last one encoded."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from lightsr_basicsr.errors import is_full, reason_of
from lightsr_basicsr.film.enlarging import USUAL, Wishes
from lightsr_basicsr.film.names import is_film
from lightsr_basicsr.film.threads import Behind, made_ahead
from lightsr_basicsr.pictures.animation import ANIMATED, Animation, Frame, read_animation, write_animation
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.fitting import FORMATS, format_of, size_problem
from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.pictures.reading import printable, read_picture
from lightsr_basicsr.pictures.writing import write_picture
from lightsr_basicsr.tools.upscale.bar import Bar
from lightsr_basicsr.tools.upscale.inputs import Failure
from lightsr_basicsr.tools.upscale.jobs import Job
from lightsr_basicsr.upscale.resizing import scaled
from lightsr_basicsr.upscale.upscaler import Upscaler

Made = TypeVar("Made")
WRITERS = 2  # because a disk takes longer than a processor to take a small picture
SMALL = 2**26  # bytes of results that may wait together; a larger one is written while nothing else waits
MOVING = (".gif", ".webp", ".png", ".apng")  # endings of files that can be animations


@dataclass
class Done:
    """What has come of it so far."""

    written: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    notes: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))  # what a file or format changed
    full: bool = False  # whether there is no more room on the disk, after which nothing was tried


class _Result(NamedTuple):
    """An enlarged picture; None for what was written frame by frame, and what is to be said."""

    picture: Picture | None
    notes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of its pixels."""
        return self.picture.color.nbytes + (0 if self.picture.alpha is None else self.picture.alpha.nbytes)


class _Work(NamedTuple):
    """With what files are enlarged."""

    upscaler: Upscaler
    bar: Bar
    film: Wishes


class _Writing(NamedTuple):
    """A result that a thread encodes and writes."""

    job: Job
    size: int
    future: Future


def upscale_files(
    jobs: list[Job],
    upscaler: Upscaler,
    done: Done,
    overwrite: bool = False,
    bar: Bar | None = None,
    film: Wishes = USUAL,
) -> Done:
    """Enlarge pictures, animations and films; a bad one never stops the others, unless the disk is full.

    At most three large pictures are in memory: the one that is computed, the next one, and the last one, enlarged. Of
    animations and films these are frames.

    Args:
        jobs (list[Job]): What to do.
        upscaler (Upscaler): The network.
        done (Done): Is filled while the work goes on, and returned.
        overwrite (bool): Whether existing files are replaced. Default: False.
        bar (Bar | None): Shows how far it is. Default: None.
        film (Wishes): How films are encoded.
    """
    bar = bar or Bar(len(jobs), shown=False)
    work = _Work(upscaler, bar, film._replace(overwrite=overwrite))
    with _ended(ThreadPoolExecutor(1)) as reader, _ended(ThreadPoolExecutor(WRITERS)) as writer:
        ahead = reader.submit(_read, jobs[0].source) if jobs else None
        writing: deque[_Writing] = deque()
        try:
            for job, following in zip(jobs, [*jobs[1:], None], strict=True):
                bar.begin(printable(job.source))
                found = _tried(job, done, ahead.result)
                ahead = reader.submit(_read, following.source) if following else None
                result = None
                if found is not None:
                    result = _tried(job, done, lambda job=job, found=found: _enlarged(job, found, work))
                if result is not None and result.picture is None:
                    _note(job, result.notes, done)
                elif result is not None:
                    _make_room(writing, result.size, done)
                    if not done.full:
                        future = writer.submit(_write, job.target, result, overwrite)
                        writing.append(_Writing(job, result.size, future))
                if done.full:
                    break
                bar.end()
        finally:
            _make_room(writing, SMALL, done)
    return done


@contextmanager
def _ended(executor: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    """Let a thread finish what it does, and start nothing more."""
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _tried(job: Job, done: Done, work: Callable[[], Made]) -> Made | None:
    """Return what ``work`` returns; None if it failed, which is noted."""
    try:
        return work()
    except Exception as error:  # decoders, backends and networks of other packages raise any type
        done.full = done.full or is_full(error)
        done.failed.append(Failure(job.source, reason_of(error, "crop it", printable(job.source))))
        return None


def _read(path: Path) -> Picture | Animation | Path:
    """Return a picture or an animation; of a film its name, because it is read while it is enlarged."""
    if is_film(path):
        return path
    try:
        animation = read_animation(path) if path.suffix.lower() in MOVING else None
    except ImageError:  # the other reader knows more of what can be wrong
        animation = None
    return animation or read_picture(path)


def _enlarged(job: Job, found: Picture | Animation | Path, work: _Work) -> _Result:
    """Return a picture, enlarged; write an animation or a film frame by frame.

    Raises:
        ImageError: If the format of the result cannot hold it.
        FilmError: If a film cannot be enlarged.
    """
    upscaler, bar = work.upscaler, work.bar
    if isinstance(found, Path):
        wishes = work.film._asdict()
        return _Result(None, upscaler.upscale_film(found, job.target, **wishes, progress=bar.frames))
    _check_format(job.target, found, scaled(found.size, upscaler.outscale))
    if isinstance(found, Picture):
        return _Result(upscaler.upscale_picture(found, bar.share), found.notes)
    settings = {"loop": found.loop, "overwrite": work.film.overwrite, "clear": found.has_transparency()}
    writer = Behind(lambda frames: write_animation(job.target, frames, **settings))
    with made_ahead(lambda: iter(found)) as frames, writer as write:
        for number, frame in enumerate(frames):
            write(Frame(upscaler.upscale_picture(frame.picture), frame.milliseconds))
            bar.frames(number + 1, found.count)
    return _Result(None, (*found.notes, *writer.made))


def _check_format(target: Path, found: Picture | Animation, size: tuple[int, int]) -> None:
    """Raise ImageError, before anything is computed, if the format of a file cannot hold the result."""
    problem, kind = size_problem(target, *size), format_of(target)
    if isinstance(found, Animation) and kind not in ANIMATED:
        problem = f"{FORMATS[kind].name} holds no animation: write {', '.join(ANIMATED)}"
    elif isinstance(found, Picture) and kind == "GIF":
        problem = "a GIF has 256 colors: write PNG"
    if problem:
        raise ImageError(problem)


def _write(target: Path, result: _Result, overwrite: bool) -> tuple[str, ...]:
    """Write a picture and return all notes."""
    return (*result.notes, *write_picture(target, result.picture, overwrite=overwrite))


def _note(job: Job, notes: tuple[str, ...], done: Done) -> None:
    """Note that a file was written, and what is to be said on it."""
    done.written.append(job.target)
    for note in notes:
        done.notes[note].append(job.source)


def _make_room(writing: deque[_Writing], size: int, done: Done) -> None:
    """Wait for files that are being written until a result of so many bytes may join them, and note what came of it."""
    while writing and (len(writing) >= WRITERS or sum(each.size for each in writing) + size > SMALL):
        job, _, future = writing.popleft()
        notes = _tried(job, done, future.result)
        if notes is not None:
            _note(job, notes, done)
