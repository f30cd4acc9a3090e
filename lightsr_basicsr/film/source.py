"""Read a film: what it holds, whether it is whole, and its frames one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lightsr_basicsr.film.colors import Colors, Converter, colors_of
from lightsr_basicsr.film.names import FilmError, require_av
from lightsr_basicsr.pictures.reading import guess, printable

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# FFmpeg's names of what is read. Lists that name other files or addresses are not among them.
FORMATS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg"
INDEXED = ("mov", "matroska", "avi", "flv")  # their headers tell how long the film is
BUFFER = 2**20  # bytes that are read at once
FEWEST, SHORTEST = 0.98, 0.97  # parts of the frames and of the duration promised, below which a film is cut short
USUAL_RATE = Fraction(25)


class Film(NamedTuple):
    """What a film holds.

    Args:
        path (Path): The file.
        index (int): Of the stream of pictures.
        size (tuple[int, int]): Width and height of a frame.
        count (int): How many frames the file holds.
        rate (Fraction): Frames per second, on average.
        time_base (Fraction): Seconds of one tick of the time stamps.
        aspect (Fraction): Width over height of a pixel.
        colors (Colors): What its numbers stand for.
        turn (tuple[int, ...] | None): The nine numbers by which a player turns or mirrors it.
        notes (tuple[str, ...]): What is not kept, in sentences.
    """

    path: Path
    index: int
    size: tuple[int, int]
    count: int
    rate: Fraction
    time_base: Fraction
    aspect: Fraction
    colors: Colors
    turn: tuple[int, ...] | None
    notes: tuple[str, ...]


class Shot(NamedTuple):
    """A frame: (H, W, 3) uint8 or uint16, its time stamp and how long it is shown, in ticks."""

    pixels: np.ndarray
    pts: int
    duration: int


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Open a film.

    Raises:
        FilmError: If it is none, or cannot be read.
    """
    av = require_av()
    try:
        file = path.open("rb")
    except OSError as error:
        raise FilmError(f"{printable(path)}: cannot be read: {error.strerror or error}.") from error
    with file:
        # By its content alone: a name may be any bytes, and FFmpeg takes some for addresses.
        options = {"format_whitelist": FORMATS}
        try:
            container = av.open(file, "r", options=options, metadata_errors="replace", buffer_size=BUFFER)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise FilmError(f"{printable(path)}: {_kind(path)}.") from error
        with container:
            yield container


def _kind(path: Path) -> str:
    """Return what a file is that is no film."""
    with path.open("rb") as file:
        start = file.read(256)
    if not start:
        return "empty file, expected a film: copy or download it again"
    if start[4:8] == b"ftyp":
        return "expected a film, got the first part of one: it is cut short or damaged: copy or download it again"
    return f"expected a film, got {guess(start)}"


def read_film(path: Path) -> Film:
    """Return what a film holds; its first frame is decoded, and the whole file is looked through.

    Raises:
        FilmError: If it is no film, has no pictures, is cut short, or none of its first frames can be decoded.
    """
    with opened(path) as container:
        stream = _pictures_of(container, path)
        first = _first_frame(container, stream, path)
        facts = stream.index, stream.average_rate or stream.guessed_rate or USUAL_RATE, stream.time_base
        aspect = stream.sample_aspect_ratio or Fraction(1)
        notes = tuple(_notes(container, stream, first))
    index, rate, time_base = facts
    return Film(
        path, index, (first.width, first.height), _checked_count(path, index), Fraction(rate), Fraction(time_base),
        Fraction(aspect) if aspect else Fraction(1), colors_of(first), _turn(first), notes,
    )  # fmt: skip


def _pictures_of(container: InputContainer, path: Path) -> VideoStream:
    found = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not found:
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
        raise FilmError(
            f"{printable(path)}: expected a film with pictures, got {' and '.join(kinds)} only: leave it out."
        )
    return max(found, key=lambda stream: stream.width * stream.height)


def _is_cover(stream: VideoStream) -> bool:
    return bool(int(stream.disposition) & 0x400)  # attached_pic


def _first_frame(container: InputContainer, stream: VideoStream, path: Path) -> VideoFrame:
    for frame in _decoded(container, stream, lambda: None):
        return frame
    raise FilmError(f"{printable(path)}: no frame can be decoded: it is damaged: copy or download it again.")


