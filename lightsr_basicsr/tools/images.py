"""Image files: list a folder, read by one rule, write completely or not at all.

The rule for reading is that of BasicSR's datasets: color, BGR. Gray becomes three equal channels, an alpha channel is
dropped, a palette is looked up, a camera's orientation tag is applied. Unlike in BasicSR, 16 bits stay 16.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from lightsr_basicsr.data.hr_images import is_image
from lightsr_basicsr.errors import UserError

# The last bytes of a complete file; a truncated copy has others.
ENDINGS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}
COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH  # OpenCV's flags of the rule above
PART = ".part"
CAPTION, GAP = 44, 8  # pixels above and beside a captioned image


class ImageError(UserError):
    """An image cannot be used; the message names the file and the reason."""


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in ``folder``, sorted by name, without hidden files."""
    return sorted(file for file in folder.iterdir() if is_image(file) and file.is_file())


def existing_folder(folder: Path | str, advice: str = "") -> Path:
    """Return ``folder`` as a path, ``~`` expanded.

    Raises:
        ImageError: If it is missing; ``advice`` ends the message, for example which argument names another.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ImageError(f"folder {folder} does not exist (working directory: {Path.cwd()}){advice}.")
    return path


def folder_images(folder: Path | str, advice: str = "") -> list[Path]:
    """Return the images of a folder, sorted by name; arguments as for :func:`existing_folder`.

    Raises:
        ImageError: If the folder is missing or holds no image.
    """
    path = existing_folder(folder, advice)
    images = list_images(path)
    if not images:
        raise ImageError(f"{folder} holds no images (png, bmp, jpg, tif, webp){nested_hint(path)}{advice}.")
    return images


def nested_hint(folder: Path) -> str:
    """Return the end of a message on an empty folder: its first sub-folder with images, if any."""
    nested = [each.name for each in sorted(folder.iterdir()) if each.is_dir() and list_images(each)]
    return f"; its sub-folder {nested[0]} does" if nested else ""


def spread(items: list, most: int) -> list:
    """Return at most ``most`` of ``items``, evenly spread, including the first and the last.

    >>> spread([0, 1, 2, 3, 4], 3)
    [0, 2, 4]
    """
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def measure(file: Path, decode: bool = False) -> tuple[int, int]:
    """Return width and height of an image file from its header, after a look at its end.

    With ``decode``, or if the end is unusual, all of it is decoded.

    Raises:
        OSError, ValueError, SyntaxError: If the file is not a complete image; :func:`reason` words them.
    """
    size = file.stat().st_size
    if not size:
        raise ValueError("empty file")
    ending = ENDINGS.get(file.suffix.lower())
    with file.open("rb") as stream:
        stream.seek(-min(size, 64), os.SEEK_END)
        # Phones append video clips to a JPEG, so an unusual end is a reason to decode, not yet an error.
        suspicious = ending is not None and ending not in stream.read()
        stream.seek(0)
        try:
            with Image.open(stream) as image:
                if decode or suspicious:
                    image.load()
                    # BasicSR reads with OpenCV, which is stricter with PNG and laxer with JPEG than Pillow.
                    if decoded_size(file.read_bytes()) is None:
                        raise ValueError("cut short: OpenCV cannot read it")
                return image.size
        except (UnidentifiedImageError, Image.DecompressionBombError) as error:
            # OpenCV reads some images that Pillow does not: 16-bit color TIFF, more than 179 million pixels.
            known = decoded_size(file.read_bytes())
            if known is None:
                raise ValueError(reason(error)) from error
            return known


def decoded_size(content: bytes | None) -> tuple[int, int] | None:
    """Return width and height of an encoded image by decoding it with OpenCV; None if it cannot be decoded."""
    image = pixels(content, cv2.IMREAD_UNCHANGED) if content else None
    return None if image is None else image.shape[1::-1]


def pixels(content: bytes, flags: int) -> np.ndarray | None:
    """Return an encoded image, decoded by OpenCV's ``flags``; None if it cannot be decoded."""
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # the header announces more pixels than OpenCV allows
        return None


def reason(error: Exception) -> str:
    """Return in one line why :func:`measure` failed."""
    return "no image that Pillow knows" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())


def read_image(file: Path) -> np.ndarray:
    """Return an image (H, W, 3), BGR, uint8 or uint16, by the rule above.

    Raises:
        ImageError: If the file is broken, not an image, or of another depth than 8 or 16 bit.
    """
    return decode(file, COLOR)[1]


def decode(file: Path, flags: int) -> tuple[bytes, np.ndarray]:
    """Return the bytes of an image file and its pixels, (H, W) or (H, W, C), uint8 or uint16, by OpenCV's ``flags``.

    Raises:
        ImageError: If the file is broken, not an image, or of another depth than 8 or 16 bit.
    """
    try:
        measure(file)
        content = file.read_bytes()
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except (OSError, ValueError, SyntaxError, cv2.error) as error:
        raise ImageError(f"{file}: {reason(error)}") from error
    if image is None:
        raise ImageError(f"{file}: OpenCV cannot read it")
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"{file}: holds {image.dtype} numbers, expected 8 or 16 bits per channel")
    return content, image


def to_8_bit(image: np.ndarray) -> np.ndarray:
    """Return ``image`` with 8 bits per channel, rounded.

    >>> to_8_bit(np.uint16([0, 257, 65535])).tolist()
    [0, 1, 255]
    """
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def write_png(file: Path, image: np.ndarray) -> None:
    """Write ``image`` as PNG so that ``file`` is complete or missing, even if the process is killed."""
    with whole_file(file) as part:
        part.write_bytes(cv2.imencode(".png", image)[1].tobytes())


@contextmanager
def whole_file(file: Path) -> Iterator[Path]:
    """Yield the path to write to; it becomes ``file`` if the block succeeds, and is removed if not."""
    part = file.with_name(f".{file.name}{PART}")
    try:
        yield part
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first of ``names`` for a message, and the number of the rest.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def remove_parts(folders: Iterable[Path]) -> None:
    """Remove partial files that an interrupted run left in ``folders``."""
    for folder in folders:
        for part in folder.glob(f".*{PART}"):
            if not part.is_dir():  # a partial LMDB
                part.unlink(missing_ok=True)


def captioned(image: np.ndarray, lines: tuple[str, str], side: int) -> np.ndarray:
    """Return ``image`` (H, W, 3), cut to a square of ``side`` pixels, on white under two lines of text."""
    sheet = np.full((side + CAPTION + GAP, side + GAP, 3), 255, np.uint8)
    part = image[:side, :side]
    sheet[CAPTION : CAPTION + part.shape[0], : part.shape[1]] = part
    for row, line in enumerate(lines):
        cv2.putText(sheet, line, (2, 17 + 20 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return sheet
