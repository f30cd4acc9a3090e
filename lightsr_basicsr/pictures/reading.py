"""Read a picture file: its pixels at their depth, upright, and everything else that it holds."""

from __future__ import annotations

import io
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from lightsr_basicsr.pictures import pixels, png, tiff
from lightsr_basicsr.pictures.colors import cmyk_to_rgb
from lightsr_basicsr.pictures.files import ImageError, ends_oddly, reason
from lightsr_basicsr.pictures.metadata import read_metadata, tiff_metadata
from lightsr_basicsr.pictures.picture import Metadata, Picture
from lightsr_basicsr.pictures.tags import HEIGHT, WIDTH, TagError, orientation_of, read_tags, upright

FORMATS = {"PNG": "PNG", "JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WEBP", "BMP": "BMP", "DIB": "BMP", "TIFF": "TIFF",
           "GIF": "GIF"}  # fmt: skip
READABLE = "PNG, JPEG, WebP, BMP, TIFF or GIF"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What Pillow calls the channels, and how a picture that holds them is described and converted.
OPAQUE = {"1": ("1-bit", "L"), "L": ("gray", "L"), "RGB": ("RGB", "RGB"), "RGBX": ("RGB", "RGB"),
          "YCbCr": ("RGB", "RGB"), "P": ("palette", "RGB")}  # fmt: skip
SEE_THROUGH = {"1": ("gray+alpha", "LA"), "L": ("gray+alpha", "LA"), "LA": ("gray+alpha", "LA"),
               "La": ("gray+alpha", "LA"), "RGB": ("RGBA", "RGBA"), "RGBA": ("RGBA", "RGBA"), "RGBa": ("RGBA", "RGBA"),
               "P": ("palette+transparency", "RGBA"), "PA": ("palette+transparency", "RGBA")}  # fmt: skip
# By Exif's number: whether rows and columns are exchanged, and which of them are then reversed.
TURNS = {2: (False, 1, -1), 3: (False, -1, -1), 4: (False, -1, 1), 5: (True, 1, 1), 6: (True, 1, -1), 7: (True, -1, -1),
         8: (True, -1, 1)}  # fmt: skip


def read_picture(path: str | PathLike, max_pixels: int | None = None) -> Picture:
    """Return the picture of a PNG, JPEG, WebP, BMP, TIFF or GIF file, the first one if it holds several.

    The content decides the format, not the name. Gray stays gray, 16 bits stay 16, floats stay floats; a palette is
    looked up, 1 bit becomes 8, CMYK becomes RGB by its profile, a camera's orientation is applied.

    Args:
        path (str | PathLike): The file; its name may be any bytes.
        max_pixels (int | None): How many pixels it may claim. Default: None, 500 million or what the environment
            variable ``OPENCV_IO_MAX_IMAGE_PIXELS`` says.

    Raises:
        ImageError: If the file is missing, cannot be read, is no picture, is cut short, damaged or too large, or holds
            a kind of pixels that none of the libraries reads.
    """
    path = Path(path)
    return from_bytes(read_content(path), printable(path), path.suffix, max_pixels)


