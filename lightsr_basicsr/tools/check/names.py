"""Check names and arguments in an option file against BasicSR's registries."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from lightsr_basicsr.registry import look_up, similar_names
from lightsr_basicsr.tools.check.findings import Finding


def check_type(where: str, name: Any, registry: Any, kind: str) -> Iterator[Finding]:
    """Yield a finding if nothing called ``name`` is registered, with similar names."""
    if name is None:
        yield Finding(where, f"is missing: name a registered {kind} (see `basicsr list`)")
    elif not look_up(registry, name):
        hint = similar_names(registry, name) or "see `basicsr list`, and is its plugin installed?"
        yield Finding(where, f"no {kind} named '{name}' is registered: {hint}")


def check_arguments(where: str, function: Callable, kwargs: Mapping, given: tuple = ()) -> Iterator[Finding]:
    """Compare ``kwargs`` with the signature of ``function``; the first parameters are ``given`` by BasicSR."""
    parameters = inspect.signature(function).parameters
    names = [
        name
        for name, p in parameters.items()
        if name not in given and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for key in kwargs:
        if key not in names:
            close = get_close_matches(str(key), names, n=1)
            hint = f": did you mean '{close[0]}'?" if close else f"; it takes {', '.join(names) or 'none'}"
            swallowed = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
            if close or not swallowed:
                yield Finding(f"{where}.{key}", f"is not an argument of {function.__name__}{hint}")
    for name in names:
        if parameters[name].default is inspect.Parameter.empty and name not in kwargs:
            yield Finding(f"{where}.{name}", f"is missing: {function.__name__} needs it")
