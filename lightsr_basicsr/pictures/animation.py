"""Animated GIF, WebP and PNG: frame by frame, with durations and repetitions."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lightsr_basicsr.pictures import pixels, png
from lightsr_basicsr.pictures.files import ImageError, reason
from lightsr_basicsr.pictures.fitting import FORMATS, fitted, format_of, size_problem
from lightsr_basicsr.pictures.metadata import read_metadata, sized
from lightsr_basicsr.pictures.picture import Metadata, Picture
from lightsr_basicsr.pictures.reading import is_lossy_webp, printable, read_content
from lightsr_basicsr.pictures.writing import as_pillow, publish, webp_settings

ANIMATED = ("GIF", "WEBP", "PNG")
VISIBLE = 128  # alpha from which on a GIF, which has no other, shows a pixel
DISPOSE = 2  # GIF: clear before the next frame; without it frames with holes show the one before


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
    path: str | PathLike, frames: Iterable[Frame], loop: int = 0, quality: int | None = None, overwrite: bool = True
) -> tuple[str, ...]:
    """Write an animated GIF, WebP or PNG, by the name's ending; the file is complete or as it was before.

    All frames are held in memory. Equal frames in a row may become one that is shown longer.

    Args:
        path (str | PathLike): The file.
        frames (Iterable[Frame]): Pictures of one size, and their times.
        loop (int): How often it is shown, 0 for ever. Default: 0.
        quality (int | None): Of a WebP, as for ``write_picture``. Default: None.
        overwrite (bool): Whether an existing file is replaced. Default: True.

    Returns:
        tuple[str, ...]: Sentences on what the format does not hold.

    Raises:
        ImageError: If the format holds no animation, there is no frame, or it cannot be written.
    """
    path = Path(path)
    name, target = printable(path), format_of(path)
    if target not in ANIMATED:
        raise ImageError(f"{name}: {FORMATS[target].name} holds no animation: write GIF, WebP or PNG.")
    frames = list(frames)
    if not frames:
        raise ImageError(f"{name}: an animation needs frames, got none.")
    problem = size_problem(path, *frames[0].picture.size)
    if problem:
        raise ImageError(f"{name}: {problem}.")
    _, notes = fitted(frames[0].picture, target)
    pictures = [fitted(frame.picture, target)[0] for frame in frames]
    content, more = _encoded(pictures, [frame.milliseconds for frame in frames], loop, target, quality, name)
    publish(path, content, overwrite)
    return (*notes, *more)


def _encoded(
    pictures: list[Picture], times: list[float], loop: int, target: str, quality: int | None, name: str
) -> tuple[bytes, tuple[str, ...]]:
    clear = any(picture.alpha is not None and (picture.alpha < 255).any() for picture in pictures)
    first = pictures[0].with_metadata(sized(pictures[0].metadata, *pictures[0].size))
    settings, more = {"loop": loop}, ()
    if target == "GIF":
        images, more = [_paletted(picture) for picture in pictures], ("GIF holds 256 colors per frame.",)
        settings = {} if loop == 1 else settings
        settings |= {"disposal": DISPOSE} if clear else {}
        settings |= {"comment": first.metadata.comment} if first.metadata.comment else {}
    else:
        images = [as_pillow(each if clear else each.with_pixels(each.color)) for each in pictures]
        settings |= webp_settings(first, quality) if target == "WEBP" else {}
    stream = io.BytesIO()
    durations = [round(time) for time in times]
    with _named(f"{name}: cannot be written as {FORMATS[target].name}"):
        images[0].save(stream, target, save_all=True, append_images=images[1:], duration=durations, **settings)
    chunks = png.metadata_chunks(first.metadata) if target == "PNG" else []
    return (png.with_chunks(stream.getvalue(), chunks) if chunks else stream.getvalue()), more


def _paletted(picture: Picture) -> Image.Image:
    """Return a picture with a palette; pixels that are seen half at most are transparent."""
    image = Image.fromarray(np.ascontiguousarray(picture.color))
    hidden = None if picture.alpha is None else picture.alpha < VISIBLE
    if hidden is None or not hidden.any():
        return image.quantize(256, dither=Image.Dither.NONE)
    image = image.quantize(255, dither=Image.Dither.NONE)
    indices = np.asarray(image).copy()
    indices[hidden] = 255
    result = Image.fromarray(indices, "P")
    result.putpalette((image.getpalette() or []) + [0] * (768 - len(image.getpalette() or [])))
    result.info["transparency"] = 255
    return result