def _decoded(container: InputContainer, stream: VideoStream, damaged: Callable[[], None]) -> Iterator[VideoFrame]:
    """Yield frames; ``damaged`` is called for each packet that cannot be decoded."""
    av = require_av()
    stream.thread_type = "AUTO"
    try:
        for packet in container.demux(stream):
            try:
                yield from packet.decode()
            except av.FFmpegError:
                damaged()
    except av.FFmpegError:  # the file itself
        damaged()


def _notes(container: InputContainer, stream: VideoStream, first: VideoFrame) -> Iterator[str]:
    if first.interlaced_frame:
        yield "is interlaced: each frame holds two moments, which are enlarged as one; deinterlace it before."
    if any(part.is_alpha for part in first.format.components):
        yield "its transparency is left out."
    others = sum(not _is_cover(each) for each in container.streams.video) - 1
    if others:
        yield f"the largest of {others + 1} streams of pictures; the others are left out."


def _turn(frame: VideoFrame) -> tuple[int, ...] | None:
    try:
        found = frame.side_data["DISPLAYMATRIX"]
    except KeyError:
        return None
    return tuple(int(each) for each in np.frombuffer(bytes(found), np.int32))


def _checked_count(path: Path, index: int) -> int:
    """Return the number of frames in the file.

    Raises:
        FilmError: If it is much less than its header promises.
    """
    av = require_av()
    count, hidden, end, start = 0, 0, 0.0, None
    with opened(path) as container:
        stream = container.streams[index]
        promised, seconds = stream.frames, (container.duration or 0) / 1e6
        try:
            for packet in container.demux():
                if packet.size and packet.dts is not None:
                    time = float(packet.dts * packet.time_base)
                    start = time if start is None else min(start, time)
                    end = max(end, time + float((packet.duration or 0) * packet.time_base))
                if packet.size and packet.stream_index == index:
                    count, hidden = count + 1, hidden + packet.is_discard
        except av.FFmpegError:  # at the place where it ends too early
            pass
        known = container.format.name.split(",")[0] in INDEXED
    found = end - (start or 0.0)
    few = promised > 0 and count < FEWEST * promised - 1
    if known and (few or (found < SHORTEST * seconds and seconds - found > 1)):
        text = f"{count} of {promised} frames" if few else f"{found:.1f} of {seconds:.1f} seconds"
        raise FilmError(
            f"{printable(path)}: cut short: {text} are there: copy or download it again, or keep what is there with "
            "`ffmpeg -i FILM -c copy NEW.mkv`."
        )
    return count - hidden


@dataclass
class Frames:
    """Decodes a film, one frame after the other.

    Args:
        film (Film): As read.
        skipped (int): How many frames are left out at the start; they are decoded, because others depend on them.

    Attributes:
        damaged (int): Packets that could not be decoded so far.
        moved (int): Frames whose time stamp was missing or not behind the one before, and is a later one.
    """

    film: Film
    skipped: int = 0
    damaged: int = 0
    moved: int = 0

    def __iter__(self) -> Iterator[Shot]:
        """Yield the frames in the order in which they are shown.

        Raises:
            FilmError: If their size changes, or none can be decoded.
        """
        film, converter = self.film, Converter(self.film.colors)
        step = max(1, round(1 / (film.rate * film.time_base)))
        last: int | None = None
        with opened(film.path) as container:
            for number, frame in enumerate(_decoded(container, container.streams[film.index], self._note)):
                if (frame.width, frame.height) != film.size:
                    raise FilmError(
                        f"{printable(film.path)}: expected frames of {film.size[0]}x{film.size[1]} pixels, got "
                        f"{frame.width}x{frame.height} at frame {number}: cut it there."
                    )
                last = self._time(frame.pts, last, step)
                if number >= self.skipped:
                    yield Shot(converter.to_rgb(frame), last, frame.duration or step)
        if last is None:
            raise FilmError(f"{printable(film.path)}: no frame can be decoded: it is damaged: copy it again.")

    def _note(self) -> None:
        self.damaged += 1

    def _time(self, pts: int | None, last: int | None, step: int) -> int:
        if pts is not None and (last is None or pts > last):
            return pts
        self.moved += 1
        return 0 if last is None else last + (step if pts is None else 1)
