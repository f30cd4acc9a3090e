"""Detect whether a fault is present."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType


def uses(function: Callable, *names: str) -> bool:
    """Return whether ``function``, or a function inside it, uses all these global or attribute names.

    >>> uses(lambda path: open(path).read(), "open", "read")
    True
    >>> uses(lambda path: path.read_text(), "open")
    False
    """
    stack: list[CodeType] = [inspect.unwrap(function).__code__]
    seen: set[str] = set()
    while stack:
        code = stack.pop()
        seen.update(code.co_names)
        stack.extend(const for const in code.co_consts if isinstance(const, CodeType))
    return seen.issuperset(names)


def wrapped_by(function: Callable, module: str) -> bool:
    """Return whether ``function``, or one that it wraps (``__wrapped__``), is of ``module``.

    >>> wrapped_by(wrapped_by, __name__)
    True
    """
    if function.__module__ == module:
        return True
    inner = getattr(function, "__wrapped__", None)
    return inner is not None and wrapped_by(inner, module)
