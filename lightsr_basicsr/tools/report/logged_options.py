"""The options of a run as its log shows them: with all that was inherited and overridden, as the run used them."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

# What BasicSR and we add: places and this start's circumstances, also what a resume is told to leave alone.
ADDED = {"name", "dist", "rank", "world_size", "auto_resume", "is_train", "root_path", "path.experiments_root",
         "path.models", "path.training_states", "path.log", "path.visualization", "path.resume_state",
         "path.ignore_resume_networks"}  # fmt: skip


def parse_options(lines: Sequence[str]) -> dict[str, Any]:
    """Return the options of a log's lines, in the form of BasicSR's ``dict2str``; what has another form is left out.

    >>> parse_options(["  name: x4", "  val:[", "    val_freq: 100", "  ]"])
    {'name': 'x4', 'val': {'val_freq': 100}}
    """
    found: dict[str, Any] = {}
    inside = [found]
    for line in lines:
        text = line.strip()
        if text.endswith(":["):
            section: dict[str, Any] = {}
            inside[-1][text[:-2]] = section
            inside.append(section)
        elif text == "]":
            if len(inside) > 1:
                inside.pop()
        elif ": " in text or text.endswith(":"):
            key, _, value = text.partition(":")
            inside[-1][key] = _value(value.strip())
    return found


def _value(text: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts that look like numbers
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def at(options: Mapping[str, Any], name: str) -> Any:
    """Return the value of a dotted name, None if there is none; logs may be damaged anywhere.

    >>> at({"val": {"val_freq": 100}}, "val.val_freq"), at({"val": "?"}, "val.val_freq")
    (100, None)
    """
    found: Any = options
    for key in name.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def whole(value: Any) -> int | None:
    """Return a positive number of iterations, which YAML may read as a float or a text; None for anything else.

    >>> whole(5e3), whole("4e5"), whole(None)
    (5000, 400000, None)
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if 0 < number < 1e15 and number == int(number) else None


def flat(options: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return options by dotted names, values as text, without what BasicSR adds by itself.

    >>> flat({"name": "x", "train": {"optim_g": {"lr": 1e-4}}})
    {'train.optim_g.lr': '0.0001'}
    """
    found: dict[str, str] = {}
    for key, value in options.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{name}.")
        elif name not in ADDED:
            found[name] = "~" if value is None else str(value)
    return found


def differing(all_options: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str | None], bool]]:
    """Return every dotted name with its value in each run, None where it has none, and whether they differ."""
    flats = [flat(options) for options in all_options]
    names = dict.fromkeys(name for each in flats for name in each)
    rows = [(name, [each.get(name) for each in flats]) for name in names]
    return [(name, values, len(set(values)) > 1) for name, values in rows]
