"""Which photographs are held out for validation and testing: decided by their names."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from lightsr_basicsr.tools.new.photographs import Photograph

SHARE = 0.1


def lot(name: str) -> float:
    """Return a number from 0 to 1 that depends on the name of a file alone, without folder and ending.

    >>> lot("a/Sea.jpg") == lot("b/sea.png") != lot("sky.png")
    True
    """
    stem = unicodedata.normalize("NFC", PurePosixPath(name).stem).casefold()
    digest = hashlib.sha256(stem.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def held_out(photographs: Sequence[Photograph], before: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Return the names of the photographs that are not trained on, and those of them that only resemble others.

    About a tenth is drawn by name, at least one. What was held out ``before`` stays so, whatever is added. What
    resembles one of them (a series) is held out too, as long as half remains to train on.

    Args:
        photographs (Sequence[Photograph]): Those that can be used, at least two.
        before (Collection[str]): Names that were held out earlier.
    """
    ranked = sorted(photographs, key=lambda each: (lot(each.name), each.name))
    most = len(ranked) // 2
    kept = [each for each in ranked if each.name in before]
    drawn = [each for each in ranked if each not in kept and lot(each.name) < SHARE]
    chosen = [*kept, *drawn[: max(most - len(kept), 0)]] or ranked[:1]
    rest = [each for each in ranked if each not in chosen]
    alike = [each for each in rest if any(each.resembles(other) for other in chosen)]
    alike = alike if len(chosen) + len(alike) <= most else []
    return [each.name for each in (*chosen, *alike)], [each.name for each in alike]
