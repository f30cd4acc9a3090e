"""Option keys that the classes of BasicSR and of its plugins read, taken from their sources."""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from lightsr_basicsr.fields import lineage

# What reads options beside the classes that an option file names.
PIPELINE = (
    "basicsr.train", "basicsr.test", "basicsr.utils.options", "basicsr.utils.logger", "basicsr.utils.misc",
    "basicsr.data", "basicsr.data.prefetch_dataloader", "basicsr.models", "basicsr.models.base_model",
)  # fmt: skip
# In these sources: the whole option file, and the section of one data set.
WHOLE = {"opt": (), "self.opt": ()}
OF_A_SET = {"dataset_opt": ("datasets", "*"), "dataset": ("datasets", "*")}
# What BasicSR puts there itself.
PUT_BY_BASICSR = {
    "auto_resume", "dist", "is_train", "rank", "root_path", "world_size", "path.experiments_root", "path.log",
    "path.models", "path.results_root", "path.training_states", "path.visualization",
}  # fmt: skip
OURS = "lightsr_basicsr."

Path = tuple[str, ...]


@cache
def keys_of_pipeline() -> frozenset[str]:
    """Return the dotted keys that BasicSR reads whatever the classes are; ``*`` stands for any data set."""
    sources = [inspect.getsource(importlib.import_module(name)) for name in PIPELINE]
    return _dotted(path for source in sources for path in _read_in(ast.parse(source), {**WHOLE, **OF_A_SET}))


@cache
def keys_of_class(cls: type) -> frozenset[str]:
    """Return the keys that a class of BasicSR or a plugin reads: dotted ones of a model, a data set's of its section.

    Classes of this package are left out, which declare their keys, and those without a source.
    """
    names = dict(WHOLE)
    found: list[Path] = []
    for each in lineage(cls):
        if not each.__module__.startswith(OURS):
            found += _read_in(_source_of(each), names)
    return _dotted(found)


@cache
def _source_of(cls: type) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # built in, typed in a console, or a class made by a call
        return ast.Module([], [])


def _read_in(tree: ast.AST, names: dict[str, Path]) -> Iterator[Path]:
    """Yield the keys that ``tree`` reads; add to ``names`` the sections it names (``train_opt = opt['train']``)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (path := _path(node.value, names)) is not None:
            names.update({ast.unparse(target): path for target in node.targets})
    for node in ast.walk(tree):
        path = _path(node, names)
        if path:
            yield path
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            section = _path(node.comparators[0], names)
            if section is not None and (key := _text(node.left)):
                yield (*section, key)


def _path(node: ast.AST, names: Mapping[str, Path]) -> Path | None:
    """Return the key that an expression reads, () for the whole option file, None if it reads no option."""
    if isinstance(node, ast.BoolOp):  # opt.get('train') or {}
        return _path(node.values[0], names)
    if isinstance(node, ast.IfExp):
        return _path(node.body, names)
    if isinstance(node, (ast.Name, ast.Attribute)):
        return names.get(ast.unparse(node))
    if isinstance(node, ast.Subscript):
        section, key = _path(node.value, names), _text(node.slice)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        read = node.func.attr in ("get", "pop")
        section, key = (_path(node.func.value, names), _text(node.args[0])) if read else (None, "")
    else:
        return None
    return (*section, key) if section is not None and key else None


def _text(node: Any) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _dotted(paths: Iterator[Path] | list[Path]) -> frozenset[str]:
    """Return dotted keys with all sections that they are in; every data set is ``datasets.*``."""
    found = set()
    for path in paths:
        path = (*path[:1], "*", *path[2:]) if path[:1] == ("datasets",) else path
        found |= {".".join(path[:end]) for end in range(1, len(path) + 1)}
    return frozenset(found)
