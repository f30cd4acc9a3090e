"""Image files: list a folder, read by one rule, write completely or not at all.

The rule for reading is that of BasicSR's datasets: color, BGR. Gray becomes three equal channels, an alpha channel is
dropped, a palette is looked up, a camera's orientation tag is applied. Unlike in BasicSR, 16 bits stay 16.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os.path import expanduser
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from lightsr_basicsr.pictures import pixels
from lightsr_basicsr.pictures.files import ORIENTATION, ImageError, ends_oddly, is_image, reason

COLOR = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH  # OpenCV's flags of the rule above
PART = ".part"
CAPTION, GAP = 44, 8  # pixels above and beside a captioned image


def list_images(folder: Path) -> list[Path]:
    """Return the image files directly in ``folder``, sorted by name, without hidden files."""
    return sorted(file for file in folder.iterdir() if is_image(file) and file.is_file())


def existing_folder(folder: Path | str, advice: str = "") -> Path:
    """Return ``folder`` as a path, ``~`` expanded.

    Raises:
        ImageError: If it is missing; ``advice`` ends the message, for example which argument names another.
    """
    path = Path(expanduser(folder))
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


def partners(lows: Sequence[Path], highs: Sequence[Path]) -> dict[Path, Path | None]:
    """Return the HR image of each LR image, by name: ``0801.png`` or ``0801x4.png``; None where there is none.

    >>> partners([Path("LR/0801x4.png"), Path("LR/b.png")], [Path("HR/0801.png")])[Path("LR/0801x4.png")].name
    '0801.png'
    """
    by_name = {file.stem: file for file in highs}
    return {low: by_name.get(low.stem, by_name.get(re.sub(r"x\d+$", "", low.stem))) for low in lows}


def fitted_high(low: np.ndarray, high: np.ndarray, scale: float) -> np.ndarray | None:
    """Return an HR image cropped to ``scale`` times the size of LR; None unless it is that large.

    As in BasicSR's data sets, up to ``scale`` - 1 rows and columns too many are cut off.
    """
    wanted = [round(side * scale) for side in low.shape[:2]]
    if not all(want <= have < want + scale for want, have in zip(wanted, high.shape[:2], strict=True)):
        return None
    return high[: wanted[0], : wanted[1]]


def largest_sum(values: np.ndarray, height: int, width: int) -> tuple[int, int]:
    """Return top and left of the part of (H, W) numbers, ``height`` by ``width`` or all of it, whose sum is largest.

    >>> largest_sum(np.eye(4, dtype=np.float32)[::-1] * [0, 0, 1, 1], 2, 2)
    (0, 2)
    """
    sums = cv2.boxFilter(
        values.astype(np.float32), -1, (width, height), anchor=(0, 0), normalize=True, borderType=cv2.BORDER_CONSTANT
    )
    inside = sums[: max(values.shape[0] - height, 0) + 1, : max(values.shape[1] - width, 0) + 1]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return int(top), int(left)


def spread(items: list, most: int) -> list:
    """Return at most ``most`` of ``items``, evenly spread, including the first and the last.

    >>> spread([0, 1, 2, 3, 4], 3)
    [0, 2, 4]
    """
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def measure(file: Path, decode: bool = False) -> tuple[int, int]:
    """Return width and height of an image file as data sets read it; errors as of :func:`examine`."""
    return examine(file, decode)[0]


def examine(file: Path, decode: bool = False) -> tuple[tuple[int, int], np.ndarray | None]:
    """Return width and height of an image file as it is read, from its header, after a look at its end; and None.

    With ``decode``, or if the end is unusual, all of it is decoded, and the second is the image as stored, (H, W) or
    (H, W, C). If a camera's orientation tag turns it, it is decoded too.

    Raises:
        OSError, ValueError, SyntaxError: If the file is not a complete image; :func:`reason` words them.
    """
    size = file.stat().st_size
    if not size:
        raise ValueError("empty file")
    with file.open("rb") as stream:
        suspicious = ends_oddly(stream, size, file.suffix)
        try:
            with pixels.open_header(stream, size) as image:
                whole, turned = decode or suspicious, _lies_on_its_side(image)  # decoding a TIFF discards the tag
                if not (whole or turned):
                    return image.size, None
                if whole:
                    image.load()
                content = file.read_bytes()
                # BasicSR reads with OpenCV, which is stricter with PNG and laxer with JPEG than Pillow.
                stored = as_stored(content) if whole else None
                # In a PNG the tag may follow the pixels.
                turned = turned or _lies_on_its_side(image)
                known = size_as_read(content) if turned or stored is None else stored.shape[1::-1]
                if known is None:
                    raise ValueError("cut short: OpenCV cannot read it")
                return known, stored
        except UnidentifiedImageError as error:
            # OpenCV reads some images that Pillow does not: 16-bit color TIFF.
            content = file.read_bytes()
            if (stored := as_stored(content)) is None or (known := size_as_read(content)) is None:
                raise ValueError(reason(error)) from error
            return known, stored


def size_as_read(content: bytes) -> tuple[int, int] | None:
    """Return width and height of an encoded image as data sets read it; None if it cannot be decoded."""
    image = pixels.decode(content, COLOR)
    return None if image is None else image.shape[1::-1]


def _lies_on_its_side(image: Image.Image) -> bool:
    """Return whether by the camera's tag an image just opened is turned by 90 degrees when it is read."""
    # Without the tag in a PNG's header, getexif would decode the pixels to look behind them.
    if image.format != "TIFF" and "exif" not in image.info:
        return False
    try:
        return image.getexif().get(ORIENTATION, 1) > 4
    except Exception:  # Pillow's reader of tags raises any type; an unreadable tag has no effect
        return False


def as_stored(content: bytes | None) -> np.ndarray | None:
    """Return an encoded image as it is stored, (H, W) or (H, W, C); None if OpenCV cannot decode it."""
    return pixels.decode(content, cv2.IMREAD_UNCHANGED) if content else None


def lost_in_reading(image: np.ndarray) -> list[str]:
    """Return which properties of a stored image are lost where it is read as RGB of 8 bits.

    >>> lost_in_reading(np.zeros((2, 2), np.uint16))
    ['16 bits', 'gray']
    """
    alpha = image.ndim == 3 and image.shape[2] in (2, 4)
    found = {"16 bits": image.dtype == np.uint16, "alpha": alpha, "gray": image.ndim == 2}
    return [name for name, present in found.items() if present]


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
        image = pixels.decode(content, flags)
    except (OSError, ValueError, SyntaxError) as error:
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
