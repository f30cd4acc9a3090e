"""TIFF: pixels of 16 bits and floats, which Pillow cannot read in color, and files with all tags."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
from PIL import Image

from lightsr_basicsr.pictures.picture import Metadata
from lightsr_basicsr.pictures.tags import (
    RATIONAL,
    SHORT,
    UNDEFINED,
    Directory,
    Field,
    Layout,
    TagError,
    read_tags,
    upright,
    write_tags,
)

BITS, PHOTOMETRIC, OFFSETS, SAMPLES, COUNTS = 258, 262, 273, 277, 279
ACROSS, DOWN, PLANES, UNIT, TILE_OFFSETS, TILE_COUNTS, EXTRA, FORMAT = 282, 283, 284, 296, 324, 325, 338, 339
XMP, IPTC, PHOTOSHOP, ICC, LAYERS = 700, 33723, 34377, 34675, 37724
# How pixels are stored, and what has a place of its own in `Metadata`; the rest describes the picture.
STRUCTURE = {*range(254, 267), *range(273, 285), *range(290, 294), 296, 301, 317, *range(320, 348),
             *range(512, 533), XMP, IPTC, PHOTOSHOP, ICC, LAYERS}  # fmt: skip
WHITE_IS_ZERO, BLACK_IS_ZERO, IN_RGB = 0, 1, 2
NAMES = {3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
PREMULTIPLIED, LZW = 1, 5


def numbers(tags: Directory, tag: int, default: list[float]) -> list[float]:
    """Return the numbers of a tag, ``default`` if it is missing."""
    field = tags.get(tag)
    return (field.numbers if isinstance(field, Field) else []) or default


def is_deep(tags: Directory) -> bool:
    """Return whether the channels of a TIFF have more than 8 bits."""
    return max(numbers(tags, BITS, [1])) > 8


def has_more(content: bytes) -> bool:
    """Return whether a TIFF holds more than one picture."""
    layout = Layout(content)
    return bool(layout.following(layout.first))


def check_complete(tags: Directory, length: int) -> None:
    """Raise ValueError if a TIFF of ``length`` bytes is too short for its pixels, which decoders fill with black."""
    for places, counts in ((OFFSETS, COUNTS), (TILE_OFFSETS, TILE_COUNTS)):
        pairs = zip(numbers(tags, places, []), numbers(tags, counts, []), strict=False)
        if any(place + count > length for place, count in pairs):
            raise ValueError("cut short: the pixels end behind the file")


def read_deep(content: bytes, tags: Directory) -> tuple[np.ndarray, np.ndarray | None]:
    """Return color (H, W, 1 or 3), uint16 or float32, and alpha (H, W) or None of a TIFF, not turned.

    Raises:
        ValueError: If it is broken or holds other numbers or channels.
    """
    samples, photometric = int(numbers(tags, SAMPLES, [1])[0]), int(numbers(tags, PHOTOMETRIC, [1])[0])
    bits, form = int(max(numbers(tags, BITS, [1]))), int(numbers(tags, FORMAT, [1])[0])
    wanted = "expected gray, RGB or RGBA of 8 or 16 bits or 32-bit floats: save it as one of these"
    if photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, IN_RGB) or (samples > 1) != (photometric == IN_RGB):
        kind = NAMES.get(photometric, f"{samples} channels of photometric type {photometric}")
        raise ValueError(f"holds {kind} with {bits} bits, {wanted}")
    if (bits, form) not in ((16, 1), (32, 3), (64, 3)) or samples not in (1, 3, 4):
        raise ValueError(f"holds {samples} x {bits} bits of {'float' if form == 3 else 'whole'} numbers, {wanted}")
    if samples > 1 and numbers(tags, PLANES, [1])[0] != 1:
        raise ValueError("holds its channels one after the other, which is not read with 16 bits: save it interleaved")
    image = cv2.imdecode(np.frombuffer(upright(content), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype.itemsize * 8 != bits:
        raise ValueError("cut short or damaged: OpenCV cannot read it")
    image = (image[:, :, None] if image.ndim == 2 else image).astype(np.float32 if form == 3 else np.uint16, copy=False)
    if image.dtype == np.float32 and not np.isfinite(image).all():
        raise ValueError("holds NaN or infinite numbers, expected finite ones: replace them")
    return _split(image, photometric, int(numbers(tags, EXTRA, [2])[0]))


def _split(image: np.ndarray, photometric: int, extra: int) -> tuple[np.ndarray, np.ndarray | None]:
    if image.shape[2] == 1:
        if photometric == WHITE_IS_ZERO:
            image = (65535 if image.dtype == np.uint16 else np.float32(1)) - image
        return image, None
    color = np.ascontiguousarray(image[:, :, 2::-1])
    if image.shape[2] == 3 or extra == 0:  # a fourth channel of no known meaning
        return color, None
    alpha = np.ascontiguousarray(image[:, :, 3])
    if extra == PREMULTIPLIED:
        top = 65535.0 if image.dtype == np.uint16 else 1.0
        whole = color * (top / np.maximum(alpha, 1e-6 if top == 1 else 1))[:, :, None]
        color = (np.rint(np.minimum(whole, top)) if top > 1 else whole).astype(image.dtype)
    return color, alpha


def described(tags: Directory) -> Directory:
    """Return the tags that describe a picture: without those on how its pixels are stored."""
    return {tag: field for tag, field in tags.items() if tag not in STRUCTURE}


def dpi(tags: Directory) -> tuple[float, float] | None:
    """Return pixels per inch across and down; None if they are missing or have no unit."""
    across, down, unit = (numbers(tags, tag, [])[:1] for tag in (ACROSS, DOWN, UNIT))
    per = {2: 1.0, 3: 2.54}.get(int((unit or [2])[0]))
    if not per or not across or not down or across[0] <= 0 or down[0] <= 0:
        return None
    return across[0] * per, down[0] * per


def dpi_tags(found: tuple[float, float]) -> Directory:
    """Return the tags that store pixels per inch."""
    values = [struct.pack("<II", *_fraction(each)) for each in found]
    rational = {tag: Field(RATIONAL, each) for tag, each in zip((ACROSS, DOWN), values, strict=True)}
    return {**rational, UNIT: Field(SHORT, struct.pack("<H", 2))}


def _fraction(number: float) -> tuple[int, int]:
    return (round(number), 1) if float(number).is_integer() else (round(number * 10_000), 10_000)


def encode(color: np.ndarray, alpha: np.ndarray | None, metadata: Metadata) -> bytes:
    """Return a TIFF with LZW compression.

    Args:
        color (np.ndarray): (H, W, 1 or 3), RGB, uint8, uint16 or float32; gray with ``alpha`` is uint8.
        alpha (np.ndarray | None): (H, W) of the same type.
        metadata (Metadata): What to store beside.

    Raises:
        TagError: If it becomes larger than 4 GB.
    """
    if color.shape[2] == 1 and alpha is not None:
        stream = io.BytesIO()
        Image.fromarray(np.dstack([color[:, :, 0], alpha])).save(stream, "TIFF", compression="tiff_lzw")
        content = stream.getvalue()
    else:
        image = color[:, :, ::-1] if alpha is None else np.dstack([color[:, :, ::-1], alpha])
        settings = [cv2.IMWRITE_TIFF_COMPRESSION, LZW]
        content = cv2.imencode(".tiff", np.ascontiguousarray(image), settings)[1].tobytes()
    added = _metadata_tags(metadata)
    if alpha is not None:
        added[EXTRA] = Field(SHORT, struct.pack("<H", 2))
    return _with_tags(content, added)


def _metadata_tags(metadata: Metadata) -> Directory:
    tags = described(read_tags(metadata.exif)) if metadata.exif else {}
    if metadata.dpi:
        tags |= dpi_tags(metadata.dpi)
    for tag, data in ((ICC, metadata.icc), (XMP, metadata.xmp), (PHOTOSHOP, metadata.iptc)):
        if data:
            tags[tag] = Field(1 if tag != ICC else UNDEFINED, data)
    return tags


def _with_tags(content: bytes, added: Directory) -> bytes:
    """Return a TIFF as encoders write it, classic and little endian, with further tags; the pixels stay in place."""
    layout = Layout(content)
    tags = {entry.tag: layout.field(entry) for entry in layout.entries(layout.first)}
    if layout.big or layout.order != "<" or len(content) >= 2**32:
        raise TagError("a TIFF holds at most 4 GB")
    content += b"\0" * (len(content) % 2)
    tail = write_tags({**tags, **added}, len(content))
    return b"".join([content[:4], struct.pack("<I", len(content)), content[8:], tail])
