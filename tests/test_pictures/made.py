"""Small pictures in every kind of file, and readers that share no code with the package."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_ICC = SRGB[:16] + b"GRAY" + SRGB[20:]  # its header alone says so
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" dc:title="hut"/></x:xmpmeta>'
# Channels, whether transparent.
SHAPES = {"gray": (1, False), "gray+alpha": (1, True), "RGB": (3, False), "RGBA": (3, True)}


def pixels(kind: str, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    if kind == "float32":
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(kind).max, shape, dtype=kind, endpoint=True)


def exif(orientation: int = 6, width: int = 17, height: int = 13, order: str = "<") -> bytes:
    """Return an Exif block with maker, size, a maker's note and a thumbnail in a second directory."""

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        if kind == 3:
            return struct.pack(order + "HHIHH", tag, kind, count, value, 0)
        return struct.pack(order + "HHII", tag, kind, count, value)

    thumbnail = b"\xff\xd8" + b"thumb" * 10 + b"\xff\xd9"
    first, second, sub = 8, 8 + 2 + 3 * 12 + 4, 8 + 2 * (2 + 4) + 5 * 12
    end = sub + 2 + 3 * 12 + 4
    parts = [
        (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first),
        struct.pack(order + "H", 3) + entry(0x10F, 2, 8, end) + entry(0x112, 3, 1, orientation),
        entry(0x8769, 4, 1, sub) + struct.pack(order + "I", second),
        struct.pack(order + "H", 2) + entry(0x201, 4, 1, end + 18) + entry(0x202, 4, 1, len(thumbnail)) + bytes(4),
        struct.pack(order + "H", 3) + entry(0x927C, 7, 10, end + 8),
        entry(0xA002, 3, 1, width) + entry(0xA003, 3, 1, height) + bytes(4),
        b"Leitz M\0" + b"maker note" + thumbnail,
    ]
    return b"".join(parts)


def png_chunks(content: bytes) -> dict[bytes, bytes]:
    """Return the chunks of a PNG by name, with their check sums verified."""
    found, place = {}, 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        name, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        assert struct.unpack_from(">I", content, place + 8 + length)[0] == zlib.crc32(name + data)
        found[name] = data
        place += 12 + length
    return found


def encode(image: np.ndarray | Image.Image, kind: str, **settings) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **settings)
    return stream.getvalue()


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
