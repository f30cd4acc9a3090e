"""Find photographs in a tree of folders, and look at each: whether training can use it, and what it looks like."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lightsr_basicsr.errors import UserError, reason_of
from lightsr_basicsr.pictures.alpha import filled
from lightsr_basicsr.pictures.picture import Picture
from lightsr_basicsr.pictures.reading import printable, read_picture
from lightsr_basicsr.pictures.values import to_network

READ = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
# Photographs that no library of ours reads; they are named, so that nobody thinks that they are used.
UNREAD = (".heic", ".heif", ".avif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2")
SIDE = 16  # of the picture that stands for a photograph where it is compared with others
ALIKE = 20  # bits of SIDE * SIDE that may differ between photographs of one scene; of different ones about half do
PLAIN = 16  # bits that a photograph needs to be told from others


class NewError(UserError):
    """A project cannot be made; the message says what was expected, what was found, what to do."""


@dataclass(frozen=True)
class Photograph:
    """A file and what was seen of it.

    Attributes:
        name (str): Its path below the folder of photographs, with ``/``.
        stamp (str): Size and time of the file, by which a change of it is noticed.
        width, height (int): Upright, in pixels; 0 if it cannot be read.
        pixels (str): Hash of the pixels.
        look (str): What it looks like, in hexadecimal digits.
        problem (str): Why it cannot be used; '' if it can.
    """

    name: str
    stamp: str
    width: int = 0
    height: int = 0
    pixels: str = ""
    look: str = ""
    problem: str = ""

    @property
    def least_side(self) -> int:
        """The shorter side in pixels."""
        return min(self.width, self.height)

    def record(self) -> dict[str, Any]:
        """Return it as plain values, for a file."""
        return asdict(self)

    def without(self, problem: str) -> Photograph:
        """Return it as one that is left out."""
        return replace(self, problem=problem)

    def resembles(self, other: Photograph) -> bool:
        """Return whether both show nearly the same, as the pictures of a series do."""
        mine, others = (int(each.look or "0", 16) for each in (self, other))
        every = SIDE * SIDE
        told_apart = all(PLAIN <= bin(look).count("1") <= every - PLAIN for look in (mine, others))
        return told_apart and bin(mine ^ others).count("1") <= ALIKE


def find_photographs(folder: Path) -> tuple[list[Path], int]:
    """Return the files that are photographs by their names, below ``folder``, sorted, and how many others there are.

    Raises:
        NewError: If the folder is missing, is a file, cannot be read, or holds none.
    """
    if not folder.exists():
        raise NewError(f"Expected a folder of photographs, there is no {printable(folder)} (looked from {Path.cwd()}): "
                       "correct --data.")  # fmt: skip
    if not folder.is_dir():
        raise NewError(
            f"Expected a folder of photographs, got the file {printable(folder)}: name its folder in --data."
        )
    found, others = [], 0
    for path in _walk(folder):
        if path.suffix.lower() in (*READ, *UNREAD):
            found.append(path)
        else:
            others += 1
    if not found:
        raise NewError(
            f"Expected photographs ({', '.join(each[1:] for each in READ)}) in {printable(folder)}, got "
            f"{f'{others} other files' if others else 'an empty folder'}: put some in, or correct --data."
        )
    return found, others


def _walk(folder: Path) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        raise NewError(f"Expected a folder that can be read, got {error.filename} ({error.strerror}): allow reading.")

    for root, folders, files in os.walk(folder, onerror=failed):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def stamp_of(path: Path) -> str:
    """Return size and time of a file, '' if there is none."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}"


def look_at(path: Path, name: str) -> Photograph:
    """Return what there is to know about a photograph; an unreadable one has a ``problem``."""
    seen = Photograph(name, stamp_of(path))
    if path.suffix.lower() in UNREAD:
        kind = path.suffix[1:].upper()
        return seen.without(f"expected {', '.join(each[1:] for each in READ)}, got {kind}: save it as JPEG or PNG")
    try:
        image = read_rgb(path)
    except (UserError, OSError, MemoryError) as error:
        return seen.without(reason_of(error, "make it smaller", printable(path)))
    digest = hashlib.blake2b(f"{image.shape}".encode(), digest_size=8)
    digest.update(image)
    return replace(seen, width=image.shape[1], height=image.shape[0], pixels=digest.hexdigest(), look=_look(image))


def read_rgb(path: Path) -> np.ndarray:
    """Return a photograph as training takes it: upright, (H, W, 3) RGB uint8.

    Gray is repeated, 16 bits and floats are rounded, CMYK is converted by its profile; fully transparent pixels get the
    color of their neighbours.

    Raises:
        ImageError: If it cannot be read.
    """
    picture = filled(read_picture(path))
    return np.ascontiguousarray(_to_8_bits(picture))


def _to_8_bits(picture: Picture) -> np.ndarray:
    if picture.kind == "uint8":
        return picture.color if not picture.is_gray else picture.color.repeat(3, axis=2)
    values = to_network(picture)[0].transpose(1, 2, 0)
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _look(image: np.ndarray) -> str:
    """Return where brightness rises between 17x16 areas, which light and compression hardly change."""
    gray = cv2.cvtColor(cv2.resize(image, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    rises = gray[:, 1:].astype(int) > gray[:, :-1].astype(int) + 1
    return np.packbits(rises).tobytes().hex()


def in_threads(function: Callable, items: Sequence[Any], workers: int) -> Iterator[Any]:
    """Yield the results of ``function`` in the order of ``items``; drop what was not begun if the caller stops."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield from executor.map(function, items)
    finally:
        executor.shutdown(cancel_futures=True)


def without_doubles(photographs: Iterable[Photograph], held_out: Collection[str] = ()) -> list[Photograph]:
    """Return the photographs, of those with equal pixels all but one with a ``problem``: the first one ``held_out``."""
    every = list(photographs)
    first: dict[str, str] = {}
    for each in sorted(every, key=lambda each: each.name not in held_out):
        if not each.problem:
            first.setdefault(each.pixels, each.name)
    twins = {each.name: each.name if each.problem else first[each.pixels] for each in every}
    return [each if twins[each.name] == each.name else each.without(f"the same picture as {twins[each.name]}")
            for each in every]  # fmt: skip


def large_enough(photographs: Iterable[Photograph], patch: int) -> list[Photograph]:
    """Return the photographs, those smaller than ``patch`` pixels with a ``problem``.

    Raises:
        NewError: If that leaves fewer than two, or fewer than half.
    """
    every = list(photographs)
    small = [each for each in every if not each.problem and each.least_side < patch]
    fine = [each for each in every if not each.problem and each.least_side >= patch]
    if small and (len(fine) < 2 or len(fine) < len(small)):
        sides = sorted(each.least_side for each in small)
        raise NewError(
            f"Expected photographs of at least {patch}x{patch} pixels, the patch that training cuts out; {len(small)} "
            f"of {len(small) + len(fine)} are smaller (shorter sides from {sides[0]}): choose a smaller --patch, or "
            "other photographs."
        )
    text = f"expected sides of at least {patch}"
    return [each.without(f"{text}, got {each.width}x{each.height}") if each in small else each for each in every]
