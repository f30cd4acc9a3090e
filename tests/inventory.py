"""The public names of the package as text; ``python -m tests.inventory`` writes ``tests/data/inventory.txt``."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

import lightsr_basicsr
from lightsr_basicsr.cli import _build_parser
from lightsr_basicsr.fields import declared
from lightsr_basicsr.plugins import list_registered, load_plugins, registries

PACKAGE = Path(lightsr_basicsr.__file__).parent
FILE = Path(__file__).parent / "data" / "inventory.txt"
TITLES = {"modules": "module: its public classes and functions", "registered": "kind: names that option files can use",
          "options": "class: the option keys that it reads", "commands": "command: its arguments"}  # fmt: skip


def modules() -> Iterator[str]:
    """Yield each public module with the public classes and functions that it defines."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if any(part.startswith("_") and part != "__init__" for part in parts):
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        names = [node.name for node in body if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
        public = sorted(name for name in names if not name.startswith("_"))
        module = ".".join(part for part in parts if part != "__init__")
        yield f"{module}: {' '.join(public)}".rstrip(": ")


def registered() -> Iterator[str]:
    """Yield each kind of registered object with the names that this package registers."""
    load_plugins()
    for kind, entries in list_registered().items():
        yield f"{kind}: {' '.join(entry.name for entry in entries if entry.module.startswith('lightsr_basicsr.'))}"


def options() -> Iterator[str]:
    """Yield each training model and data set of this package with the option keys that it declares."""
    load_plugins()
    for kind in ("models", "datasets"):
        for name, cls in registries()[kind]:
            if cls.__module__.startswith("lightsr_basicsr."):
                yield f"{name}: {' '.join(sorted(declared(cls)))}".rstrip(": ")


def commands() -> Iterator[str]:
    """Yield each command and sub-command with its arguments."""
    yield from _commands("basicsr", _build_parser())


def _commands(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    actions = [action for action in parser._actions if action.dest != "help"]
    groups = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    plain = [" ".join(action.option_strings) or action.dest for action in actions if action not in groups]
    yield f"{name}: {', '.join(plain)}".rstrip(": ")
    for group in groups:
        for word, child in group.choices.items():
            yield from _commands(f"{name} {word}", child)


def inventory() -> str:
    """Return all of it."""
    parts = {"modules": modules(), "registered": registered(), "options": options(), "commands": commands()}
    return "\n\n".join(f"# {TITLES[title]}\n" + "\n".join(lines) for title, lines in parts.items()) + "\n"


if __name__ == "__main__":
    FILE.write_text(inventory(), encoding="utf-8")
