"""YAML of option files: plain mappings, lists and values, of a bounded size; all else is an error with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

# Far above any option file; what is larger is a mistake or an attack, and would take minutes to parse or to check.
MOST_CHARACTERS, MOST_NODES, MOST_DEPTH, MOST_INTEGER = 200_000, 20_000, 40, 2**63
TOO_MANY = f"more than {MOST_NODES:,} values, aliases counted as often as they are used"
TOO_DEEP = f"more than {MOST_DEPTH} levels in each other"
TAG = "tag:yaml.org,2002:"
STRING, MERGE = f"{TAG}str", f"{TAG}merge"
PLAIN = {STRING, *(f"{TAG}{kind}" for kind in ("null", "bool", "int", "float", "seq", "map"))}
# `1e-4` is text in YAML 1.1, which PyYAML implements; nobody means text by it.
EXPONENT_NUMBER = re.compile(r"[-+]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})[eE][-+]?\d{1,9}")


# Line and column of keys, by the keys that lead to them.
Places = dict[tuple[str, ...], tuple[int, int]]


class PlainLoader(yaml.SafeLoader):
    """Safe YAML loader for option files.

    Keys are texts and given once. Values are texts, numbers below 2 ** 63, true, false and null. Everything together,
    aliases counted as often as they are used, is of bounded depth and size.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.depth = self.nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Compose a node, unless it is nested too deeply or is one too many."""
        self.depth += 1
        self.nodes += 1
        try:
            if self.nodes > MOST_NODES:
                raise _error(TOO_MANY, self.peek_event())
            if self.depth > MOST_DEPTH:
                raise _error(TOO_DEEP, self.peek_event())
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def get_single_node(self) -> yaml.Node | None:
        """Compose the only document."""
        node = super().get_single_node()
        if node is not None:
            _measure(node, {}, ())
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Construct one mapping."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag not in (STRING, MERGE):
                shown = _short(key.value) if isinstance(key, yaml.ScalarNode) else f"a {key.id}"
                raise _error(f"a key must be a text, got {shown}: quotes make one", key)
            if key.value in seen and key.tag != MERGE:
                raise _error(f"'{_short(key.value)}' is given twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct one value."""
        kind = node.tag.removeprefix(TAG)
        if node.tag not in PLAIN:
            raise _error(f"{_short(node.value)} is of the kind {kind}, which no option takes: quotes make a text", node)
        try:
            value = super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            # PyYAML's constructors raise what int(), float() and dictionaries raise.
            raise _error(f"{_short(node.value)} is not a valid {kind}", node) from error
        if isinstance(value, int) and abs(value) >= MOST_INTEGER:
            raise _error(f"the number {_short(node.value)} is too large", node)
        return value


def load_yaml(text: str) -> Any:
    """Return the content of YAML ``text``.

    Raises:
        yaml.YAMLError: If it is not valid, or holds what no option file does; with the place.
    """
    return load_with_places(text)[0]


def load_with_places(text: str) -> tuple[Any, Places]:
    """Return the content of YAML ``text``, and line and column of each key by the keys that lead to it, from 1.

    Raises:
        yaml.YAMLError: As :func:`load_yaml`.
    """
    if len(text) > MOST_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text):,} characters, more than {MOST_CHARACTERS:,}")
    loader = PlainLoader(text)
    try:
        node = loader.get_single_node()
        content = None if node is None else loader.construct_document(node)
        return content, dict(_places(node, ()))
    finally:
        loader.dispose()


def first_problem(error: yaml.YAMLError) -> str:
    """Return what is wrong, with line and column."""
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return f"{getattr(error, 'problem', None) or ' '.join(str(error).split())}{where}"


def _places(node: yaml.Node | None, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], tuple[int, int]]]:
    """Yield the keys of nested mappings with their places; merged keys have those of where they are written."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        keys = (*above, key.value)
        yield keys, (key.start_mark.line + 1, key.start_mark.column + 1)
        yield from _places(value, keys)


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], above: tuple[int, ...]) -> tuple[int, int]:
    """Return the number of values in ``node`` and how deeply they are nested; an aliased one counts each time.

    ``known`` are results by the identity of nodes, ``above`` the nodes that contain this one.
    """
    key = id(node)
    if key in above:
        raise _error("an alias contains itself", node)
    if key not in known:
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        inner = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
        found = [_measure(part, known, (*above, key)) for part in inner]
        known[key] = 1 + sum(count for count, _ in found), 1 + max((depth for _, depth in found), default=0)
    count, depth = known[key]
    if count > MOST_NODES:
        raise _error(TOO_MANY, node)
    if len(above) + depth > MOST_DEPTH:
        raise _error(TOO_DEEP, node)
    return count, depth


def _error(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


def _short(value: Any, most: int = 60) -> str:
    text = value if isinstance(value, str) else f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}..."
