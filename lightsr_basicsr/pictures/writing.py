"""Write a picture whole or not at all, with everything that its file held and the format can hold."""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lightsr_basicsr.pictures import png, tiff
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.fitting import FORMATS, fitted, format_of, size_problem
from lightsr_basicsr.pictures.metadata import exif_with_dpi, jpeg_segments, sized
from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.pictures.tags import PREFIX, TagError
from lightsr_basicsr.whole import write_whole

QUALITY = 95
LONGEST_EXIF = 65_527  # bytes in one segment of a JPEG


def write_picture(
    path: str | PathLike, picture: Picture, quality: int | None = None, overwrite: bool = True
) -> tuple[str, ...]:
    """Write a picture in the format of the name's ending; the file is complete or as it was before.

    Bits, gray, transparency, color profile, Exif, XMP and resolution stay as far as the format holds them. Exif's tags
    of the size are set. A folder that is missing is made.

    Args:
        path (str | PathLike): The file.
        picture (Picture): What to write.
        quality (int | None): Of JPEG and WebP, 1 to 100. Default: None, 95, and WebP without loss if the picture's
            own file had none. A JPEG keeps its chroma's subsampling; others get none.
        overwrite (bool): Whether an existing file is replaced. Default: True.

    Returns:
        tuple[str, ...]: Sentences on what the format does not hold.

    Raises:
        ImageError: If the ending is unknown, the picture too large for the format, the file exists and may not be
            replaced, or it cannot be written.
    """
    path = Path(path)
    target = format_of(path)
    problem = size_problem(path, *picture.size)
    if problem:
        raise ImageError(f"{printable(path)}: {problem}.")
    content, notes = encoded(picture, target, quality, printable(path))
    publish(path, content, overwrite)
    return notes


def publish(path: Path, content: bytes, overwrite: bool = True) -> None:
    """Write ``content`` to ``path``, whole or not at all; a missing folder is made.

    Raises:
        ImageError: If it cannot be written, or exists and may not be replaced.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{printable(path)} was not written: {error.strerror or error}.") from error
    try:
        write_whole(path, content, overwrite, ImageError)
    except ImageError as error:
        raise ImageError(str(error).replace(str(path), printable(path))) from error


def encoded(
    picture: Picture, target: str, quality: int | None = None, name: str = "the picture"
) -> tuple[bytes, tuple[str, ...]]:
    """Return the bytes of a file of format ``target``, and sentences on what it does not hold.

    Raises:
        ImageError: If it cannot be encoded; ``name`` begins the message.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise ImageError(f"quality must be 1 to 100, got {quality}.")
    fit, notes = fitted(picture, target)
    fit = fit.with_metadata(sized(fit.metadata, *fit.size))
    try:
        content, more = WRITERS[target](fit, quality)
    except (OSError, ValueError, cv2.error, TagError) as error:
        reason = " ".join(str(error).split())
        raise ImageError(f"{name}: cannot be written as {FORMATS[target].name}: {reason}.") from error
    return content, (*notes, *more)


def as_pillow(picture: Picture) -> Image.Image:
    """Return a picture of 8 bits as an image of Pillow's, of mode L, LA, RGB or RGBA."""
    if picture.alpha is not None:
        return Image.fromarray(np.dstack([picture.color, picture.alpha]))
    return Image.fromarray(picture.color[:, :, 0] if picture.is_gray else np.ascontiguousarray(picture.color))


def _png(picture: Picture, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    return png.encode(picture.color, picture.alpha, png.metadata_chunks(picture.metadata)), ()


def _tiff(picture: Picture, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    return tiff.encode(picture.color, picture.alpha, picture.metadata), ()


def _jpeg(picture: Picture, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    metadata, stream = picture.metadata, io.BytesIO()
    extra, lost = jpeg_segments(metadata)
    settings = {"icc_profile": metadata.icc, "dpi": metadata.dpi, "comment": metadata.comment, "extra": extra}
    if metadata.exif and len(metadata.exif) > LONGEST_EXIF:
        lost.append("Exif tags")
    else:
        settings["exif"] = PREFIX + metadata.exif if metadata.exif else None
    if metadata.dpi:
        settings["dpi"] = tuple(min(round(each), 65_535) for each in metadata.dpi)
    as_pillow(picture).save(
        stream,
        "JPEG",
        quality=quality or QUALITY,
        subsampling=picture.subsampling or 0,
        **{name: value for name, value in settings.items() if value},
    )
    return stream.getvalue(), tuple(f"too long for a JPEG and left out: {name}." for name in lost)


def _webp(picture: Picture, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    stream = io.BytesIO()
    as_pillow(picture).save(stream, "WEBP", **webp_settings(picture, quality))
    return stream.getvalue(), ()


def webp_settings(picture: Picture, quality: int | None) -> dict:
    """Return the arguments with which Pillow writes a picture or an animation as WebP."""
    metadata = picture.metadata
    lossless = picture.lossless and quality is None
    own = {"icc_profile": metadata.icc, "exif": exif_with_dpi(metadata), "xmp": metadata.xmp}
    # Without `exact` colors under transparent pixels are changed, with which a lossless file would not be one.
    loss = {"lossless": True, "exact": True} if lossless else {"quality": quality or QUALITY}
    return {**loss, **{name: value for name, value in own.items() if value}}


def _bmp(picture: Picture, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    stream = io.BytesIO()
    as_pillow(picture).save(stream, "BMP", **({"dpi": picture.metadata.dpi} if picture.metadata.dpi else {}))
    return stream.getvalue(), ()


def _gif(picture: Picture, quality: int | None) -> tuple[bytes, tuple[str, ...]]:
    raise ValueError("a GIF has 256 colors: write PNG, or an animation")


WRITERS = {"PNG": _png, "JPEG": _jpeg, "WEBP": _webp, "BMP": _bmp, "TIFF": _tiff, "GIF": _gif}
