"""Animated GIF, WebP and PNG: frame by frame, with durations and repetitions."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lightsr_basicsr.pictures import pixels, png
from lightsr_basicsr.pictures.files import ImageError, reason
from lightsr_basicsr.pictures.fitting import FORMATS, fitted, format_of, size_problem
from lightsr_basicsr.pictures.metadata import read_metadata, sized
from lightsr_basicsr.pictures.moving import MOVIES, Movie, changed_part
from lightsr_basicsr.pictures.picture import Metadata, Picture, largest
from lightsr_basicsr.pictures.reading import is_lossy_webp, printable, read_content
from lightsr_basicsr.whole import made_whole

ANIMATED = ("GIF", "WEBP", "PNG")
OPAQUE = 255


class Frame(NamedTuple):
    """A frame: its picture, RGB with alpha, uint8, and how long it is shown."""

    picture: Picture
    milliseconds: float


@dataclass(frozen=True)
class Animation:
    """An animated picture; iterating over it decodes one frame after the other.

    Args:
        name (str): The file, for messages.
        format (str): ``GIF``, ``WEBP`` or ``PNG``.
        size (tuple[int, int]): Width and height.
        count (int): How many frames.
        loop (int): How often it is shown, 0 for ever.
        metadata (Metadata): As of a picture.
        notes (tuple[str, ...]): What reading it changed, in sentences.
    """

    name: str
    format: str
    size: tuple[int, int]
    count: int
    loop: int
    metadata: Metadata
    content: bytes = field(repr=False)
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            ImageError: If one is damaged.
        """
        lossless = not (self.format == "WEBP" and is_lossy_webp(self.content))
        with _named(self.name), Image.open(io.BytesIO(self.content)) as image:
            first = image.n_frames - self.count
            for index in range(first, image.n_frames):
                image.seek(index)
                array = np.asarray(image.convert("RGBA"))
                color, alpha = np.ascontiguousarray(array[:, :, :3]), np.ascontiguousarray(array[:, :, 3])
                picture = Picture(color, alpha, "RGBA", self.format, self.metadata, lossless)
                yield Frame(picture, float(image.info.get("duration") or 0))

    def has_transparency(self) -> bool:
        """Return whether any frame is transparent anywhere; all are decoded.

        Raises:
            ImageError: If one is damaged.
        """
        # All of them, although one would do: damage is found before anything is computed.
        return sum(bool((frame.picture.alpha < OPAQUE).any()) for frame in self) > 0


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn what decoders and encoders raise into ImageError with a name in front."""
    try:
        yield
    except (MemoryError, ImageError):
        raise
    except Exception as error:  # they raise any type
        raise ImageError(f"{name}: {reason(error).rstrip('.') or type(error).__name__}.") from error


def read_animation(path: str | PathLike, max_pixels: int | None = None) -> Animation | None:
    """Return the animation of a GIF, WebP or PNG file; None for any other file, and for one of a single frame.

    Args:
        path (str | PathLike): The file.
        max_pixels (int | None): How many pixels a frame may claim, as for ``read_picture``. Default: None.

    Raises:
        ImageError: If the file cannot be read or is damaged.
    """
    path = Path(path)
    content, name = read_content(path), printable(path)
    if content[:4] not in (b"GIF8", b"RIFF", png.SIGNATURE[:4]):
        return None
    with _named(name):
        image = pixels.open_header(io.BytesIO(content), len(content), max_pixels)
        count = getattr(image, "n_frames", 1)
        hidden = int(bool(image.info.get("default_image")))
        if image.format not in ANIMATED or count - hidden < 2:
            return None
        notes = [] if not hidden else ["the still picture for programs without animation is left out."]
        if image.format == "PNG" and png.depth_and_color(content)[0] == 16:
            notes.append("an animation is read with 8 bits.")
        # A GIF that does not say is shown once.
        loop = image.info.get("loop", 1 if image.format == "GIF" else 0)
        metadata, _, more = read_metadata(image, content)
        return Animation(
            name, image.format, image.size, count - hidden, int(loop or 0), metadata, content, (*notes, *more)
        )


def write_animation(
    path: str | PathLike,
    frames: Iterable[Frame],
    loop: int = 0,
    quality: int | None = None,
    overwrite: bool = True,
    clear: bool = True,
) -> tuple[str, ...]:
    """Write an animated GIF, WebP or PNG, by the name's ending; the file is complete or as it was before.

    At most three frames are in memory. Equal frames in a row become one that is shown longer.

    Args:
        path (str | PathLike): The file.
        frames (Iterable[Frame]): Pictures of one size, and their times.
        loop (int): How often it is shown, 0 for ever. Default: 0.
        quality (int | None): Of a WebP, as for ``write_picture``. Default: None.
        overwrite (bool): Whether an existing file is replaced. Default: True.
        clear (bool): Whether any frame is transparent anywhere; False leaves alpha out. Default: True.

    Returns:
        tuple[str, ...]: Sentences on what the format does not hold.

    Raises:
        ImageError: If the format holds no animation, there is no frame, or it cannot be written.
    """
    path = Path(path)
    name, target = printable(path), format_of(path)
    if target not in ANIMATED:
        raise ImageError(f"{name}: {FORMATS[target].name} holds no animation: write GIF, WebP or PNG.")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ImageError(f"{name}: an animation needs frames, got none.")
    problem = size_problem(path, *first.picture.size)
    if problem:
        raise ImageError(f"{name}: {problem}.")
    fit, notes = fitted(first.picture, target)
    fit = fit.with_metadata(sized(fit.metadata, *fit.size))
    if not clear:
        fit = fit.with_pixels(fit.color)
    seen = (Frame(_alike(fitted(each.picture, target)[0], fit), each.milliseconds) for each in chain([first], frames))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with made_whole(path, overwrite, ImageError) as file, _named(f"{name}: cannot be written as {target}"):
            movie = MOVIES[target](file, fit, loop, quality)
            _write_all(movie, seen)
    except OSError as error:
        raise ImageError(f"{name} was not written: {error.strerror or error}.") from error
    return (*notes, *(("GIF holds 256 colors per frame.",) if target == "GIF" else ()))


def _alike(picture: Picture, first: Picture) -> Picture:
    """Return a frame with alpha if the first one has it, without if not."""
    if (picture.alpha is None) == (first.alpha is None):
        return picture
    opaque = np.full(picture.color.shape[:2], largest(picture.color.dtype), picture.color.dtype)
    return picture.with_pixels(picture.color, None if first.alpha is None else opaque)


def _write_all(movie: Movie, frames: Iterable[Frame]) -> None:
    """Write frames; each waits for the next one, and takes over its time if they are equal."""
    before: Picture | None = None
    waiting: Frame | None = None
    for frame in frames:
        if waiting is None:
            waiting = frame
        elif changed_part(frame.picture, waiting.picture) is None:
            waiting = Frame(waiting.picture, waiting.milliseconds + frame.milliseconds)
        else:
            movie.add(*waiting, before, frame.picture)
            before, waiting = waiting.picture, frame
    if waiting is not None:
        movie.add(*waiting, before, None)
    movie.end()
