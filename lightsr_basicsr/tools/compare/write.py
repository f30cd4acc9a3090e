"""Write what a comparison has found: tables, the page, and sheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.compare.crops import Chosen, Crop
from lightsr_basicsr.tools.compare.results import Compared, Comparison
from lightsr_basicsr.tools.compare.sets import CompareError, Item, TestSet
from lightsr_basicsr.tools.compare.sheet import draw_sheets, require_matplotlib
from lightsr_basicsr.tools.compare.tables import TABLES
from lightsr_basicsr.tools.compare.webpage import PAGE, build_page
from lightsr_basicsr.tools.images import some
from lightsr_basicsr.whole import write_whole

DRAWN = 8  # sheets, unless pictures are named


class Wanted(NamedTuple):
    """What to zoom into, which pictures to draw sheets of, None for a choice, and how large the page may be."""

    crop: Crop | None = None
    sheets: Sequence[str] | None = None
    megabytes: float = 50


def write_results(
    found: Comparison,
    wanted: Wanted,
    report: Callable[[str], Any] = lambda text: None,
    progress: Callable[[str, float, int, str], Any] = lambda stage, done, total, name: None,
) -> None:
    """Write all files into the comparison's folder and list them in ``found.written``.

    Raises:
        UserError: If one cannot be written.
    """
    for name, text in TABLES.items():
        write_whole(found.folder / name, text(found).encode("utf-8", "backslashreplace"))
    page = build_page(found, wanted.crop, wanted.megabytes, progress)
    write_whole(found.folder / PAGE, page.content)
    found.written += [found.folder / PAGE, *(found.folder / name for name in TABLES)]
    if page.note:
        report(page.note)
    elsewhere = [] if wanted.crop is None else [each for each, one in page.chosen if one.crop != wanted.crop]
    if elsewhere:
        names = some([each.item.name for each in elsewhere])
        report(f"--crop {','.join(map(str, wanted.crop))} lies outside of {names}: there another part was chosen.")
    try:
        require_matplotlib()
    except UserError as error:
        if wanted.sheets is None or wanted.sheets:
            report(str(error))
        return
    found.written += draw_sheets(found, _for_sheets(page.chosen, wanted.sheets, report), progress)


def check_names(sets: Sequence[TestSet], names: Sequence[str]) -> None:
    """Raise CompareError if a sheet is wanted of a picture that no set has."""
    items = [item for each in sets for item in each.items]
    known = {text for item in items for text in _names(item)}
    missing = [name for name in names if name not in known]
    if missing:
        raise CompareError(
            f"Expected names of pictures, got {some(missing)}: choose among {some([item.name for item in items])} with "
            "--sheet."
        )


def _for_sheets(
    chosen: list[tuple[Compared, Chosen]], names: Sequence[str] | None, report: Callable[[str], Any]
) -> list[tuple[Compared, Chosen]]:
    """Return the pictures to draw sheets of: those named, or where the methods differ most."""
    if names is None:
        largest = sorted(chosen, key=lambda pair: -pair[1].spread)[:DRAWN]
        return [pair for pair in chosen if any(pair is each for each in largest)]
    known = {text for each, _ in chosen for text in _names(each.item)}
    missing = [name for name in names if name not in known]
    if missing:
        report(f"there is no picture {some(missing)} to draw a sheet of: the names are those in pictures.csv.")
    return [(each, one) for each, one in chosen if _names(each.item) & set(names)]


def _names(item: Item) -> set[str]:
    return {item.name, f"{item.set}/{item.name}", item.low.name}
