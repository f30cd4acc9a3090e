"""Tags as TIFF and Exif store them: read, changed in place, or written anew; values keep their types.

An Exif block is a TIFF file without pixels. Where it stays an Exif block it is changed in place, since the notes of a
camera's maker hold positions in it that nobody else can correct.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT, ORIENTATION = 0x100, 0x101, 0x112
EXIF, GPS, INTEROP = 0x8769, 0x8825, 0xA005
PIXEL_WIDTH, PIXEL_HEIGHT = 0xA002, 0xA003  # in Exif's directory
THUMBNAIL, THUMBNAIL_BYTES = 0x201, 0x202  # in the second directory
SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
# Bytes of a value by its type, and those that are swapped together.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
WORDS = {**SIZES, 5: 4, 10: 4}
PREFIX = b"Exif\0\0"


class TagError(ValueError):
    """The tags of an image cannot be read; the message says why."""


class Field(NamedTuple):
    """The value of a tag: its type's number, and its bytes, little endian."""

    kind: int
    data: bytes

    @property
    def numbers(self) -> list[float]:
        """The value as numbers; rationals are divided, 0 where the denominator is 0; text and unknown bytes give []."""
        code = {1: "u1", 3: "<u2", 4: "<u4", 5: "<u4", 6: "i1", 8: "<i2", 9: "<i4", 10: "<i4", 11: "<f4", 12: "<f8",
                13: "<u4", 16: "<u8", 17: "<i8", 18: "<u8"}.get(self.kind)  # fmt: skip
        if code is None:
            return []
        values = np.frombuffer(self.data, code).tolist()
        if self.kind not in (5, 10):
            return values
        return [above / below if below else 0.0 for above, below in zip(values[::2], values[1::2], strict=True)]


Directory = dict[int, "Field | Directory"]  # pointers to further directories are replaced by these


class Entry(NamedTuple):
    """Where an entry of a directory lies, its tag and type, and where its value lies and how long it is."""

    place: int
    tag: int
    kind: int
    value: int
    length: int


class Layout:
    """How a TIFF structure is laid out: byte order, 4 or 8 bytes per position, the first directory's position.

    Args:
        content (bytes | bytearray): All of it.

    Raises:
        TagError: If it does not begin as a TIFF.
    """

    def __init__(self, content: bytes | bytearray) -> None:
        self.content = content
        self.order = {b"II": "<", b"MM": ">"}.get(bytes(content[:2]), "")
        version = self._unpack("H", 2)[0] if self.order else 0
        if version not in (42, 43):
            raise TagError("the tags do not begin as those of a TIFF")
        self.big = version == 43
        self.position = "Q" if self.big else "I"
        self.first = self._unpack(self.position, 8 if self.big else 4)[0]

    def _unpack(self, codes: str, place: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self.order + codes, self.content, place)
        except struct.error as error:
            raise TagError("the tags end early") from error

    def entries(self, place: int) -> Iterator[Entry]:
        """Yield the readable entries of the directory at ``place``.

        Raises:
            TagError: If the directory lies outside.
        """
        start, step, inline = (place + 8, 20, 8) if self.big else (place + 2, 12, 4)
        for index in range(self._unpack("Q" if self.big else "H", place)[0]):
            at = start + index * step
            tag, kind, count = self._unpack("HH" + self.position, at)
            length = SIZES.get(kind, 0) * count
            value = at + step - inline
            if length > inline:
                value = self._unpack(self.position, value)[0]
            if length and value + length <= len(self.content):
                yield Entry(at, tag, kind, value, length)

    def next_place(self, place: int) -> int:
        """Return where the position of the directory after the one at ``place`` is stored."""
        count = self._unpack("Q" if self.big else "H", place)[0]
        return place + (8 + 20 * count if self.big else 2 + 12 * count)

    def following(self, place: int) -> int:
        """Return the position of the directory after the one at ``place``, 0 if it is the last."""
        return self._unpack(self.position, self.next_place(place))[0]

    def field(self, entry: Entry) -> Field:
        """Return the value of an entry."""
        data = bytes(self.content[entry.value : entry.value + entry.length])
        word = WORDS[entry.kind]
        if self.order == ">" and word > 1:
            data = np.frombuffer(data, f">u{word}").astype(f"<u{word}").tobytes()
        return Field(entry.kind, data)


def read_tags(content: bytes) -> Directory:
    """Return the tags of the first directory of a TIFF file or Exif block; those of Exif and GPS as directories.

    Raises:
        TagError: If they cannot be read.
    """
    layout = Layout(content)
    return _read(layout, layout.first, {EXIF, GPS})


