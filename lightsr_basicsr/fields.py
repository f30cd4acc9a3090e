"""Options of an option file as models and data sets declare them: the values that a key takes, and what it means.

A class declares the keys that it reads in ``options``, a dictionary of fields by key: dotted keys of the whole file
(``"train.teacher_iter"``) in a training model, keys of its section in a data set. The check of option files, the JSON
schema for editors and the reference page are made of these. Every function below takes a sentence of help first, and
``default``, ``null`` and ``required`` as :class:`Field` has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lightsr_basicsr.errors import short_message

# Of the name of a run, in bytes: BasicSR lengthens it, and file systems allow 255.
LONGEST_NAME = 200


@dataclass(frozen=True)
class Field:
    """One key of an option file.

    Attributes:
        help (str): What it means, in one sentence.
        wanted (str): The values in words, ``'a whole number of at least 1'``.
        takes (Callable): Whether a value that is not None is one of them.
        values (Mapping): The values as JSON schema.
        default (Any): The value where the key is missing, as an option file would give it; None for none.
        null (bool): Whether ``~`` is a value too.
        required (str): The run in which the key cannot be left out: ``'train'``, ``'test'``, ``'always'``, or ``''``.
    """

    help: str
    wanted: str
    takes: Callable[[Any], bool]
    values: Mapping[str, Any]
    default: Any = None
    null: bool = False
    required: str = ""

    def problem(self, value: Any) -> str:
        """Return what is wrong with ``value`` (``must be true or false, got 'no'``), '' if nothing is."""
        fine = self.null if value is None else self.takes(value)
        return "" if fine else f"must be {self.wanted}, got {short_message(repr(value), 200)}"

    def schema(self) -> dict[str, Any]:
        """Return the field as JSON schema."""
        values = dict(self.values)
        if self.null and "type" in values:
            values["type"] = [values["type"], "null"]
        elif self.null and values:
            values = {"anyOf": [values, {"type": "null"}]}
        about = {"description": self.help, "default": self.default}
        return {**values, **{key: value for key, value in about.items() if value not in (None, "")}}


def anything(help: str = "", **more: Any) -> Field:
    """Return a field that takes any value."""
    return Field(help, "any value", lambda value: True, {}, **{"null": True, **more})


def number(
    help: str = "", least: float | None = None, above: float | None = None, most: float | None = None, **more: Any
) -> Field:
    """Return a field that takes a finite number of at least ``least``, more than ``above`` and at most ``most``."""
    both = least is not None and most is not None
    words = {"of at least": least, "above": above, "of at most": most}
    limits = [f"{word} {_plain(limit)}" for word, limit in words.items() if limit is not None]
    limits = [f"from {_plain(least)} to {_plain(most)}"] if both else limits
    bounds = {"minimum": least, "exclusiveMinimum": above, "maximum": most}

    def takes(value: Any) -> bool:
        return (
            isinstance(value, (int, float))
            and not isinstance(value, bool)
            and math.isfinite(value)
            and (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
        )

    values = {"type": "number", **{key: bound for key, bound in bounds.items() if bound is not None}}
    return Field(help, " ".join(["a number", *limits]), takes, values, **more)


def _plain(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"


def count(help: str = "", least: int | None = 1, most: int | None = None, as_float: bool = False, **more: Any) -> Field:
    """Return a field that takes a whole number; with ``as_float`` also one written as a float, ``!!float 5e3``."""
    real = number(help, least=least, most=most, **more)

    def takes(value: Any) -> bool:
        return real.takes(value) and (isinstance(value, int) or (as_float and value == int(value)))

    wanted = real.wanted.replace("a number", "a whole number")
    return Field(help, wanted, takes, {**real.values, "type": "integer"}, **more)


def flag(help: str = "", **more: Any) -> Field:
    """Return a field that takes true or false."""
    return Field(help, "true or false", lambda value: isinstance(value, bool), {"type": "boolean"}, **more)


def text(help: str = "", choices: tuple[str, ...] = (), **more: Any) -> Field:
    """Return a field that takes a text that is not empty, one of ``choices`` where there are any."""
    values = {"enum": [*choices]} if choices else {"type": "string", "minLength": 1}

    def takes(value: Any) -> bool:
        return isinstance(value, str) and (value in choices if choices else bool(value))

    wanted = " or ".join(filter(None, (", ".join(choices[:-1]), *choices[-1:]))) or "a text"
    return Field(help, wanted, takes, values, **more)


def file_name(help: str = "", **more: Any) -> Field:
    """Return a field that takes a text which can be the name of one file or folder, as :func:`is_file_name` says."""
    wanted = f"a plain name (no / or \\, no dot or blank in front) of at most {LONGEST_NAME} bytes"
    values = {"type": "string", "maxLength": LONGEST_NAME, "pattern": r"^[^./\\\x00-\x20][^/\\\x00-\x1f]*$"}
    return Field(help, wanted, is_file_name, values, **more)


def file_suffix(help: str = "", **more: Any) -> Field:
    """Return a field that takes a text or number which can follow in the name of a file."""
    values = {"anyOf": [{"type": "string", "pattern": r"^[^/\\\x00-\x1f]*$"}, {"type": "number"}]}

    def takes(value: Any) -> bool:
        return isinstance(value, (str, int, float)) and is_file_name(f"x{value}x")

    return Field(help, "the end of a file name, without / and \\", takes, values, **more)


def is_file_name(value: Any) -> bool:
    """Return whether ``value`` is the name of one file or folder that is not hidden, in any file system.

    >>> [name for name in ("x4", "../x4", "a/b", "..", "", " ", "x" * 300, chr(0)) if is_file_name(name)]
    ['x4']
    """
    plain = isinstance(value, str) and value.isprintable() and value == value.strip() and not {*"/\\"} & {*value}
    return plain and value != "" and value[0] != "." and len(value.encode(errors="replace")) <= LONGEST_NAME


def several(help: str, of: Field, length: int | None = None, **more: Any) -> Field:
    """Return a field that takes a list of ``length`` values (None: any number of them), each as ``of``."""
    size = {} if length is None else {"minItems": length, "maxItems": length}

    def takes(value: Any) -> bool:
        listed = isinstance(value, (list, tuple)) and length in (None, len(value))
        return listed and not any(of.problem(each) for each in value)

    wanted = f"a list{'' if length is None else f' of {length}'}, each {of.wanted}"
    return Field(help, wanted, takes, {"type": "array", "items": of.schema(), **size}, **more)


def span(help: str = "", least: float = 0, **more: Any) -> Field:
    """Return a field that takes a number of at least ``least``, or a list of the lowest and the highest of them."""
    one = number(least=least)

    def takes(value: Any) -> bool:
        low, high = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
        return one.takes(low) and one.takes(high) and low <= high

    values = {"anyOf": [one.values, several("", one, 2).values]}
    return Field(help, f"{one.wanted}, or [lowest, highest]", takes, values, **more)


def section(help: str = "", **more: Any) -> Field:
    """Return a field that takes a mapping, whose own keys are declared elsewhere."""
    return Field(help, "a section", lambda value: isinstance(value, Mapping), {"type": "object"}, **more)


def one_of(help: str, *fields: Field, **more: Any) -> Field:
    """Return a field that takes the values of any of ``fields``."""
    wanted, values = ", or ".join(field.wanted for field in fields), {"anyOf": [field.schema() for field in fields]}
    return Field(help, wanted, lambda value: any(field.takes(value) for field in fields), values, **more)


def lineage(cls: type) -> Iterator[type]:
    """Yield the classes whose options ``cls`` takes, itself last: its bases, and those in ``takes_options_of``."""
    for part in getattr(cls, "takes_options_of", ()):
        yield from lineage(part)
    yield from reversed(cls.__mro__)


def declared(cls: type) -> dict[str, Field]:
    """Return the fields that ``cls`` and the classes whose options it takes declare, by key."""
    tables = [vars(each).get("options") for each in lineage(cls)]
    own = [table for table in tables if isinstance(table, Mapping)]  # another package may call anything ``options``
    return {key: field for table in own for key, field in table.items() if isinstance(field, Field)}
