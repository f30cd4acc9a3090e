"""Plugins of the `basicsr` command: packages that register networks, models, data sets, losses or metrics of BasicSR.

Every installed package with an entry point in the group ``basicsr.plugins`` is one, and every package that an option
file or the command line names.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
import warnings
from dataclasses import dataclass
from typing import Any

from lightsr_basicsr.errors import UserError, short_message
from lightsr_basicsr.fields import Field, several
from lightsr_basicsr.registry import PluginWarning

GROUP = "basicsr.plugins"
# Of a plugin in BasicSR's form: where its scripts look for what registers names, if its ``__init__`` does not.
PARTS = ("archs", "data", "losses", "metrics", "models")
PACKAGE = Field(
    "A package, as Python imports it.",
    "a name that Python can import, such as realesrgan",
    lambda value: isinstance(value, str) and all(part.isidentifier() for part in value.split(".")),
    {"type": "string", "pattern": r"^[^\W\d]\w*(\.[^\W\d]\w*)*$"},
)
OPTIONS: dict[str, Field] = {
    "plugins": several(
        "Packages whose networks, models, data sets, losses and metrics the file names; they are imported first.",
        PACKAGE,
        null=True,
    ),
}
# What `import_plugins` imported in this process, in order.
imported: list[str] = []


class PluginError(UserError):
    """A package that an option file or the command line names cannot be imported. The message says what to do."""


@dataclass(frozen=True)
class Plugin:
    """One entry point: its name, the module it imports, its distribution with version, and why its import failed."""

    name: str
    module: str
    distribution: str
    error: str = ""


def load_plugins() -> list[Plugin]:
    """Import BasicSR and every plugin with an entry point; the ``error`` of one that fails does not stop the others."""
    importlib.import_module("basicsr")
    return [_load(entry) for entry in importlib.metadata.entry_points(group=GROUP)]


def _load(entry: importlib.metadata.EntryPoint) -> Plugin:
    distribution = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
    error = ""
    try:
        entry.load()
    except (Exception, SystemExit) as problem:
        # Another project's import may raise anything, and must not stop the command.
        error = short_message(problem)
    return Plugin(entry.name, entry.value, distribution, error)


def import_plugins(named: Any) -> None:
    """Import packages, and those of their parts ``archs``, ``data``, ... that they have.

    A package of which nothing is registered is told as a :class:`PluginWarning`.

    Args:
        named (Any): Names of packages, as in ``plugins`` of an option file; None for none.

    Raises:
        PluginError: With every package that is missing or fails.
    """
    if problem := OPTIONS["plugins"].problem(named):
        raise PluginError(f"plugins: {problem}.")
    problems = [text for name in dict.fromkeys(named or ()) if (text := _import(name))]
    if problems:
        count = f"{len(problems)} plugins cannot be imported."
        raise PluginError("\n  ".join([count, *problems] if len(problems) > 1 else problems))


def _import(name: str) -> str:
    """Return why a plugin cannot be imported, '' if it can."""
    importlib.import_module("basicsr")
    before = len(_modules())
    try:
        module = importlib.import_module(name)
        for part in PARTS:
            if hasattr(module, "__path__") and importlib.util.find_spec(f"{name}.{part}"):
                importlib.import_module(f"{name}.{part}")
    except ModuleNotFoundError as error:
        return _missing(name, error.name or str(error))
    except (Exception, SystemExit) as error:  # another project's import may raise anything
        return f"plugin {name} cannot be imported: {short_message(error)}"
    if name not in imported:
        imported.append(name)
    package = f"{name.partition('.')[0]}."
    if len(_modules()) == before and not any(each.startswith(package) for each in _modules()):
        text = (
            f"plugin {name} registers no name for option files: is {getattr(module, '__file__', None)} the right one?"
        )
        warnings.warn(text, PluginWarning, stacklevel=3)
    return ""


def _modules() -> list[str]:
    """Return the module of every registered name."""
    return [f"{entry.module}." for entries in list_registered().values() for entry in entries]


def _missing(name: str, module: str) -> str:
    """Return what to do about a plugin that is missing, or that misses ``module``."""
    package = module.partition(".")[0]
    if package == name.partition(".")[0]:
        if package != module:
            return f"plugin {name}: the package {package} is there, but it has no {module}: is it another release?"
        return (
            f"plugin {name} is not installed in {sys.prefix}: `pip install {package}`, where it is published so; "
            "of a checkout `pip install --no-deps FOLDER`, or PYTHONPATH=FOLDER before the command"
        )
    if package == "basicsr":
        return f"plugin {name} needs {module}, which this BasicSR does not have: is it for another release?"
    return f"plugin {name} needs {package}, which is not installed: pip install {package}"


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
