"""Names that two packages register."""

from __future__ import annotations

import functools
import multiprocessing
import warnings
from typing import Any

from lightsr_basicsr.registry import PluginWarning


def names_of_two_packages() -> bool:
    """Register a name that another package holds as ``<name>_<package>`` beside it, with a warning.

    Why: a second registration is an AssertionError, so that of two packages with one common name (Real-ESRGAN and HAT
    have three) the second cannot be imported at all. A module that is imported again, because its package failed the
    first time, takes its own name over. Since: always. Until: BasicSR lets two packages have one name.
    """
    from basicsr.utils.registry import Registry

    original = Registry._do_register
    if hasattr(original, "__wrapped__") or not _stops_at_a_second(Registry("scratch")):
        return False

    @functools.wraps(original)
    def register(self: Any, name: str, obj: Any, suffix: str | None = None) -> None:
        key = f"{name}_{suffix}" if isinstance(suffix, str) else name
        held = dict(iter(self)).get(key)
        if held is None or (_package(held) == _package(obj) and _origin(held) != _origin(obj)):
            original(self, name, obj, suffix)
        elif _origin(held) == _origin(obj):
            self._obj_map[key] = obj
        else:
            beside = f"{key}_{_package(obj)}"
            register(self, beside, obj)
            _tell(key, held, beside, obj)

    Registry._do_register = register
    return True


def _stops_at_a_second(registry: Any) -> bool:
    first, second = (type("Name", (), {"__module__": module}) for module in ("first", "second"))
    registry.register(first)
    try:
        registry.register(second)
    except AssertionError:
        return True
    return False


def _origin(obj: Any) -> tuple[str, str]:
    return obj.__module__, obj.__qualname__


def _package(obj: Any) -> str:
    """Return the package of a class or function, ``main`` for that of a script."""
    return obj.__module__.partition(".")[0].strip("_")


def _tell(name: str, held: Any, beside: str, obj: Any) -> None:
    if multiprocessing.parent_process() is None:  # each process that loads data would tell it again
        text = f"`type: {name}` in an option file is that of {held.__module__}, which was first; for that of "
        warnings.warn(f"{text}{obj.__module__} write `type: {beside}`.", PluginWarning, stacklevel=4)
