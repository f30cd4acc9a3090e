"""The reference page of all options, made of the same fields as the check of option files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

from lightsr_basicsr.fields import Field
from lightsr_basicsr.tools.check.basicsr_fields import FIELDS, METRICS, SYNTHESIS
from lightsr_basicsr.tools.check.basicsr_keys import keys_of_class, keys_of_pipeline
from lightsr_basicsr.tools.check.known import ANY_SET, OF_COMMAND

INTRODUCTION = """# Options

Every key that the classes of this package read, and the most used ones of BasicSR. Networks, losses, metrics and
optimizers take the arguments of their constructors: `basicsr list` names them, and `basicsr schema` prints a JSON
schema that completes everything in an editor. An option file is checked against these tables before a run starts, and
keys that nobody reads are reported. `~` is nothing in YAML; a key that ends in `*` stands for several.

This page is generated: `basicsr schema --markdown > docs/options.md`
"""
ANY_METRIC = "val.metrics.*."
# Start of the keys of each section, and its title.
SECTIONS = {
    ANY_SET: "`datasets.*`: one data set",
    ANY_METRIC: "`val.metrics.*`: one metric",
    "train.": "`train`: losses, optimizers, schedule",
    "val.": "`val`: validation and tests",
    "path.": "`path`: checkpoints",
    "logger.": "`logger`: log lines and checkpoints",
    "comparison.": "`comparison`: a table and a picture after the run",
    "": "Top level",
}
OF_SYNTHESIS = "Top level: LR images made in the model (Real-ESRGAN, KDSR)"
ORDER = ("", OF_SYNTHESIS, ANY_SET, "train.", "val.", ANY_METRIC, "path.", "logger.", "comparison.")
NAMED = 3
HEADER = "| Key | Values | Default | Read by | Meaning |\n| --- | --- | --- | --- | --- |"


def reference_page() -> str:
    """Return the page as Markdown, with the classes of BasicSR and of this package, whatever else is installed."""
    readers: dict[tuple[str, str, str, str], list[str]] = {}
    for key, field, reader in _declarations():
        readers.setdefault((key, _values(field), _default(field), field.help), []).append(reader)
    tables: dict[str, list[str]] = {section: [] for section in ORDER}
    for (key, values, default, meaning), names in readers.items():
        start = next(start for start in SECTIONS if key.startswith(start))
        cells = (f"`{key.removeprefix(start)}`", values, default, _shortened(names), meaning)
        tables[OF_SYNTHESIS if key in SYNTHESIS else start].append(f"| {' | '.join(cells)} |")
    parts = [f"## {SECTIONS.get(name, name)}\n\n{HEADER}\n" + "\n".join(rows) + "\n" for name, rows in tables.items()]
    return "\n".join([INTRODUCTION, *parts])


def _declarations() -> Iterator[tuple[str, Field, str]]:
    """Yield each key with its field, and who reads it."""
    models, datasets = _classes(MODEL_REGISTRY), _classes(DATASET_REGISTRY)
    for key, field in FIELDS.items():
        for reader in _readers(key, datasets if key.startswith(ANY_SET) else models):
            yield key, field, reader
    for key, field in METRICS.items():
        yield f"{ANY_METRIC}{key}", field, "metrics"
    for key, field in OF_COMMAND.items():
        yield key, field, "`basicsr`"
    for start, classes in (("", models), (ANY_SET, datasets)):
        for cls in classes:
            for key, field in vars(cls).get("options", {}).items():
                yield f"{start}{key}", field, cls.__name__


def _classes(registry: Any) -> list[type]:
    """Return the registered classes of BasicSR and of this package, with their bases there, sorted by name."""
    packages = ("basicsr.", "lightsr_basicsr.")
    classes = {base for _, cls in registry for base in cls.__mro__ if cls.__module__.startswith(packages)}
    return sorted((cls for cls in classes if cls.__module__.startswith(packages)), key=lambda cls: cls.__name__)


def _readers(key: str, classes: list[type]) -> list[str]:
    """Return which classes of BasicSR read ``key`` first; what derives from them reads it too."""

    def reads(keys: frozenset[str]) -> bool:
        return any(fnmatchcase(name, key.removeprefix(ANY_SET)) or fnmatchcase(name, key) for name in keys)

    if reads(keys_of_pipeline()):
        return ["BasicSR"]
    theirs = [cls for cls in classes if cls.__module__.startswith("basicsr.") and reads(keys_of_class(cls))]
    return [cls.__name__ for cls in theirs if not any(base in theirs for base in cls.__mro__[1:])]


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED + 1 else ""
    return ", ".join(names[:NAMED] if more else names) + more


def _values(field: Field) -> str:
    return field.wanted + (", or `~`" if field.null and field.wanted != "any value" else "")


def _default(field: Field) -> str:
    if field.required:
        return {"always": "required", "train": "required in training", "test": "required in tests"}[field.required]
    return "" if field.default is None else f"`{json.dumps(field.default)}`"
