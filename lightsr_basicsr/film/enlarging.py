"""Enlarge a film: decoded, computed and encoded side by side, in segments that a killed run goes on from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from lightsr_basicsr.film.colors import Converter
from lightsr_basicsr.film.encoding import (
    SEGMENT,
    Encoder,
    Setup,
    check_size,
    choose_codec,
    even,
    first_bytes,
    open_encoder,
)
from lightsr_basicsr.film.joining import join
from lightsr_basicsr.film.names import FilmError, container_of, require_av
from lightsr_basicsr.film.segments import Segments
from lightsr_basicsr.film.source import Film, Frames, Shot, read_film
from lightsr_basicsr.film.threads import Behind, made_ahead
from lightsr_basicsr.pictures.reading import printable

SQUARE = ("vp9", "av1")  # codecs whose frames do not say which shape their pixels have
HASHED = 2**20  # bytes at both ends of a film by which it is recognized
Progress = Callable[[int, int], None]


class Enlarger(Protocol):
    """What enlarges a frame."""

    def size_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of the result for those of a frame."""

    def enlarge(self, pixels: np.ndarray) -> np.ndarray:
        """Return (H, W, 3), uint8 or uint16, enlarged."""

    def settings(self) -> dict[str, Any]:
        """Return everything that decides the result, for JSON."""


class Wishes(NamedTuple):
    """How a film is written.

    Args:
        codec (str | None): ``h264``, ``hevc``, ``vp9`` or ``av1``; None for what its container usually holds.
        crf (int | None): Quality, 0 is best; None for a usual one, at which no loss is seen.
        overwrite (bool): Whether an existing file is replaced.
    """

    codec: str | None = None
    crf: int | None = None
    overwrite: bool = True


USUAL = Wishes()


def enlarge_film(
    source: Path,
    target: Path,
    enlarger: Enlarger,
    wishes: Wishes = USUAL,
    progress: Progress | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[str, ...]:
    """Enlarge a film and write it; the file is complete or as it was before.

    At any time a few frames are in memory, and a segment of 48 as encoded. Finished segments are kept in a hidden
    folder beside the result. A run that finds them, made with the same settings of the same film, goes on after them,
    and its result equals that of a run without a break.

    Args:
        source (Path): The film.
        target (Path): The result; its ending decides the container.
        enlarger (Enlarger): Enlarges frames.
        wishes (Wishes): How it is written. Default: H.264, or VP9 in WebM.
        progress (Callable | None): Called with the frames that are done, and how many there are. Default: None.
        report (Callable | None): Called with a sentence if segments of an earlier run are there. Default: None.

    Returns:
        tuple[str, ...]: Sentences on what is not kept.

    Raises:
        FilmError: If the film cannot be read, or the result not be written.
    """
    name = printable(source)
    film = read_film(source)
    codec, crf = choose_codec(target, wishes.codec, wishes.crf)
    setup, word = _setup(film, enlarger.size_of(film.size), codec, crf, container_of(target))
    notes = [*film.notes, *filter(None, [word])]
    try:
        check_size(setup.size)
        segments = Segments(target, _settings(film, enlarger, setup))
    except FilmError as error:
        raise FilmError(f"{name}: {error}") from error
    done, is_all, word = segments.begin()
    for text in filter(None, (word, _resumed(done, film))):
        if report is not None:
            report(f"{name}: {text}")
    try:
        if not is_all:
            notes += _enlarge(film, enlarger, setup, segments, done, progress)
        notes += join(film, segments, setup, target, wishes.overwrite)
    except BaseException:
        segments.remove_if_empty()
        raise
    segments.remove()
    return tuple(notes)


def _setup(film: Film, size: tuple[int, int], codec: str, crf: int, container: str) -> tuple[Setup, str]:
    """Return what to encode frames of a size as, and a sentence on what differs."""
    rest = film.rate, film.time_base
    if film.aspect != 1 and (codec in SQUARE and container in ("matroska", "webm")):
        size = even((round(size[0] * film.aspect), size[1]))
        word = f"{codec} in this container holds square pixels only: frames were stretched to {size[0]}x{size[1]}."
        return Setup(codec, crf, size, *rest, Fraction(1), film.colors, squared=True), word
    word = f"{size[0]}x{size[1]} pixels became even: the last row or column is there twice."
    return Setup(codec, crf, even(size), *rest, film.aspect, film.colors), word if even(size) != size else ""


def _resumed(done: int, film: Film) -> str:
    return f"goes on after frame {min(done * SEGMENT, film.count)} of {film.count}." if done else ""


def _settings(film: Film, enlarger: Enlarger, setup: Setup) -> dict[str, Any]:
    """Return what decides the frames of the result: segments are kept only for the same."""
    av = require_av()
    return {
        "film": _digest(film.path),
        "network": enlarger.settings(),
        "encoder": [setup.as_text(), hashlib.sha256(first_bytes(open_encoder(setup))).hexdigest()],
        "PyAV": {name: list(version) for name, version in av.library_versions.items()},
    }


def _digest(path: Path) -> list[Any]:
    """Return size and checksum of a film's beginning and end, which hold its index: hours of film take no time."""
    size, found = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        found.update(file.read(HASHED))
        file.seek(max(0, size - HASHED))
        found.update(file.read(HASHED))
    return [size, found.hexdigest()]


def _enlarge(
    film: Film, enlarger: Enlarger, setup: Setup, segments: Segments, done: int, progress: Progress | None
) -> list[str]:
    """Make the segments that are missing, and return sentences on damaged frames."""
    frames = Frames(film, done * SEGMENT)
    writer, count = _Writer(segments, setup, done), done * SEGMENT
    with made_ahead(lambda: iter(frames)) as shots, Behind(writer.write_all) as write:
        for shot in shots:
            write(Shot(enlarger.enlarge(shot.pixels), shot.pts, shot.duration))
            count += 1
            if progress is not None:
                progress(count, max(count, film.count))
    notes = []
    if frames.damaged:
        notes.append(f"{frames.damaged} damaged places were left out; the frame before is shown longer.")
    if frames.moved:
        notes.append(f"{frames.moved} frames had no time of their own and come directly after the one before.")
    return notes


class _Writer:
    """Encodes frames, and writes a segment whenever one is full.

    Args:
        segments (Segments): Where to.
        setup (Setup): How they are encoded.
        number (int): Of the first segment.
    """

    def __init__(self, segments: Segments, setup: Setup, number: int) -> None:
        self.segments, self.setup, self.number = segments, setup, number
        self.converter = Converter(setup.colors)

    def write_all(self, shots: Iterator[Shot]) -> None:
        """Write all segments."""
        shot = next(shots, None)
        while shot is not None:
            encoder, count = Encoder(self.setup, self.converter), 0
            while shot is not None and count < SEGMENT:
                encoder.add(*shot)
                # A segment is closed when the next frame is there: only then is it known not to be the last.
                duration, count, shot = shot.duration, count + 1, next(shots, None)
            self.segments.write(self.number, encoder.finish(), duration, last=shot is None)
            self.number += 1
