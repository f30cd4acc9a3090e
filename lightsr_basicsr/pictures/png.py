"""PNG: its chunks, and pixels of 8 and 16 bits with any channels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from PIL import Image

from lightsr_basicsr.pictures.picture import Metadata
from lightsr_basicsr.pictures.tags import PREFIX

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, GRAY_ALPHA, RGBA = 0, 2, 4, 6  # types of color in the header
TEXT = (b"tEXt", b"zTXt", b"iTXt")
COLORS = (b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI")
XMP_NAME = b"XML:com.adobe.xmp"
LARGE = 2**28  # bytes of pixels from which on a PNG is made in strips: the libraries would hold them three times
STRIP = 2**23  # bytes of a strip
UP = 2  # the filter that stores differences to the row above
RAW_PROFILE = b"Raw profile type "  # where ImageMagick keeps Exif and the like as text


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each complete chunk, leaving out the pixels."""
    place = len(SIGNATURE)
    while place + 12 <= len(content):
        (length,), name = struct.unpack_from(">I", content, place), content[place + 4 : place + 8]
        if place + 12 + length > len(content):
            return
        if name not in (b"IDAT", b"fdAT"):
            yield name, content[place + 8 : place + 8 + length]
        place += 12 + length


def pixel_chunks(content: bytes) -> Iterator[bytes]:
    """Yield the content of each chunk of pixels of a picture without animation."""
    place = len(SIGNATURE)
    while place + 12 <= len(content):
        (length,), name = struct.unpack_from(">I", content, place), content[place + 4 : place + 8]
        if name == b"IDAT":
            yield content[place + 8 : place + 8 + length]
        place += 12 + length


def depth_and_color(content: bytes) -> tuple[int, int]:
    """Return bits per channel and type of color of a PNG."""
    return content[24], content[25]


def kept_chunks(content: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the chunks on colors, text and time, without XMP and without Exif as text, which name an orientation."""
    own = (XMP_NAME, RAW_PROFILE + b"exif", RAW_PROFILE + b"APP1", RAW_PROFILE + b"xmp", RAW_PROFILE + b"icc")
    found = []
    for name, data in chunks(content):
        if name in COLORS or name == b"tIME" or (name in TEXT and not data.startswith(own)):
            found.append((name, data))
    return tuple(found)


def read_deep(content: bytes, transparent: int | tuple | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return color (H, W, 1 or 3) and alpha (H, W) or None of a PNG of 16 bits, uint16; None, None if it is broken.

    Args:
        content (bytes): The file.
        transparent (int | tuple | None): The gray or RGB value that is transparent, if any.
    """
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        return None, None
    color_type = depth_and_color(content)[1]
    if image.ndim == 2:
        image = image[:, :, None]
    wanted = 1 if color_type in (GRAY, GRAY_ALPHA) else 3
    color = np.ascontiguousarray(image[:, :, 0:1] if wanted == 1 else image[:, :, 2::-1])
    if color_type in (GRAY_ALPHA, RGBA):
        return color, np.ascontiguousarray(image[:, :, 3])
    if transparent is None:
        return color, None
    clear = (color == np.asarray(transparent, np.uint16)).all(axis=2)
    return color, np.where(clear, 0, 65535).astype(np.uint16)


def encode(color: np.ndarray, alpha: np.ndarray | None, inserted: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG.

    Args:
        color (np.ndarray): (H, W, 1 or 3), RGB, uint8 or uint16.
        alpha (np.ndarray | None): (H, W) of the same type.
        inserted (Iterable): Name and content of further chunks.
    """
    if color.nbytes + (0 if alpha is None else alpha.nbytes) >= LARGE:
        content = _in_strips(color, alpha)
    elif color.shape[2] == 1 and alpha is not None:
        content = _gray_alpha(color[:, :, 0], alpha)
    else:
        image = color[:, :, ::-1] if alpha is None else np.dstack([color[:, :, ::-1], alpha])
        content = cv2.imencode(".png", np.ascontiguousarray(image))[1].tobytes()
    return with_chunks(content, inserted)


def with_chunks(content: bytes, inserted: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG with further chunks after its header; arguments as of :func:`encode`."""
    end = len(SIGNATURE) + 25  # of the header, which is the first chunk
    added = [chunk(name, data) for name, data in inserted]
    return b"".join([content[:end], *added, memoryview(content)[end:]]) if added else content


def _gray_alpha(gray: np.ndarray, alpha: np.ndarray) -> bytes:
    stream = io.BytesIO()
    pair = np.dstack([gray, alpha])
    if gray.dtype == np.uint8:
        Image.fromarray(pair).save(stream, "PNG")
        return stream.getvalue()
    # Neither library writes it. Two channels of 16 bits and four of 8 are the same bytes, and filtered alike.
    Image.fromarray(pair.astype(">u2").view(np.uint8)).save(stream, "PNG")
    content = stream.getvalue()
    header = bytearray(content[16:29])
    header[8:10] = 16, GRAY_ALPHA
    return SIGNATURE + chunk(b"IHDR", bytes(header)) + content[33:]


def _in_strips(color: np.ndarray, alpha: np.ndarray | None) -> bytes:
    """Return the PNG of a large picture, with no further copy of its pixels."""
    height, width, channels = color.shape
    kind = {(1, False): GRAY, (3, False): RGB, (1, True): GRAY_ALPHA, (3, True): RGBA}[channels, alpha is not None]
    header = struct.pack(">IIBBBBB", width, height, 8 * color.itemsize, kind, 0, 0, 0)
    parts, packer = [SIGNATURE, chunk(b"IHDR", header)], zlib.compressobj(3)
    rows = max(1, STRIP // (color[0].nbytes + (0 if alpha is None else alpha[0].nbytes)))
    above: np.ndarray | None = None
    for top in range(0, height, rows):
        strip = color[top : top + rows]
        if alpha is not None:
            strip = np.dstack([strip, alpha[top : top + rows]])
        strip = strip.astype(strip.dtype.newbyteorder(">"), copy=False)
        found = np.ascontiguousarray(strip).reshape(len(strip), -1).view(np.uint8)
        filtered = np.empty((len(found), found.shape[1] + 1), np.uint8)
        filtered[:, 0], filtered[0, 1:] = UP, found[0] if above is None else found[0] - above
        np.subtract(found[1:], found[:-1], out=filtered[1:, 1:])
        above = found[-1].copy()
        parts.append(chunk(b"IDAT", packer.compress(filtered)))
    return b"".join([*parts, chunk(b"IDAT", packer.flush()), chunk(b"IEND", b"")])


def chunk(name: bytes, data: bytes) -> bytes:
    """Return a chunk, with length and checksum."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def metadata_chunks(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Return the chunks that hold a picture's metadata."""
    found = list(metadata.chunks)
    if metadata.icc:
        # By the standard a profile overrides sRGB, which may not stand beside it.
        found = [each for each in found if each[0] != b"sRGB"]
        found.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    if metadata.dpi:
        across, down = (round(each / 0.0254) for each in metadata.dpi)
        found.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if metadata.exif:
        found.append((b"eXIf", metadata.exif.removeprefix(PREFIX)))
    if metadata.xmp:
        found.append((b"iTXt", XMP_NAME + b"\0\0\0\0\0" + metadata.xmp))
    if metadata.comment:
        found.append((b"tEXt", b"Comment\0" + metadata.comment.replace(b"\0", b"")))
    return found
