"""Option files changed at random: whatever they hold, the reader and the check answer in their own words, in time."""

import copy
import os
import time
from collections.abc import Callable

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.check.options import check_options
from lightsr_basicsr.tools.options import parse_value, read_options
from tests import tiny

pytestmark = pytest.mark.faults

# LIGHTSR_FAULTS=5000 for the long form.
EXAMPLES = int(os.environ.get("LIGHTSR_FAULTS", "150"))
SECONDS = 10  # of a processor: what else runs on the machine does not count
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# What once failed, and its neighbours.
ODD = [
    None, True, 0, -1, 1, 2, 3, 4.5, 2**40, 10**8, 1e300, float("inf"), float("nan"), "", "x", "1e-4", "false", "~",
    "{", "{}", "../x", "9" * 300, "\x00", "\u202e", [], [[]], ["x"], [1, 2], [None], {}, {"type": "L1Loss"},
    {"type": None}, {"type": ["x"]}, {"a": {"b": {"c": [1]}}}, "PairedImageDataset", "SRModel", "IMDN", "KDSRModel",
    "ReparamModel", "DualRegressionModel", "calculate_niqe",
]  # fmt: skip
VALUES = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)
CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["set", "delete", "add", "move"]), VALUES),
                   min_size=1, max_size=3)  # fmt: skip


def places(content, path=()) -> list[tuple]:
    """Return the path of every value."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [found for key, value in items for found in ((*path, key), *places(value, (*path, key)))]


def mutated(options: dict, changes: list) -> dict:
    options = copy.deepcopy(options)
    for where, what, value in changes:
        found = places(options)
        if not found:
            break
        *parents, last = found[where % len(found)]
        section = options
        for key in parents:
            section = section[key]
        if what == "set" or isinstance(section, list):
            section[last] = value
        elif what == "delete":
            del section[last]
        elif what == "add":
            section[f"{last}_2"] = copy.deepcopy(section[last])
        else:
            section[str(value)[:20]] = section.pop(last)
    return options


def judge(options: dict, is_train: bool) -> None:
    begun = time.process_time()
    for finding in check_options(options, is_train):
        assert finding.where
        assert len(str(finding)) < 3000
    assert time.process_time() - begun < SECONDS


def refused_or_read(read: Callable):
    """Return what ``read`` returns, None if it refuses in our words and not too many of them."""
    text = ""
    try:
        return read()
    except UserError as error:
        text = str(error)
    assert 0 < len(text) < 1000
    return None


@pytest.fixture(autouse=True)
def pairs(workdir):
    tiny.make_pairs(workdir / "data", 2)


@BOUNDED
@given(CHANGES)
def test_mutated_training_files_are_checked(workdir, changes):
    judge(mutated(tiny.train_options(), changes), True)
    assert sorted(file.name for file in workdir.iterdir()) == ["data"]


@BOUNDED
@given(CHANGES)
def test_mutated_test_files_are_checked(workdir, changes):
    judge(mutated(tiny.test_options(tiny.paired("a", "data"), tiny.paired("b", "data")), changes), False)
    assert sorted(file.name for file in workdir.iterdir()) == ["data"]


TEXT = yaml.safe_dump(tiny.train_options())
PIECES = st.sampled_from([
    "&a ", "*a", "!!int ", "!!python/name:os.system ", "[", "]", "{", "}", ": ", "- ", "\n", "  ", "? ", "<<: *a", "'",
    '"', "#", "%", "---\n", "...\n", "|\n", ">\n", "\t", "\x00", "\ufeff", "9" * 5000, "2024-13-45", "0x" + "f" * 600,
    "1:2:3:4", ".inf", "=", "~", "[" * 200, "- " * 200, "&r [*r]", "\\u0000", "\U0001f600", "\ud800",
])  # fmt: skip


@BOUNDED
@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 30), PIECES | st.text(max_size=5)), max_size=4))
def test_mutated_texts_are_read_or_refused(workdir, edits):
    text = TEXT
    for place, length, piece in edits:
        text = text[:place] + piece + text[place + length :]
    file = workdir / "mutated.yml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    begun = time.process_time()
    options = refused_or_read(lambda: read_options(file))
    file.unlink()
    assert time.process_time() - begun < SECONDS
    if options is not None:
        judge(options, True)


@BOUNDED
@given(st.lists(PIECES | st.text(max_size=8), max_size=6))
def test_mutated_overrides_are_read_or_refused(pieces):
    refused_or_read(lambda: parse_value("".join(pieces)))
