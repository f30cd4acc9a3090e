"""Where a page's pictures are enlarged: one after the other, within limits, as ``basicsr upscale`` does it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread
from typing import NamedTuple

import numpy as np

from lightsr_basicsr.errors import UserError, reason_of
from lightsr_basicsr.film.names import is_film
from lightsr_basicsr.pictures.animation import read_animation
from lightsr_basicsr.pictures.colors import to_kind
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.fitting import SUFFIXES, size_problem
from lightsr_basicsr.pictures.picture import Metadata, Picture
from lightsr_basicsr.pictures.reading import from_bytes, printable, read_content
from lightsr_basicsr.pictures.writing import encoded, write_picture
from lightsr_basicsr.tools.serve.networks import Networks, ServeError
from lightsr_basicsr.upscale.resizing import check_outscale, resized, scaled

AUTO = "auto"
ENDINGS = (AUTO, "png", "jpg", "webp", "tif")
PREVIEW = 1600  # longer side of what the page shows, in pixels
MOST_PIXELS = 50_000_000
MOST_BYTES = 200_000_000
POLL = 0.1  # seconds between looks at a lock that another picture holds
THREAD = "basicsr serve: a picture"
LONGEST_NAME = 100  # characters


class Limits(NamedTuple):
    """What a page takes: pixels of a picture, and bytes of its file."""

    pixels: int = MOST_PIXELS
    bytes: int = MOST_BYTES


class Wish(NamedTuple):
    """What a user asks for: title of a network, scale (None for the network's own), ending of the result."""

    network: str
    scale: float | None = None
    ending: str = AUTO


class Outcome(NamedTuple):
    """The result's file, what the page shows before and after, and a sentence."""

    file: Path
    before: Path
    after: Path
    text: str


class CancelledError(Exception):
    """The user does not want the result any more."""


class Work:
    """A picture that is being enlarged in a thread.

    Args:
        desk (Desk): Enlarges it.
        source (Path): The file.
        wish (Wish): What is asked for.
    """

    def __init__(self, desk: Desk, source: Path, wish: Wish) -> None:
        self.desk, self.source, self.wish = desk, source, wish
        self.started, self.part, self.stage = time.monotonic(), 0.0, "waiting for another picture"
        self.outcome: Outcome | None = None
        self.problem: str | None = None
        self.stop = Event()
        self.thread = Thread(target=self._run, name=THREAD, daemon=True)
        desk.running.add(self)
        self.thread.start()

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return time.monotonic() - self.started

    def cancel(self) -> None:
        """Have it end as soon as the network has made the rows at which it is."""
        self.stop.set()

    def wait(self, seconds: float) -> bool:
        """Wait, and return whether it has ended."""
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def tell(self, part: float, stage: str | None = None) -> None:
        """Note how far it is.

        Raises:
            CancelledError: If it was cancelled.
        """
        self.part, self.stage = part, stage or self.stage
        if self.stop.is_set():
            raise CancelledError

    def _run(self) -> None:
        name = shown_name(self.source)
        try:
            self.outcome = self.desk.enlarge(self)
        except CancelledError:
            self.problem = "Cancelled."
        except Exception as error:  # decoders, backends and networks raise any type
            reason = reason_of(error, "choose a smaller picture or scale", str(self.source), name)
            self.problem = f"{name}: {reason.replace(str(self.source), name)}."
        finally:
            self.desk.running.discard(self)


class Desk:
    """Enlarges pictures one after the other.

    Args:
        networks (Networks): What may be chosen.
        folder (Path): For results; each has a folder of its own, with a name that cannot be guessed.
        limits (Limits): What is taken.
    """

    def __init__(self, networks: Networks, folder: Path, limits: Limits = Limits()) -> None:  # noqa: B008
        self.networks, self.folder, self.limits = networks, folder, limits
        self.lock, self.running = Lock(), set()

    def enlarge(self, work: Work) -> Outcome:
        """Enlarge the picture of ``work``; called in its thread.

        Raises:
            UserError: If it is refused, or cannot be enlarged.
            CancelledError: If the user cancelled it.
        """
        name, wish = shown_name(work.source), work.wish
        if wish.ending not in ENDINGS:
            raise ServeError(f"Expected one of {', '.join(ENDINGS)}, got {wish.ending!r}: choose one of these.")
        check_outscale(wish.scale)
        with self._turn(work):
            work.tell(0, "reading it")
            picture = read_one(work.source, name, self.limits)
            target = self._target(work.source, wish, picture)
            begun = time.monotonic()
            work.tell(0, "opening the network")
            upscaler, notes = self.networks.open(wish.network), []
            upscaler.report = notes.append
            upscaler.outscale = float(upscaler.scale if wish.scale is None else wish.scale)
            size = scaled(picture.size, upscaler.outscale)
            if problem := size_problem(target, *size):
                raise ImageError(f"{name}: {problem}.")
            work.tell(0, "enlarging it")
            made = upscaler.upscale_picture(picture, work.tell)
            work.tell(1, "writing it")
            notes += [*picture.notes, *write_picture(target, made)]
            took = time.monotonic() - begun
            before, after = self._previews(target, picture, made)
        runtime = upscaler.runtime
        text = (
            f"{_sides(picture.size)} to {_sides(made.size)} pixels by {wish.network} ({runtime.backend}, "
            f"{runtime.precision}) in {took:.1f} s."
        )
        if max(made.size) > PREVIEW:
            notes.append(f"the comparison is reduced to {PREVIEW} pixels; the file has all.")
        return Outcome(target, before, after, " ".join([text, *(_sentence(note) for note in notes)]))

    @contextmanager
    def _turn(self, work: Work) -> Iterator[None]:
        while not self.lock.acquire(timeout=POLL):
            work.tell(0)
        try:
            yield
        finally:
            self.lock.release()

    def _target(self, source: Path, wish: Wish, picture: Picture) -> Path:
        suffix = source.suffix if SUFFIXES.get(source.suffix.lower()) == picture.format else f".{picture.format}"
        ending = suffix.lower() if wish.ending == AUTO else f".{wish.ending}"
        ending = ".png" if ending in (".gif", ".apng") else ending.replace(".jpeg", ".jpg").replace(".tiff", ".tif")
        folder = self.folder / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder / f"{source.stem[:LONGEST_NAME]}_large{ending}"

    def _previews(self, target: Path, picture: Picture, made: Picture) -> tuple[Path, Path]:
        """Write what the page shows: both at the size of the result, at most ``PREVIEW`` pixels long."""
        factor = min(1.0, PREVIEW / max(made.size))
        size = scaled(made.size, factor)
        paths = target.with_name("before.png"), target.with_name("after.png")
        for path, each in zip(paths, (picture, made), strict=True):
            path.write_bytes(preview(each, size))
        return paths


def read_one(path: Path, name: str, limits: Limits) -> Picture:
    """Return the picture of a file that anybody may have sent.

    Args:
        path (Path): The file.
        name (str): Begins messages.
        limits (Limits): What is taken.

    Raises:
        ImageError: If it is too large, an animation or a film, no picture, or damaged.
    """
    if is_film(path):
        raise ImageError(f"{name}: films are enlarged by `basicsr upscale {name}`, this page takes pictures.")
    size = path.stat().st_size
    if size > limits.bytes:
        raise ImageError(
            f"{name}: expected at most {limits.bytes / 1e6:g} MB, got {size / 1e6:.1f} MB: send a smaller file, or "
            "start the page with a larger --max-size."
        )
    content = read_content(path)
    try:
        animation = read_animation(path, limits.pixels)
    except ImageError:  # the other reader knows more of what can be wrong
        animation = None
    if animation:
        raise ImageError(
            f"{name}: an animation of {animation.count} frames, and this page takes pictures: enlarge it with "
            f"`basicsr upscale {name}`."
        )
    try:
        return from_bytes(content, name, path.suffix, limits.pixels)
    except ImageError as error:
        raise ImageError(str(error).replace("allow max_pixels=", "start the page with --max-pixels ")) from error


def preview(picture: Picture, size: tuple[int, int]) -> bytes:
    """Return a PNG of 8 bits of a picture in another size (width, height), with its color profile and nothing else."""
    color = np.atleast_3d(resized(to_kind(picture.color, "uint8"), size))
    alpha = None if picture.alpha is None else resized(to_kind(picture.alpha, "uint8"), size)
    shown = picture.with_pixels(color, alpha).with_metadata(Metadata(icc=picture.metadata.icc))
    return encoded(shown, "PNG")[0]


def shown_name(path: Path) -> str:
    """Return the name of a file for a message."""
    name = printable(Path(path.name))
    return name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _sentence(note: str) -> str:
    text = note.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def require_limits(limits: Limits) -> None:
    """Raise UserError unless both limits are positive."""
    if min(limits) < 1:
        raise UserError(
            f"Expected limits above 0, got {limits.pixels:,} pixels and {limits.bytes / 1e6:g} MB: raise them."
        )
