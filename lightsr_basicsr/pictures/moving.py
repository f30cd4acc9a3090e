"""Write animated GIF, WebP and PNG one frame after the other, each only where it differs from the one before.

Pillow's writers hold all frames. Here its encoders make each frame as a picture of its own, whose parts then become
those of an animation: GIF89a, the WebP container (RFC 9649) and PNG (third edition) say how.
"""

from __future__ import annotations

import io
import struct
from abc import ABC, abstractmethod
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from lightsr_basicsr.pictures import png
from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.pictures.writing import as_pillow, webp_settings

VISIBLE = 128  # alpha from which on a GIF, which has no other, shows a pixel
STAY, CLEAR = 1, 2  # what happens to a frame of a GIF before the next one
LONGEST = 65_535  # of a number of 16 bits


class Part(NamedTuple):
    """What of a frame is written: its left and upper edge, and the pixels from there on."""

    left: int
    top: int
    picture: Picture


def changed_part(picture: Picture, before: Picture | None, multiple: int = 1) -> Part | None:
    """Return the smallest rectangle that holds all differences to the frame before; None if there is none.

    Args:
        picture (Picture): A frame.
        before (Picture | None): The one before, of the same size; None for the first, which is written whole.
        multiple (int): Of which left and upper edge must be multiples. Default: 1.
    """
    if before is None:
        return Part(0, 0, picture)
    differs = (picture.color != before.color).any(axis=2)
    if picture.alpha is not None and before.alpha is not None:
        differs |= picture.alpha != before.alpha
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]) // multiple * multiple, int(columns[0]) // multiple * multiple
    area = slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1)
    alpha = None if picture.alpha is None else np.ascontiguousarray(picture.alpha[area])
    return Part(left, top, picture.with_pixels(np.ascontiguousarray(picture.color[area]), alpha))


class Movie(ABC):
    """An animation that is being written.

    Args:
        file (BinaryIO): Where to, from its start on.
        first (Picture): The first frame, with the metadata.
        loop (int): How often it is shown, 0 for ever.
        quality (int | None): Of a lossy WebP.
    """

    multiple = 1  # of the edges of a part

    def __init__(self, file: BinaryIO, first: Picture, loop: int, quality: int | None) -> None:
        self.file, self.first, self.loop, self.quality = file, first, loop, quality
        self.count = 0
        self.begin()

    def add(self, picture: Picture, milliseconds: float, before: Picture | None, after: Picture | None) -> None:
        """Write a frame, which differs from the one before; the neighbours are None at the ends."""
        part = changed_part(picture, before, self.multiple)
        self.write(part or Part(0, 0, picture), milliseconds)
        self.count += 1

    @abstractmethod
    def begin(self) -> None:
        """Write what stands before the frames."""

    @abstractmethod
    def write(self, part: Part, milliseconds: float) -> None:
        """Write a part of a frame, which replaces what was there."""

    @abstractmethod
    def end(self) -> None:
        """Write what stands behind the frames, and correct the beginning."""


class MovingPNG(Movie):
    """PNG: the first frame is the picture that programs without animation show."""

    def begin(self) -> None:
        """Write the header, with place for the number of frames."""
        self.number = 0  # of the next chunk of the animation
        self.header = png.encode(self.first.color[:1], None if self.first.alpha is None else self.first.alpha[:1], ())
        fields = bytearray(self.header[16:29])
        fields[:8] = struct.pack(">II", *self.first.size)
        self.file.write(png.SIGNATURE + png.chunk(b"IHDR", bytes(fields)))
        self.place = self.file.tell()
        self._say_count()
        for name, data in png.metadata_chunks(self.first.metadata):
            self.file.write(png.chunk(name, data))

    def write(self, part: Part, milliseconds: float) -> None:
        """Write a part of a frame."""
        time, unit = (round(milliseconds), 1000) if milliseconds <= LONGEST else (round(milliseconds / 1000), 1)
        place = (*part.picture.size, part.left, part.top, min(time, LONGEST), unit, 0, 0)
        self.file.write(png.chunk(b"fcTL", self._numbered(struct.pack(">IIIIHHBB", *place))))
        content = png.encode(part.picture.color, part.picture.alpha, ())
        for data in png.pixel_chunks(content):
            first = not self.count
            self.file.write(png.chunk(b"IDAT", data) if first else png.chunk(b"fdAT", self._numbered(data)))

    def end(self) -> None:
        """Write the end, and how many frames there are."""
        self.file.write(png.chunk(b"IEND", b""))
        self.file.seek(self.place)
        self._say_count()

    def _say_count(self) -> None:
        self.file.write(png.chunk(b"acTL", struct.pack(">II", self.count, self.loop)))

    def _numbered(self, data: bytes) -> bytes:
        self.number += 1
        return struct.pack(">I", self.number - 1) + data


