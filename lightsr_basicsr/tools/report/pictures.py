"""Pictures of validations over the iterations: which are shown, and encoded so that all of them fit into a page."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.pages.images import resized, text_bytes, webp
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.images import read_image, some, spread, to_8_bit

NAMED = re.compile(r"(.+)_(\d+)\.(?:png|jpe?g|webp)", re.IGNORECASE)
ITERATIONS = 16  # of a picture and run
SAMPLES = 4  # pictures that the level is estimated from


class Level(NamedTuple):
    """How pictures are encoded: the longer side at most, in pixels, and WebP's quality."""

    side: int
    quality: int


LEVELS = (Level(768, 90), Level(640, 84), Level(512, 78), Level(384, 72), Level(256, 66), Level(160, 60))


class Shown(NamedTuple):
    """A picture of a run at an iteration: its name, the number of the run, its file."""

    name: str
    run: int
    iteration: int
    file: Path


class Gallery(NamedTuple):
    """The pictures of a page: what each one shows by id, their bytes by id, and what is to be told of them."""

    shown: dict[str, Shown]
    images: dict[str, bytes]
    notes: list[str]


def find_pictures(folders: Sequence[Path], most: int) -> tuple[list[Shown], list[str]]:
    """Return the pictures of at most ``most`` names over the iterations, and what is left out.

    Names that most of the runs have come first, so that runs can be compared.

    Args:
        folders (Sequence): Of the runs.
        most (int): How many names.
    """
    found: dict[str, dict[int, dict[int, Path]]] = {}
    for number, folder in enumerate(folders):
        for file in sorted((folder / "visualization").rglob("*")):
            if match := NAMED.fullmatch(file.name):
                name = _name(file.relative_to(folder / "visualization").parent, match[1])
                found.setdefault(name, {}).setdefault(number, {})[int(match[2])] = file
    names = spread(sorted(found, key=lambda name: (-len(found[name]), name)), most) if most else []
    shown = [
        Shown(name, number, iteration, files[iteration])
        for name in names
        for number, files in found[name].items()
        for iteration in spread(sorted(files), ITERATIONS)
    ]
    notes = []
    if len(found) > len(names):
        notes.append(f"{len(names)} of {len(found)} validation pictures are shown (--pictures).")
    if most and any(len(files) > ITERATIONS for name in names for files in found[name].values()):
        notes.append(f"Of each validation picture, {ITERATIONS} iterations are shown, evenly spread.")
    return shown, notes


def _name(folder: Path, stem: str) -> str:
    """Return the name of a picture, with the folders that say more than it does.

    >>> _name(Path("baby"), "baby"), _name(Path("kernels/Set5"), "baby")
    ('baby', 'kernels/Set5/baby')
    """
    parts = folder.parts[:-1] if folder.parts[-1:] == (stem,) else folder.parts
    return printable(Path(*parts, stem))


def encode_pictures(pictures: Sequence[Shown], megabytes: float) -> Gallery:
    """Return pictures for a page, at most ``megabytes`` large, all by one level; broken ones are told and left out."""
    budget = megabytes * 1e6
    failed: dict[Path, str] = {}
    level = _first_fitting(pictures, budget, failed)
    while (found := _all_encoded(pictures, level, budget, failed)) is None:
        level = LEVELS[LEVELS.index(level) + 1]
    images = {f"p{number}": content for number, content in enumerate(found) if content is not None}
    shown = {f"p{number}": each for number, each in enumerate(pictures) if f"p{number}" in images}
    notes = [f"{len(failed)} pictures cannot be read: {some(sorted(failed.values()), 3)}."] if failed else []
    if pictures and level != LEVELS[0]:
        quality = f"at most {level.side} pixels and WebP quality {level.quality}"
        notes.append(f"Validation pictures have {quality} (--page-size).")
    return Gallery(shown, images, notes)


def _first_fitting(pictures: Sequence[Shown], budget: float, failed: dict[Path, str]) -> Level:
    """Return the first level with which all pictures seem to fit, by a few of them."""
    few = spread(list(pictures), SAMPLES)
    for level in LEVELS:
        sizes = [text_bytes(content) for each in few if (content := _encoded_or_none(each.file, level, failed))]
        if not sizes or sum(sizes) / len(sizes) * len(pictures) <= budget:
            return level
    return LEVELS[-1]


def _all_encoded(
    pictures: Sequence[Shown], level: Level, budget: float, failed: dict[Path, str]
) -> list[bytes | None] | None:
    """Return all pictures, None for broken ones; None in place of the list if they do not fit, unless no level does."""
    found, taken = [], 0
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        try:
            for content in threads.map(lambda each: _encoded_or_none(each.file, level, failed), pictures):
                found.append(content)
                taken += text_bytes(content or b"")
                if taken > budget and level != LEVELS[-1]:
                    threads.shutdown(cancel_futures=True)
                    return None
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return found


def _encoded_or_none(file: Path, level: Level, failed: dict[Path, str]) -> bytes | None:
    if file in failed:
        return None
    try:
        return _encoded(file, file.stat().st_mtime_ns, level)
    except (UserError, OSError) as error:
        text = str(error).rstrip(".").removeprefix(f"{file}: ")
        failed[file] = f"{file.name} ({text})"
        return None


@lru_cache(maxsize=4096)
def _encoded(file: Path, changed: int, level: Level) -> bytes:
    image = to_8_bit(read_image(file))
    return webp(resized(image, min(1.0, level.side / max(image.shape[:2]))), level.quality)
