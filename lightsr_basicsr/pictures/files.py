"""Files of images: which names are, what a complete one ends with, and the error that names one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from PIL import UnidentifiedImageError

from lightsr_basicsr.errors import UserError

SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
# The last bytes of a complete file; a truncated copy has others.
ENDINGS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}
ORIENTATION = 0x112  # Exif tag of a camera


class ImageError(UserError):
    """An image cannot be used; the message names the file and the reason."""


def is_image(file: Path) -> bool:
    """Return whether the name of ``file`` is that of an image; hidden files are not.

    Examples:
        >>> [is_image(Path(name)) for name in ("0001.PNG", "notes.txt", ".0001.png")]
        [True, False, False]
    """
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def is_text(name: str) -> bool:
    r"""Return whether a file name is UTF-8; Python keeps other bytes as half characters, which OpenCV cannot take.

    >>> is_text("café.png"), is_text("caf\udce9.png")
    (True, False)
    """
    return not any("\ud800" <= each <= "\udfff" for each in name)


def ends_oddly(stream: BinaryIO, size: int, suffix: str) -> bool:
    """Return whether a file of ``size`` bytes, at least one, ends unlike a complete file with this suffix.

    Phones append video clips to a JPEG, so it is a reason to decode all of it, not yet an error.
    """
    ending = ENDINGS.get(suffix.lower())
    stream.seek(-min(size, 64), os.SEEK_END)
    odd = ending is not None and ending not in stream.read()
    stream.seek(0)
    return odd


def reason(error: Exception) -> str:
    """Return in one line why an image could not be opened or decoded."""
    return "no image that Pillow knows" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