class MovingWebP(Movie):
    """WebP: frames are whole pictures of that format without their envelope."""

    multiple = 2
    ALPHA, EXIF, XMP, ICC, MOVES = 16, 8, 4, 32, 2
    OVERWRITES = 2

    def begin(self) -> None:
        """Write the header, with place for the length."""
        self.settings = webp_settings(self.first, self.quality)
        self.flags = self.MOVES
        for name, flag in (("icc_profile", self.ICC), ("exif", self.EXIF), ("xmp", self.XMP)):
            self.flags |= flag if name in self.settings else 0
        self._say_length()
        if "icc_profile" in self.settings:
            self._chunk(b"ICCP", self.settings["icc_profile"])
        self._chunk(b"ANIM", struct.pack("<IH", 0, self.loop))

    def write(self, part: Part, milliseconds: float) -> None:
        """Write a part of a frame."""
        stream = io.BytesIO()
        settings = {name: self.settings[name] for name in ("lossless", "exact", "quality") if name in self.settings}
        as_pillow(part.picture).save(stream, "WEBP", **settings)
        self.flags |= self.ALPHA if part.picture.alpha is not None else 0
        width, height = part.picture.size
        numbers = (part.left // 2, part.top // 2, width - 1, height - 1, min(round(milliseconds), 2**24 - 1))
        head = b"".join(number.to_bytes(3, "little") for number in numbers) + bytes([self.OVERWRITES])
        self._chunk(b"ANMF", head + _webp_pixels(stream.getvalue()))

    def end(self) -> None:
        """Write metadata, and how long the file is."""
        for name, key in ((b"EXIF", "exif"), (b"XMP ", "xmp")):
            if key in self.settings:
                self._chunk(name, bytes(self.settings[key]))
        length = self.file.tell()
        self.file.seek(0)
        self._say_length(length)

    def _say_length(self, length: int = 0) -> None:
        self.file.write(b"RIFF" + struct.pack("<I", max(0, length - 8)) + b"WEBP")
        size = b"".join((side - 1).to_bytes(3, "little") for side in self.first.size)
        self._chunk(b"VP8X", bytes([self.flags, 0, 0, 0]) + size)

    def _chunk(self, name: bytes, data: bytes) -> None:
        self.file.write(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2))


def _webp_pixels(content: bytes) -> bytes:
    """Return the chunks of a picture that hold its pixels."""
    parts, place = [], 12
    while place + 8 <= len(content):
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        end = place + 8 + length + length % 2
        if content[place : place + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            parts.append(content[place:end])
        place = end
    return b"".join(parts)


class MovingGIF(Movie):
    """GIF: each frame has a palette of its own.

    A frame with holes is drawn on cleared ground, because the one before would show through.
    """

    def begin(self) -> None:
        """Write the header."""
        self.file.write(b"GIF89a" + struct.pack("<HHBBB", *self.first.size, 0x70, 0, 0))
        if self.loop != 1:
            self.file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", min(self.loop, LONGEST)) + b"\0")
        comment = self.first.metadata.comment
        if comment:
            blocks = [comment[start : start + 255] for start in range(0, len(comment), 255)]
            self.file.write(b"\x21\xfe" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0")

    def add(self, picture: Picture, milliseconds: float, before: Picture | None, after: Picture | None) -> None:
        """Write a frame; what the next one needs decides what happens to it."""
        alone = _has_holes(picture)
        last = after is None or not _has_holes(after)
        part = None if alone or not last else changed_part(picture, before)
        self._write(part or Part(0, 0, picture), milliseconds, STAY if last else CLEAR)
        self.count += 1

    def write(self, part: Part, milliseconds: float) -> None:
        """Write a part of a frame, which stays."""
        self._write(part, milliseconds, STAY)

    def end(self) -> None:
        """Write the end."""
        self.file.write(b"\x3b")

    def _write(self, part: Part, milliseconds: float, then: int) -> None:
        # Pillow takes the ground as transparent only if the first frame names a transparent color.
        stream, image = io.BytesIO(), paletted(part.picture, part.picture.alpha is not None)
        clear = image.info.pop("transparency", None)
        image.save(stream, "GIF", optimize=False, interlace=0)
        palette, bits, data = _gif_pixels(stream.getvalue())
        time = min(round(milliseconds / 10), LONGEST)
        flags = then << 2 | (clear is not None)
        control = struct.pack("<BHB", flags, time, clear or 0)
        place = struct.pack("<HHHHB", part.left, part.top, *part.picture.size, 0x80 | bits)
        self.file.write(b"\x21\xf9\x04" + control + b"\0\x2c" + place + palette + data)


def _has_holes(picture: Picture) -> bool:
    return picture.alpha is not None and bool((picture.alpha < VISIBLE).any())


def _gif_pixels(content: bytes) -> tuple[bytes, int, bytes]:
    """Return palette, size of the palette as the format writes it, and compressed pixels of a GIF of one picture."""
    bits = content[10] & 7
    place = 13 + 3 * 2 ** (bits + 1) * bool(content[10] & 0x80)
    palette = content[13:place]
    while content[place] == 0x21:  # an extension: blocks, of which an empty one is the last
        place += 2
        while content[place]:
            place += 1 + content[place]
        place += 1
    flags = content[place + 9]
    place += 10
    if flags & 0x80:
        bits = flags & 7
        palette = content[place : place + 3 * 2 ** (bits + 1)]
        place += len(palette)
    return palette, bits, content[place:-1]


def paletted(picture: Picture, clear: bool = False) -> Image.Image:
    """Return a picture with a palette; pixels that are seen half at most are transparent.

    Args:
        picture (Picture): RGB of 8 bits.
        clear (bool): Whether one of the colors is transparent in any case. Default: False.
    """
    image = Image.fromarray(np.ascontiguousarray(picture.color))
    hidden = np.zeros(picture.color.shape[:2], bool) if picture.alpha is None else picture.alpha < VISIBLE
    if not clear and not hidden.any():
        return image.quantize(256, dither=Image.Dither.NONE)
    image = image.quantize(255, dither=Image.Dither.NONE)
    indices = np.asarray(image).copy()
    indices[hidden] = 255
    result = Image.fromarray(indices, "P")
    result.putpalette((image.getpalette() or []) + [0] * (768 - len(image.getpalette() or [])))
    result.info["transparency"] = 255
    return result


MOVIES: dict[str, Any] = {"GIF": MovingGIF, "WEBP": MovingWebP, "PNG": MovingPNG}
