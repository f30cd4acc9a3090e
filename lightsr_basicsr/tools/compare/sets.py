"""Sets of pictures that methods are compared on: LR images and, where there are any, their HR images."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from os import PathLike
from os.path import expanduser
from pathlib import Path
from typing import NamedTuple

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.files import split_title
from lightsr_basicsr.tools.images import folder_images, partners

# Folders that say what is in them and not which set it is.
KIND_OF_FOLDER = re.compile(r"(lr|lq|hr|gt|low|high|input|images?)([_-]?\w*)|x\d", re.IGNORECASE)
LONGEST = 80  # characters of a name of a file; systems allow 255 bytes


class CompareError(UserError):
    """A comparison is not possible as asked for."""


class Failure(NamedTuple):
    """A file that could not be compared, and why."""

    path: Path
    reason: str


class Item(NamedTuple):
    """A picture: the title of its set, its own, and its files."""

    set: str
    name: str
    low: Path
    high: Path | None


class TestSet(NamedTuple):
    """A title, the pictures that can be compared, and those that cannot."""

    title: str
    items: list[Item]
    failed: list[Failure]


def find_sets(inputs: Sequence[str | PathLike], gts: Sequence[str | PathLike] = ()) -> list[TestSet]:
    """Return the sets: folders of LR images, or single ones, with their folders of HR images in the same order.

    A picture without HR image is listed as failed if its set has a folder of them.

    Args:
        inputs (Sequence): Folders or pictures; ``'Set5=FOLDER'`` gives a title, which is the folder's name otherwise.
        gts (Sequence): As many, or none.

    Raises:
        ImageError: If a folder is missing or holds no image.
        CompareError: If the numbers differ, two sets have one title, or no picture of a set has its HR image.
    """
    if not inputs:
        raise CompareError("Expected a folder of LR images, got none: name one with -i.")
    if gts and len(gts) != len(inputs):
        raise CompareError(
            f"Expected one folder of HR images for each of the {len(inputs)} of LR images, in the same order, got "
            f"{len(gts)}: name as many with --gt as with -i, or none."
        )
    found = [_set(*_titled(text), gt) for text, gt in zip(inputs, gts or [None] * len(inputs), strict=True)]
    titles = [each.title for each in found]
    same = sorted({title for title in titles if titles.count(title) > 1})
    if same:
        raise CompareError(f"Several sets are called {same[0]!r}: give titles, as in -i Set5=FOLDER.")
    return found


def place_of(text: str | PathLike) -> Path:
    """Return the folder or picture that ``'Set5=FOLDER'`` names.

    >>> place_of("Set5=data/Set5/LR").as_posix()
    'data/Set5/LR'
    """
    return Path(expanduser(split_title(text)[1]))


def _titled(text: str | PathLike) -> tuple[str, Path]:
    path = place_of(text)
    return split_title(text)[0] or _title_of(path), path


def _title_of(path: Path) -> str:
    """Return a title for the set of a folder: its name, or its parent's where that says more (``Set5/LR_x4``)."""
    path = path.resolve()
    names = [path.stem if path.is_file() else path.name, path.parent.name]
    telling = [name for name in names if name and not KIND_OF_FOLDER.fullmatch(name)]
    return printable(Path((telling or names)[0] or "set"))


def _set(title: str, folder: Path, gt: str | PathLike | None) -> TestSet:
    lows = _images(folder, ": name another with -i")
    if gt is None:
        return TestSet(title, _items(title, dict.fromkeys(lows)), [])
    high_folder = place_of(gt)
    highs = _images(high_folder, ": name another with --gt")
    alone = len(lows) == len(highs) == 1 and folder.is_file() and high_folder.is_file()
    found = {lows[0]: highs[0]} if alone else partners(lows, highs)
    missing = f"no HR image in {printable(high_folder)}: names must be the same, or end in x2, x3 and so on for LR"
    pairs = {low: high for low, high in found.items() if high is not None}
    if not pairs:
        raise CompareError(
            f"{printable(high_folder)} has no HR image for any of the {len(lows)} images of {printable(folder)}: "
            "names must be the same, or end in x2, x3 and so on for LR. `basicsr prepare pairs` gives equal names."
        )
    return TestSet(title, _items(title, pairs), [Failure(low, missing) for low in lows if low not in pairs])


def _images(place: Path, advice: str) -> list[Path]:
    return [place] if place.is_file() else folder_images(place, advice)


def _items(title: str, pairs: dict[Path, Path | None]) -> list[Item]:
    stems = [low.stem for low in pairs]
    return [
        Item(title, printable(Path(low.stem if stems.count(low.stem) == 1 else low.name)), low, high)
        for low, high in pairs.items()
    ]


def file_name(title: str) -> str:
    """Return a name for a file or folder that any system takes, another one for each title.

    >>> file_name("IMDN x4"), file_name("baby"), file_name("../<b>")
    ('IMDN_x4-f781f1', 'baby', 'b-9f46ae')
    """
    plain = re.sub(r"[^\w.+-]+", "_", title, flags=re.ASCII).strip("._")[:LONGEST] or "picture"
    if plain == title:
        return plain
    return f"{plain}-{hashlib.sha256(title.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
