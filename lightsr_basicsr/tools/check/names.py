"""Check sections that name a registered class or function by ``type`` and give its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.registry import OF_ANOTHER, look_up, similar_names
from lightsr_basicsr.tools.check.context import Finding


def check_section_of_type(
    where: str, content: Any, registry: Any, kind: str, given: tuple[str, ...] = ()
) -> list[Finding]:
    """Return what is wrong with the type and the arguments in ``content``; BasicSR itself gives those in ``given``."""
    if not isinstance(content, Mapping):
        return [Finding(where, f"must be a section with a type, got {content!r}")]
    name = content.get("type")
    findings = list(check_type(f"{where}.type", name, registry, kind))
    return findings or list(check_arguments(where, look_up(registry, name), arguments_of(content), given))


def arguments_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the arguments in a section with a type."""
    return {key: value for key, value in deepcopy(dict(content)).items() if key != "type"}


def check_type(where: str, name: Any, registry: Any, kind: str) -> Iterator[Finding]:
    """Yield a finding if nothing called ``name`` is registered, with similar names."""
    if name is None:
        yield Finding(where, f"is missing: name a registered {kind} (see `basicsr list`)")
    elif not look_up(registry, name):
        hint = similar_names(registry, name) or "see `basicsr list`."
        yield Finding(where, f"no {kind} named '{short_message(str(name), 80)}' is registered: {hint} {OF_ANOTHER}")


def takes_argument(function: Callable, name: str) -> bool:
    """Return whether a parameter of ``function`` has this name."""
    return name in inspect.signature(function).parameters


def check_arguments(where: str, function: Callable, kwargs: Mapping, given: tuple = ()) -> Iterator[Finding]:
    """Yield which of ``kwargs`` ``function`` does not take, and which of its arguments are missing."""
    parameters = inspect.signature(function).parameters
    swallows = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    own = {
        name: p
        for name, p in parameters.items()
        if name not in given and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    }
    for key in (key for key in kwargs if key not in own):
        close = get_close_matches(str(key), own, n=1)
        hint = f": did you mean '{close[0]}'?" if close else f"; it takes {', '.join(own) or 'none'}"
        if close or not swallows:
            yield Finding(f"{where}.{key}", f"is not an argument of {function.__name__}{hint}")
    for name, p in own.items():
        if p.default is p.empty and name not in kwargs:
            yield Finding(f"{where}.{name}", f"is missing: {function.__name__} needs it")
