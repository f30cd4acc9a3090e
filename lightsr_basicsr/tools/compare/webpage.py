"""The page of a comparison: one HTML file with all pictures in it, which needs no network."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple

from lightsr_basicsr import __version__
from lightsr_basicsr.pages.building import assemble
from lightsr_basicsr.pages.images import text_bytes
from lightsr_basicsr.tools.compare.crops import Chosen, Crop, choose_crop
from lightsr_basicsr.tools.compare.encode import (
    ERROR_GAIN,
    LEVELS,
    Level,
    errors,
    estimated,
    large,
    small,
)
from lightsr_basicsr.tools.compare.results import Compared, Comparison, Images
from lightsr_basicsr.tools.images import spread

PAGE, MADE_BY = "index.html", "basicsr compare"
MEGABYTE = 1_000_000
SAMPLES = 5  # pictures that the size of the page is estimated from
ROOM, FULL = 0.94, 0.99  # of the page: for pictures by the estimate, and in the end
SCRIPTS = ("data", "tables", "viewer", "crops", "gallery", "main")
Progress = Callable[[str, float, int, str], Any]


class Page(NamedTuple):
    """The file, the part of each picture to zoom into, and what is to be told of it, '' for nothing."""

    content: bytes
    chosen: list[tuple[Compared, Chosen]]
    note: str


class _Encoded(NamedTuple):
    """A picture in the page: its part to zoom into, width and height, and its images by name."""

    chosen: Chosen
    size: tuple[int, int]
    images: dict[str, bytes]

    @property
    def bytes(self) -> int:
        """The length of its images as text."""
        return sum(map(text_bytes, self.images.values()))


def build_page(
    found: Comparison,
    crop: Crop | None = None,
    megabytes: float = 50,
    progress: Progress = lambda stage, done, total, name: None,
) -> Page:
    """Return the page, at most ``megabytes`` large if pictures of a quarter of their size and low quality allow that.

    Args:
        found (Comparison): At least one picture.
        crop (Crop | None): The part of each picture to zoom into. Default: None, where the methods differ most.
        megabytes (float): As above. Default: 50.
        progress (Callable): As for :func:`~lightsr_basicsr.tools.compare.run.compare`.

    Raises:
        ImageError: If a file is no longer there.
    """
    budget = megabytes * MEGABYTE
    fixed = _encode(found, crop, lambda images, chosen: small(images, chosen.crop, found.scale), progress, 0)
    taken = sum(each.bytes for each in fixed)
    place = _first_fitting(found, fixed, budget * ROOM - taken)
    while True:
        level = LEVELS[place]
        rest = _encode(found, crop, lambda images, _, level=level: large(images, level) | errors(images, level),
                       progress, 1)  # fmt: skip
        if taken + sum(each.bytes for each in rest) <= budget * FULL or place == len(LEVELS) - 1:
            break
        place += 1
    pictures = [one._replace(images=one.images | other.images) for one, other in zip(fixed, rest, strict=True)]
    content = _assembled(found, pictures, level)
    chosen = [(picture, one.chosen) for picture, one in zip(found.pictures, fixed, strict=True)]
    return Page(content, chosen, _note(level, len(content) > budget, megabytes))


def _note(level: Level, exceeds: bool, megabytes: float) -> str:
    if exceeds:
        return f"the page is larger than {megabytes:g} MB, although its pictures are small: compare fewer at a time."
    if level.quality is None:
        return ""
    size = "" if level.shrink == 1 else f" and {level.shrink:.0%} of their size"
    return (
        f"whole pictures in the page have WebP quality {level.quality}{size}, so that it stays below {megabytes:g} MB "
        "(--page-size); the parts zoomed into, the error maps and all numbers are of the exact ones."
    )


def _encode(
    found: Comparison,
    crop: Crop | None,
    make: Callable[[Images, Chosen], dict[str, bytes]],
    progress: Progress,
    half: int,
) -> list[_Encoded]:
    """Return all pictures, encoded by ``make``; half 0 or 1 of the work."""

    def encoded(picture: Compared) -> _Encoded:
        images = found.images(picture)
        chosen = choose_crop(found, images, crop)
        height, width = images.made[0].shape[:2]
        return _Encoded(chosen, (width, height), make(images, chosen))

    made, total = [], len(found.pictures)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        try:
            for number, one in enumerate(threads.map(encoded, found.pictures), 1):
                made.append(one)
                progress("page", (half * total + number) / 2, total, found.pictures[number - 1].item.name)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return made


def _first_fitting(found: Comparison, fixed: list[_Encoded], room: float) -> int:
    """Return the first of ``LEVELS`` with which the pictures seem to fit into ``room`` bytes."""
    pixels = sum(one.size[0] * one.size[1] for one in fixed)
    pairs = spread(list(zip(found.pictures, fixed, strict=True)), SAMPLES)
    samples = [(found.images(picture), one.chosen.crop) for picture, one in pairs]
    first, last = 0, len(LEVELS) - 1
    while first < last:
        middle = (first + last) // 2
        if estimated(samples, found.scale, LEVELS[middle], pixels) <= room:
            last = middle
        else:
            first = middle + 1
    return first


def _assembled(found: Comparison, pictures: list[_Encoded], level: Level) -> bytes:
    images = {f"{number}-{name}": one for number, each in enumerate(pictures) for name, one in each.images.items()}
    content = _described(found, pictures, level)
    return assemble(__package__, SCRIPTS, _title(found), content, images, MADE_BY)


def _title(found: Comparison) -> str:
    return f"{', '.join(found.titles[:4])}{' and more' if len(found.titles) > 4 else ''} at x{found.scale}"


def _described(found: Comparison, pictures: list[_Encoded], level: Level) -> dict[str, Any]:
    """Return all that the scripts of the page show, but the images."""
    exact = level.quality is None
    return {
        "title": _title(found),
        "scale": found.scale,
        "protocol": found.protocol.text,
        "machine": found.machine,
        "date": datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "version": __version__,
        "exact": exact,
        "note": "" if exact else _note(level, False, 0).partition(", so")[0] + "; enlarged parts and numbers are exact",
        "errorGain": ERROR_GAIN,
        "hasHigh": any(each.item.high is not None for each in found.pictures),
        "costs": [{"title": each.title, "unit": each.unit, "digits": each.digits} for each in found.costs],
        "methods": [
            {"title": each.title, "source": each.source, "costs": [cost.value(each.costs) for cost in found.costs]}
            for each in found.methods
        ],
        "metrics": [each._asdict() for each in found.metrics],
        "sets": [{"title": title, "means": found.means[title]} for title in found.sets],
        "pictures": [
            {
                "set": picture.item.set, "name": picture.item.name, "size": one.size, "crop": one.chosen.crop,
                "spread": one.chosen.spread, "scores": picture.scores,
            }
            for picture, one in zip(found.pictures, pictures, strict=True)
        ],
        "failed": [{"name": each.path.name, "reason": each.reason} for each in found.failed],
    }  # fmt: skip
