"""Pictures in a page: how they are encoded, so that all of them together are as large as is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lightsr_basicsr.pages.images import resized, text_bytes, webp
from lightsr_basicsr.tools.compare.crops import Crop
from lightsr_basicsr.tools.compare.results import Images, luma

THUMB = 240  # longer side of a small picture, in pixels
ERROR_GAIN = 4  # of differences of Y, so that 64 levels are white
THUMB_QUALITY, ERROR_QUALITY = 78, 70


class Level(NamedTuple):
    """How large pictures are encoded: their size over that of HR, and WebP's quality; None is lossless."""

    shrink: float
    quality: int | None


LEVELS = (
    Level(1, None), Level(1, 95), Level(1, 90), Level(1, 84), Level(1, 76), Level(1, 66), Level(0.71, 78),
    Level(0.71, 66), Level(0.5, 76), Level(0.5, 60), Level(0.35, 66), Level(0.25, 60), Level(0.15, 50),
)  # fmt: skip


def large(images: Images, level: Level) -> dict[str, bytes]:
    """Return the whole images of a picture by name: ``lq``, ``gt`` if there is one, and ``m0``, ``m1`` and so on."""
    named = {"gt": images.high} if images.high is not None else {}
    named |= {f"m{number}": image for number, image in enumerate(images.made)}
    found = {name: webp(resized(image, level.shrink), level.quality) for name, image in named.items()}
    return {"lq": webp(images.low, level.quality), **found}


def small(images: Images, crop: Crop, scale: int) -> dict[str, bytes]:
    """Return, by name, the part to zoom into of each image, exactly (``c-lq``, ``c-gt``, ``c-m0``), and ``t``."""
    shown = images.made[-1] if images.high is None else images.high
    thumb = resized(shown, min(1.0, THUMB / max(shown.shape[:2])))
    found = {"t": webp(thumb, THUMB_QUALITY), "c-lq": webp(crop.of_low(images.low, scale))}
    if images.high is not None:
        found["c-gt"] = webp(crop.of(images.high))
    return found | {f"c-m{number}": webp(crop.of(image)) for number, image in enumerate(images.made)}


def errors(images: Images, level: Level) -> dict[str, bytes]:
    """Return maps of the difference of Y to HR, times ``ERROR_GAIN``, of each method (``e0``, ``e1``); none without HR.

    They are made of the images themselves, since pictures in the page may have lost more than a method did.
    """
    if images.high is None:
        return {}
    high = luma(images.high)
    factor = 1.0 if level.quality is None else min(0.5, level.shrink)
    found = {}
    for number, image in enumerate(images.made):
        difference = np.clip(np.abs(luma(image) - high) * ERROR_GAIN, 0, 255).round().astype(np.uint8)
        found[f"e{number}"] = webp(resized(difference, factor), ERROR_QUALITY)
    return found


def estimated(samples: Sequence[tuple[Images, Crop]], scale: int, level: Level, pixels: int) -> float:
    """Return about how many bytes of text all images take, from a few of them.

    Args:
        samples (Sequence): Images, and their parts to zoom into.
        scale (int): Of the methods.
        level (Level): How they are encoded.
        pixels (int): HR pixels of all pictures, each counted once.
    """
    taken = seen = 0
    for images, _ in samples:
        one = Images(images.low, images.high, images.made[-1:])  # of several methods, one stands for all
        whole = {name: text_bytes(content) for name, content in (large(one, level) | errors(one, level)).items()}
        taken += sum(size * (len(images.made) if name in ("m0", "e0") else 1) for name, size in whole.items())
        seen += images.made[0].shape[0] * images.made[0].shape[1]
    return taken / seen * pixels
