"""BasicSR's registries: register without replacing another plugin's name, and look names up."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T")

# Ends the message on a name that nobody registered.
OF_ANOTHER = (
    "If it is of another package, make that known: `plugins: [PACKAGE]` in the option file, or --import PACKAGE. "
    "`basicsr env` lists the plugins found"
)


class PluginWarning(RuntimeWarning):
    """Two packages have one name for option files, or a plugin has none; the message says what to write."""


def register(registry: Any) -> Callable[[T], T]:
    """Return a decorator that registers a class or function under its own name in a BasicSR ``registry``.

    A second registration of the same object (a reloaded module) is silent. A name that another package has taken
    stays theirs: ours is then registered as ``<name>_lightsr``, and a :class:`PluginWarning` names the other module.
    """

    def decorate(obj: T) -> T:
        held = dict(iter(registry)).get(obj.__name__)
        if held is None:
            registry.register(obj)
        elif _origin(held) != _origin(obj):
            _register_beside(registry, obj, held)
        return obj

    return decorate


def look_up(registry: Any, name: Any) -> Any:
    """Return the object registered as ``name`` or ``<name>_basicsr``, None if there is neither.

    As ``registry.get``, but without its printed line and its exception. Anything that gives pairs is a registry here.

    >>> registry = {"IMDN": "our class", "SwinIR_basicsr": "BasicSR's class"}.items()
    >>> look_up(registry, "SwinIR")
    "BasicSR's class"
    >>> look_up(registry, "IMDM") is None
    True
    """
    table = dict(iter(registry))
    return table.get(str(name), table.get(f"{name}_basicsr"))


def similar_names(registry: Any, name: Any) -> str:
    """Return ``'did you mean A or B?'`` with the registered names most similar to ``name``, ``''`` for none.

    >>> similar_names({"IMDN": 1, "IMDN_RTC": 2, "SwinIR": 3}, "IMDM_RTC")
    'did you mean IMDN_RTC or IMDN?'
    """
    close = get_close_matches(str(name), list(registry.keys()), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else ""


def _origin(obj: Any) -> tuple[str, str]:
    return obj.__module__, obj.__qualname__


def _register_beside(registry: Any, obj: Any, held: Any) -> None:
    name = f"{obj.__name__}_lightsr"
    if name not in registry:
        registry.register(obj, suffix="lightsr")
    warnings.warn(
        f"'{obj.__name__}' was already registered by {held.__module__}; lightsr-basicsr leaves that one alone. "
        f"Use `type: {name}` in an option file to get ours.",
        PluginWarning,
        stacklevel=4,
    )
