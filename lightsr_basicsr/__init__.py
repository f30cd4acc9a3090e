"""Lightweight super-resolution networks and training models for BasicSR.

Importing this package makes BasicSR importable on current libraries and registers our names as soon as BasicSR itself
is imported, whichever of the two comes first. It loads neither torch nor BasicSR on its own, so that ``basicsr --help``
is quick and a machine without BasicSR gets an explanation instead of a traceback.
"""

from importlib import import_module
from typing import Any

from lightsr_basicsr import _compat
from lightsr_basicsr.errors import require_basicsr

__version__ = "0.2.0"

# Public names that need torch, and their modules.
_LAZY = dict.fromkeys(("Identity", "UnknownNetworkError", "identify"), "checkpoints.identify")
_LAZY |= {"CheckpointError": "checkpoints", "Upscaler": "upscale.upscaler", "load": "upscale.loaded"}
_LAZY |= {"compare": "tools.compare.run", "report": "tools.report.run"}


def _register() -> None:
    from lightsr_basicsr import archs, data, losses, metrics, models  # noqa: F401


_compat.install(after=_register)


def __getattr__(name: str) -> Any:
    if name == "spandrel":
        return import_module(f"{__name__}.spandrel")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_basicsr()
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY, "spandrel"])
