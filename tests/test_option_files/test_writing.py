"""Options as YAML: BasicSR's parser, PyYAML and our reader find the same values of the same kinds."""

import math
from pathlib import Path

import pytest
import yaml
from basicsr.utils.options import ordered_yaml, yaml_load

from lightsr_basicsr.option_files.writing import to_yaml
from lightsr_basicsr.yaml_loader import load_yaml

VALUES = [
    0, -3, 2**62, 0.0002, 1e-4, 1e-5, 1e-300, 1e300, 2.0, 1e22, -0.0, True, False, None, "", "~", "null", "true", "no",
    "1", "1.8", "1e-4", "1e5", "0x1f", "010", "1_000", "12:30", "2024-01-01", "{}", "{}x4", "{sigma}", "[a]", "a: b",
    "a #b", "- a", "é 超", "a\nb", " a ", "'", '"', "%", "@a", "!a", "&a", "*a", "x" * 300, "word " * 60, [], {},
    [1, 2.0, "a", None], [[1, 2], [3]], [{"a": 1}], {"a": {"b": []}}, "=", "<<", ".inf", ".5",
]  # fmt: skip


def kinds(value):
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    return [kinds(each) for each in value] if isinstance(value, list) else (type(value), repr(value))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_every_reader_finds_the_same(value):
    options = {"name": "a", "section": {"key": value}}
    text = to_yaml(options)
    assert kinds(load_yaml(text)) == kinds(yaml.safe_load(text)) == kinds(options)
    theirs = yaml.load(text, Loader=ordered_yaml()[0])
    assert theirs == options
    assert list(theirs) == list(options)


def test_what_is_not_finite():
    found = load_yaml(to_yaml({"a": math.inf, "b": -math.inf, "c": math.nan}))
    assert (found["a"], found["b"]) == (math.inf, -math.inf)
    assert math.isnan(found["c"])


def test_basicsr_reads_the_file(workdir):
    options = {"name": "é", "lr": 1e-5, "datasets": {"train": {"filename_tmpl": "{}x4", "empty": None}}}
    Path("a.yml").write_text(to_yaml(options), encoding="utf-8")
    assert yaml_load("a.yml") == options


def test_shared_sections_are_written_out():
    shared = {"a": [1]}
    text = to_yaml({"x": shared, "y": shared})
    assert "&" not in text
    assert "*" not in text
