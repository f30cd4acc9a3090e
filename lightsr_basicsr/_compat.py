"""Make unmodified BasicSR 1.4.2, its GitHub head and ``basicsr-fixed`` work on current libraries, on CPU and GPU.

:func:`install` runs from the package's ``__init__``, so spawned workers have it too. It adds two finders to
``sys.meta_path`` and imports nothing; the fixes of ``_fixes`` run once, right after BasicSR was imported. Every fix
checks for its fault (never for a version), so a BasicSR or a library without it is left alone. Nothing is printed.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

applied: list[str] = []


class FunctionalTensorFinder:
    """Serve ``torchvision.transforms.functional_tensor`` where torchvision has it no longer.

    Why: BasicSR 1.4.2 imports ``rgb_to_grayscale`` from it, and any ``import basicsr.x`` runs that line.
    Since: torchvision 0.17. Until: a BasicSR release imports from ``transforms.functional`` (its head does).
    """

    name = "torchvision.transforms.functional_tensor"

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> Any:
        """Return a spec for the one missing module; last in ``sys.meta_path``, so an existing module wins."""
        if name != cls.name:
            return None
        return importlib.machinery.ModuleSpec(name, cls)

    @staticmethod
    def create_module(spec: Any) -> None:
        """Let Python create the module."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Add the one function that BasicSR imports."""
        from torchvision.transforms.functional import rgb_to_grayscale

        module.rgb_to_grayscale = rgb_to_grayscale


class BasicsrWatcher:
    """Call ``after`` as soon as anybody has imported ``basicsr``."""

    def __init__(self, after: Callable[[], None]) -> None:
        self.after = after

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Return the other finders' spec for ``basicsr``, with our call added at the end of its execution."""
        if name != "basicsr":
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            self._watch(spec.loader)
        return spec

    def _watch(self, loader: Any) -> None:
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            if module.__name__ == "basicsr":
                self.after()

        loader.exec_module = exec_module


def install(after: Callable[[], None]) -> None:
    """Make BasicSR importable, and apply the fixes and then call ``after`` when it has been imported.

    Idempotent. Where BasicSR is already imported, both happen now.
    """
    from lightsr_basicsr.pictures.limits import MOST_PIXELS, PIXELS_VARIABLE

    if FunctionalTensorFinder not in sys.meta_path:
        sys.meta_path.append(FunctionalTensorFinder)
    # OpenCV reads it once, while it is imported; otherwise it allows 3 GB, also to BasicSR's own data sets.
    os.environ.setdefault(PIXELS_VARIABLE, str(MOST_PIXELS))
    # torchvision 0.15 and 0.16 warn of that module at each `import basicsr`; users of BasicSR cannot act on it.
    warnings.filterwarnings("ignore", "The torchvision.transforms.functional_tensor module", UserWarning)

    def finish() -> None:
        apply()
        after()

    if "basicsr" in sys.modules:
        finish()
    elif not any(isinstance(finder, BasicsrWatcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, BasicsrWatcher(finish))


def apply() -> None:
    """Apply every fix whose fault is present, and list it in ``applied``; a second call does nothing."""
    from lightsr_basicsr._fixes import FIXES

    for fix in FIXES:
        name = fix.__name__
        if name in applied:
            continue
        try:
            needed = fix()
        except (ImportError, AttributeError):  # this BasicSR has no such part
            continue
        if needed:
            applied.append(name)