def printable(path: Path) -> str:
    r"""Return a path for a message: bytes that are no UTF-8 as ``\xe9``."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_content(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        ImageError: If it is missing, a folder, empty, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{printable(path)}: cannot be read: {error.strerror or error}.") from error
    if not content:
        raise ImageError(f"{printable(path)}: empty file, expected a {READABLE} picture: copy or download it again.")
    return content


def from_bytes(content: bytes, name: str, suffix: str = "", max_pixels: int | None = None) -> Picture:
    """Return the picture that the bytes of a file hold; ``name`` begins messages, see :func:`read_picture`.

    Raises:
        ImageError: As :func:`read_picture`.
    """
    try:
        return _read_tiff(content, max_pixels) if content[:4] in TIFF_STARTS else _read(content, suffix, max_pixels)
    except (MemoryError, KeyboardInterrupt):
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: expected a {READABLE} picture, got {guess(content)}.") from error
    except ValueError as error:  # ours
        raise ImageError(f"{name}: {reason(error).rstrip('.')}.") from error
    except Exception as error:  # decoders raise any type for damaged files
        text = reason(error).rstrip(".") or type(error).__name__
        raise ImageError(f"{name}: cut short or damaged ({text}): copy or download it again.") from error


def guess(content: bytes) -> str:
    """Return what a file that is no picture and no film seems to be, by its first bytes, and what to do."""
    start = content[:256]
    if start.lstrip()[:1] == b"<":
        if b"<svg" in content[:4096]:
            return "an SVG drawing, which has no pixels: save it as PNG"
        return "a web page or other text: was it really downloaded?"
    if all(32 <= each < 127 or each in b"\t\r\n" for each in start):
        return "text: rename it, or leave it out"
    return "another or a damaged file: open and save it with another program"


def _open(content: bytes, max_pixels: int | None) -> Image.Image:
    image = pixels.open_header(io.BytesIO(content), len(content), max_pixels)
    if image.format not in FORMATS:
        raise ValueError(f"expected a {READABLE} picture, got {image.format}: save it as one of these")
    return image


def _read(content: bytes, suffix: str, max_pixels: int | None) -> Picture:
    """Return the picture of any file but a TIFF."""
    image = _open(content, max_pixels)
    notes = _several(image)
    deep = image.format == "PNG" and png.depth_and_color(content)[0] == 16
    if not deep or ends_oddly(io.BytesIO(content), len(content), suffix):
        image.load()
    sampling = JpegImagePlugin.get_sampling(image) if image.format == "JPEG" else -1
    if deep:
        found = png.read_deep(content, image.info.get("transparency"))
        if found[0] is None:
            raise ValueError("cut short or damaged: OpenCV cannot read it")
        mode = {0: "gray", 2: "RGB", 4: "gray+alpha", 6: "RGBA"}[png.depth_and_color(content)[1]]
        mode = {"gray": "gray+alpha", "RGB": "RGBA"}.get(mode, mode) if found[1] is not None else mode
        metadata, orientation, more = read_metadata(image, content)
    else:
        metadata, orientation, more = read_metadata(image, content)
        *found, mode, metadata = _shallow(image, metadata, more)
    color, alpha, metadata = turned(found[0], found[1], metadata, orientation)
    lossless = FORMATS[image.format] != "JPEG" and not (image.format == "WEBP" and is_lossy_webp(content))
    return Picture(color, alpha, mode, FORMATS[image.format], metadata, lossless, sampling if sampling >= 0 else None,
                   (*notes, *more))  # fmt: skip


def _several(image: Image.Image) -> list[str]:
    count = getattr(image, "n_frames", 1)
    return [f"the first of {count} pictures in the file; the others are left out."] if count > 1 else []


def _shallow(
    image: Image.Image, metadata: Metadata, notes: list[str]
) -> tuple[np.ndarray, np.ndarray | None, str, Metadata]:
    """Return color and alpha of a decoded image of up to 8 bits, the mode, and the metadata of the result."""
    see_through = "transparency" in image.info or image.mode not in OPAQUE
    if image.mode == "CMYK":
        image, icc, note = cmyk_to_rgb(image, metadata.icc)
        notes.append(note)
        color, mode, metadata = np.asarray(image), "CMYK", replace(metadata, icc=icc)
        return color, None, mode, metadata
    known = (SEE_THROUGH if see_through else OPAQUE).get(image.mode)
    if known is None:
        raise ValueError(f"holds {image.mode} pixels, expected gray, RGB or RGBA: save it as one of these")
    array = np.asarray(image if image.mode == known[1] else image.convert(known[1]))
    if array.ndim == 2:
        return array[:, :, None], None, known[0], metadata
    if not see_through:
        return array, None, known[0], metadata
    return np.ascontiguousarray(array[:, :, :-1]), np.ascontiguousarray(array[:, :, -1]), known[0], metadata


def _read_tiff(content: bytes, max_pixels: int | None) -> Picture:
    tags = read_tags(content)
    size = [int(tiff.numbers(tags, tag, [0])[0]) for tag in (WIDTH, HEIGHT)]
    if not all(size):
        raise TagError("damaged: its tags name no width and height")
    pixels.check_claim(*size, max_pixels)
    tiff.check_complete(tags, len(content))
    metadata, notes = tiff_metadata(tags), []
    if tiff.is_deep(tags):
        color, alpha = tiff.read_deep(content, tags)
        mode = ("gray" if color.shape[2] == 1 else "RGB") if alpha is None else "RGBA"
        notes += (
            ["the first of several pictures in the file; the others are left out."] if tiff.has_more(content) else []
        )
    else:
        image = _open(upright(content), max_pixels)  # Pillow would turn it, and not at every depth
        notes += _several(image)
        image.load()
        color, alpha, mode, metadata = _shallow(image, metadata, notes)
    color, alpha, metadata = turned(color, alpha, metadata, orientation_of(content))
    return Picture(color, alpha, mode, "TIFF", metadata, notes=tuple(notes))


def turned(
    color: np.ndarray, alpha: np.ndarray | None, metadata: Metadata, orientation: int
) -> tuple[np.ndarray, np.ndarray | None, Metadata]:
    """Return pixels and resolution as they are seen, by the number with which a camera marks how it was held."""
    if orientation not in TURNS:
        return color, alpha, metadata
    swapped, down, across = TURNS[orientation]

    def turn(plane: np.ndarray) -> np.ndarray:
        plane = plane.swapaxes(0, 1) if swapped else plane
        return np.ascontiguousarray(plane[::down, ::across])

    if swapped and metadata.dpi:
        metadata = replace(metadata, dpi=metadata.dpi[::-1])
    return turn(color), None if alpha is None else turn(alpha), metadata


def is_lossy_webp(content: bytes) -> bool:
    """Return whether a WebP holds any picture that was compressed with loss."""
    place, end = 12, len(content)
    while place + 8 <= end:
        name, length = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        if name == b"VP8 ":
            return True
        # A frame of an animation holds 16 bytes, and then chunks of its own.
        place += 24 if name == b"ANMF" else 8 + length + length % 2
    return False
