"""The folder of a comparison: it replaces nothing but an earlier comparison, and lies apart from its pictures."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightsr_basicsr.pages.building import was_made_by
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.compare.kept import has_costs
from lightsr_basicsr.tools.compare.sets import CompareError, TestSet
from lightsr_basicsr.tools.compare.tables import JSON, JSON_START
from lightsr_basicsr.tools.compare.webpage import MADE_BY, PAGE
from lightsr_basicsr.tools.files import START, check_ours, lies_with, no_folder
from lightsr_basicsr.tools.images import some
from lightsr_basicsr.whole import PART

ANOTHER = "choose another with -o"


def check_folder(folder: Path, inputs: Iterable[Path], sets: Sequence[TestSet]) -> None:
    """Check that a comparison can be written into a folder; nothing is changed.

    Args:
        folder (Path): It may be missing.
        inputs (Iterable[Path]): Folders of pictures, or single ones, as the user names them.
        sets (Sequence[TestSet]): Their pictures, which may be links into other folders.

    Raises:
        CompareError: If it holds files that no comparison made, or is, holds or lies in a folder of pictures.
    """
    for place in inputs:
        if folder.is_file() or not lies_with(folder, place):
            continue
        raise CompareError(
            f"Expected a folder apart from the pictures, got {printable(folder)} for those of {printable(place)}, and "
            f"nothing is written among them: {ANOTHER}."
        )
    real = Path(os.path.realpath(folder))
    files = (file for each in sets for item in each.items for file in (item.low, item.high) if file is not None)
    for file in files:
        if real in Path(os.path.realpath(file)).parents:
            raise CompareError(
                f"Expected a folder apart from the pictures, got {printable(folder)}, which holds {printable(file)}: "
                f"{ANOTHER}."
            )
    if folder.is_dir():
        _check_made_here(folder)


def _check_made_here(folder: Path) -> None:
    page, results = folder / PAGE, folder / JSON
    try:
        names = sorted(path.name for path in folder.iterdir())
        # The costs are the first file of a comparison, and all that one has that was interrupted.
        ours = has_costs(folder) or _is_page(_start(page))
    except OSError as error:
        raise CompareError(f"{printable(folder)} cannot be read ({no_folder(folder, error)}): {ANOTHER}.") from error
    names = [name for name in names if not (name.startswith(".") and name.endswith(PART))]
    if names and not ours:
        raise CompareError(
            f"Expected a new or empty folder, or one of an earlier comparison, and {printable(folder)} holds other "
            f"files: {some([printable(Path(name)) for name in names])}. They are not touched: {ANOTHER}."
        )
    advice = "move it away, or choose another folder with -o"
    check_ours(page, _is_page, "a page of compare", advice, CompareError)
    check_ours(results, lambda content: content.startswith(JSON_START), "a file of compare", advice, CompareError)


def _start(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(START)


def _is_page(content: bytes) -> bool:
    return was_made_by(content, MADE_BY)


def make_folder(folder: Path) -> None:
    """Make a folder, and check that files can be written to it.

    Raises:
        CompareError: If it cannot be made, or they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise CompareError(f"{folder} cannot be written ({error.strerror}): {ANOTHER}.") from error
