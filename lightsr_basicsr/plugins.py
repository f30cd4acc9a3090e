"""Plugins of the `basicsr` command: every installed package with an entry point in the group ``basicsr.plugins``."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import re
from dataclasses import dataclass
from typing import Any

GROUP = "basicsr.plugins"
CLASH = re.compile(r"object named '(\w+)' was already registered in '(\w+)'")


@dataclass(frozen=True)
class Plugin:
    """One entry point: its name, the module it imports, its distribution with version, and why its import failed."""

    name: str
    module: str
    distribution: str
    error: str = ""


def load_plugins() -> list[Plugin]:
    """Import BasicSR and every plugin; one that fails is reported in its ``error`` and does not stop the others."""
    importlib.import_module("basicsr")
    return [_load(entry) for entry in importlib.metadata.entry_points(group=GROUP)]


def _load(entry: importlib.metadata.EntryPoint) -> Plugin:
    distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
    error = ""
    try:
        entry.load()
    except Exception as problem:
        # Another project's import may raise anything, and must not stop the command.
        error = _explain(problem)
    return Plugin(entry.name, entry.value, distribution, error)


def _explain(problem: Exception) -> str:
    text = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
    clash = CLASH.search(text)
    if not clash:
        return text
    name, kind = clash.groups()
    holder = next((obj.__module__ for registry in registries().values() for key, obj in registry if key == name), "?")
    return (
        f"its {kind} '{name}' was registered before by {holder}, and BasicSR allows each name once. "
        "The first one stays; the rest of this plugin may be missing. Use the two plugins in separate environments."
    )


def registries() -> dict[str, Any]:
    """Return BasicSR's registries by kind."""
    from basicsr.utils import registry

    return {
        "networks": registry.ARCH_REGISTRY,
        "models": registry.MODEL_REGISTRY,
        "datasets": registry.DATASET_REGISTRY,
        "losses": registry.LOSS_REGISTRY,
        "metrics": registry.METRIC_REGISTRY,
    }


@dataclass(frozen=True)
class Registered:
    """One registered name: its module and the first line of its documentation."""

    name: str
    module: str
    summary: str


def list_registered() -> dict[str, list[Registered]]:
    """Return everything that option files can name, by kind, sorted; call :func:`load_plugins` first."""
    return {
        kind: sorted((_describe(name, obj) for name, obj in registry), key=lambda entry: entry.name.lower())
        for kind, registry in registries().items()
    }


def _describe(name: str, obj: Any) -> Registered:
    lines = (inspect.getdoc(obj) or "").strip().splitlines()
    return Registered(name, obj.__module__, lines[0] if lines else "")
