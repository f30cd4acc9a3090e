"""Aligned tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest
from typing import Any


def table(rows: Iterable[Iterable[Any]], align: str = "<", gap: str = "  ", indent: str = "") -> str:
    """Return ``rows`` as lines of text with aligned columns; a header is simply the first row.

    >>> print(table([("network", "parameters"), ("IMDN", "715,176"), ("FDIWN-M", "433,000")], "<>"))
    network  parameters
    IMDN        715,176
    FDIWN-M     433,000

    Args:
        rows (Iterable): Cells by row; missing cells at the end of a row are empty, None is an empty cell.
        align (str): ``<`` or ``>`` for each column; the last one holds for further columns. Default: ``'<'``.
        gap (str): Text between columns. Default: two spaces.
        indent (str): Text in front of each line. Default: ``''``.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    sides = align.ljust(len(widths), align[-1])
    lines = (gap.join(f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=False)) for row in cells)
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)
