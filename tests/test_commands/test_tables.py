"""Tables for the terminal: alignment, headers, ragged rows."""

import pytest

from lightsr_basicsr.commands.tables import table


def test_columns_are_aligned_as_asked_and_the_last_letter_holds_for_the_rest():
    rows = [("", "a", "long title"), ("first", 1, 2.5), ("2", 10_000, None)]
    assert table(rows, "<>").splitlines() == [
        "           a  long title",
        "first      1         2.5",
        "2      10000",
    ]
    assert table(rows).splitlines()[1] == "first  1      2.5"


def test_gap_and_indent():
    assert table([("a", "b"), ("cc", "d")], gap=" | ", indent="  ") == "  a  | b\n  cc | d"


@pytest.mark.parametrize(("rows", "text"), [([], ""), ([()], ""), ([("a",), ("b", "c")], "a\nb  c")])
def test_few_cells(rows, text):
    assert table(rows) == text
