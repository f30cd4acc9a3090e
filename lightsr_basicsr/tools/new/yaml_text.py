"""Write YAML in which every key has its comment, readable by BasicSR's own parser."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import yaml

from lightsr_basicsr.option_files.writing import PlainDumper

COLUMNS = 110


class Rows(list):
    """The keys of a section: (key, value, comment); a value that is Rows is a section."""

    def plain(self) -> dict[str, Any]:
        """Return keys and values without comments."""
        return {key: value.plain() if isinstance(value, Rows) else value for key, value, _ in self}


def to_text(rows: Rows, depth: int = 0) -> str:
    """Return rows as YAML.

    >>> print(to_text(Rows([("a", 1, "one"), ("b", Rows([("c", [1, 2], "")]), "two")])), end="")
    a: 1  # one
    <BLANKLINE>
    b:  # two
      c: [1, 2]
    """
    parts, indent = [], "  " * depth
    for key, value, comment in rows:
        section = isinstance(value, Rows)
        line = f"{indent}{key}:" if section else f"{indent}{_scalar(key, value)}"
        parts += ["\n"] if section and not depth else []
        parts += _with_comment(line, comment, indent)
        parts += [to_text(value, depth + 1)] if section else []
    return "".join(parts)


def _with_comment(line: str, comment: str, indent: str) -> Iterable[str]:
    if not comment:
        return [f"{line}\n"]
    if len(line) + len(comment) + 4 <= COLUMNS:
        return [f"{line}  # {comment}\n"]
    wrapped = textwrap.wrap(comment, COLUMNS, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
    return [*(f"{each}\n" for each in wrapped), f"{line}\n"]


def _scalar(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"{key}: {yaml.dump(value, default_flow_style=True, sort_keys=False, width=10**6).strip()}"
    text = yaml.dump({key: value}, Dumper=PlainDumper, allow_unicode=True, sort_keys=False, width=10**6)
    return text.rstrip("\n")