def _read(layout: Layout, place: int, pointers: set[int]) -> Directory:
    found: Directory = {}
    for entry in layout.entries(place):
        field = layout.field(entry)
        if entry.tag in (EXIF, GPS, INTEROP):
            if entry.tag in pointers and (numbers := field.numbers):
                found[entry.tag] = _read(layout, int(numbers[0]), {INTEROP} if entry.tag == EXIF else set())
        else:
            found[entry.tag] = field
    return found


def write_tags(directory: Directory, at: int) -> bytes:
    """Return a directory with all its values, little endian, for position ``at`` of a file, which is even.

    Raises:
        TagError: If the file becomes larger than 4 GB, which a TIFF cannot hold.
    """
    entries, behind = b"", b""
    start = at + 2 + 12 * len(directory) + 4
    for tag, value in sorted(directory.items()):
        place = start + len(behind)
        if isinstance(value, dict):
            kind, count, data, inline = LONG, 1, write_tags(value, place), False
        else:
            kind, count, data = value.kind, len(value.data) // SIZES[value.kind], value.data
            inline = len(data) <= 4
        if place + len(data) >= 2**32:
            raise TagError("a TIFF holds at most 4 GB")
        entries += struct.pack("<HHI", tag, kind, count) + (
            data.ljust(4, b"\0") if inline else struct.pack("<I", place)
        )
        behind += b"" if inline else data + b"\0" * (len(data) % 2)
    return struct.pack("<H", len(directory)) + entries + bytes(4) + behind


def as_block(directory: Directory) -> bytes:
    """Return a directory as an Exif block, without the six bytes that JPEG puts in front."""
    return b"II*\0" + struct.pack("<I", 8) + write_tags(directory, 8)


def orientation_of(block: bytes) -> int:
    """Return how a camera was held, 1 (upright) to 8, by the tag of an Exif block or TIFF; 1 if there is none."""
    field = read_tags(block).get(ORIENTATION)
    found = int(field.numbers[0]) if isinstance(field, Field) and field.numbers else 1
    return found if found in range(1, 9) else 1


def upright(block: bytes) -> bytes:
    """Return an Exif block or TIFF with orientation 1.

    Raises:
        TagError: If it cannot be read.
    """
    layout = Layout(bytearray(block))
    _set(layout, layout.first, {ORIENTATION: 1})
    return bytes(layout.content)


def without_thumbnail(block: bytes) -> bytes:
    """Return an Exif block without the small picture of its second directory.

    Raises:
        TagError: If it cannot be read.
    """
    layout = Layout(bytearray(block))
    second = layout.following(layout.first)
    if not second:
        return block
    known = {entry.tag: layout.field(entry).numbers for entry in layout.entries(second)}
    end = layout.next_place(layout.first)
    layout.content[end : end + struct.calcsize(layout.position)] = bytes(struct.calcsize(layout.position))
    if known.get(THUMBNAIL) and known.get(THUMBNAIL_BYTES):
        start, length = int(known[THUMBNAIL][0]), int(known[THUMBNAIL_BYTES][0])
        if start + length >= len(layout.content):
            del layout.content[start:]
        else:
            layout.content[start : start + length] = bytes(length)
    return bytes(layout.content)


def resized(block: bytes, width: int, height: int) -> bytes:
    """Return an Exif block whose tags of the picture's size, as far as it has them, say ``width`` and ``height``.

    Raises:
        TagError: If it cannot be read.
    """
    layout = Layout(bytearray(block))
    _set(layout, layout.first, {WIDTH: width, HEIGHT: height})
    for entry in list(layout.entries(layout.first)):
        if entry.tag == EXIF:
            _set(layout, int(layout.field(entry).numbers[0]), {PIXEL_WIDTH: width, PIXEL_HEIGHT: height})
    return bytes(layout.content)


def _set(layout: Layout, place: int, values: dict[int, int]) -> None:
    """Replace numbers in a directory, in place."""
    for entry in list(layout.entries(place)):
        if entry.tag in values:
            kind = SHORT if values[entry.tag] < 2**16 and entry.kind == SHORT else LONG
            head = struct.pack(layout.order + "HH" + layout.position, entry.tag, kind, 1)
            value = struct.pack(layout.order + ("H" if kind == SHORT else "I"), values[entry.tag])
            new = head + value.ljust(8 if layout.big else 4, b"\0")
            layout.content[entry.place : entry.place + len(new)] = new
