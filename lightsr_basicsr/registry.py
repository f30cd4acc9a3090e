"""Registration into BasicSR's registries that neither crashes on a second import nor takes another plugin's name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def register(registry: Any) -> Callable[[T], T]:
    """Return a decorator that registers a class or function under its own name in a BasicSR ``registry``.

    A second registration of the same object (a module loaded again) is silent. A name that somebody else holds stays
    theirs: ours is then registered as ``<name>_lightsr`` and a ``RuntimeWarning`` says who holds the plain name.
    """

    def decorate(obj: T) -> T:
        held = dict(iter(registry)).get(obj.__name__)
        if held is None:
            registry.register(obj)
        elif _origin(held) != _origin(obj):
            _register_beside(registry, obj, held)
        return obj

    return decorate


def _origin(obj: Any) -> tuple[str, str]:
    return obj.__module__, obj.__qualname__


def _register_beside(registry: Any, obj: Any, held: Any) -> None:
    name = f"{obj.__name__}_lightsr"
    if name not in registry:
        registry.register(obj, suffix="lightsr")
    warnings.warn(
        f"'{obj.__name__}' was already registered by {held.__module__}; lightsr-basicsr leaves that one alone. "
        f"Use `type: {name}` in an option file to get ours.",
        RuntimeWarning,
        stacklevel=4,
    )
