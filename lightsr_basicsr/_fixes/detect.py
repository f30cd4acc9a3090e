"""How a fix sees whether its fault is there."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType


def uses(function: Callable, *names: str) -> bool:
    """Tell whether the compiled ``function``, or a function inside it, uses all these global or attribute names."""
    stack: list[CodeType] = [inspect.unwrap(function).__code__]
    seen: set[str] = set()
    while stack:
        code = stack.pop()
        seen.update(code.co_names)
        stack.extend(const for const in code.co_consts if isinstance(const, CodeType))
    return seen.issuperset(names)
