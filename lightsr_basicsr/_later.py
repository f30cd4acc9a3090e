"""Let BasicSR import torchvision and SciPy when it uses them: with them its import takes three times as long.

Any ``import basicsr.x`` imports all of BasicSR, and most of that time goes to two libraries of which running a network
needs nothing. Where they are imported already, and in processes that train, nothing is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LATER = ("torchvision", "scipy")
COMPILER = "torch._dynamo"


class Later:
    """Stands for something in a module, which is imported as soon as it is called, or asked for a part of it.

    Args:
        finder (_Finder): What served the module; it serves nothing more as soon as the real one is needed.
        module (str): The module.
        name (str): What is meant in it.
    """

    def __init__(self, finder: _Finder, module: str, name: str) -> None:
        self._place = finder, module, name

    def _found(self) -> Any:
        finder, module, name = self._place
        finder.stop()
        found = import_module(module)
        return getattr(found, name) if hasattr(found, name) else import_module(f"{module}.{name}")

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self._found()(*args, **settings)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)

    def __mro_entries__(self, bases: tuple) -> tuple:
        """Let a class derive from what this stands for."""
        return (self._found(),)


class _Finder:
    """Serves empty modules for the libraries, whose parts are :class:`Later`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.active = names, True

    def stop(self) -> None:
        """Leave the libraries to Python again."""
        if self.active:
            self.active = False
            sys.meta_path.remove(self)
            for name in [name for name in sys.modules if name.split(".")[0] in self.names]:
                del sys.modules[name]

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return a spec for one of the libraries or of their modules."""
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in self.names else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its parts."""

        def part(name: str) -> Any:
            later = Later(self, module.__name__, name)
            if not self.active:  # a module that was imported as a whole is asked when it is used
                return later._found()
            if name.startswith("__"):
                raise AttributeError(name)
            return later

        module.__getattr__ = part


@contextmanager
def heavy_imports_later(names: Sequence[str] = LATER) -> Iterator[None]:
    """Import within this block without libraries that are slow to import; they are imported when they are used."""
    finder = _Finder([name for name in names if name not in sys.modules])
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.stop()


def import_basicsr() -> None:
    """Import BasicSR for a process that does not train, unless it is imported."""
    if "basicsr" not in sys.modules:
        with heavy_imports_later():
            import_module("basicsr")


@contextmanager
def without_compiler() -> Iterator[None]:
    """Run operations of torch within this block without its compiler, whose import takes longer than most uses of it.

    Why: modes of dispatch and kernels for ``meta`` tensors import it, only to keep it from compiling them. Since: torch
    2.1. Who asks for anything else of it gets the real one.
    """
    import_module("torch")
    served = None if COMPILER in sys.modules else _stand_in_for_compiler()
    try:
        yield
    finally:
        if served:
            _withdraw(served)


def _stand_in_for_compiler() -> ModuleType:
    module = ModuleType(COMPILER)

    def part(asked: str) -> Any:
        if asked.startswith("__"):
            raise AttributeError(asked)
        _withdraw(module)
        return getattr(import_module(COMPILER), asked)

    module.disable = lambda function, *args, **settings: function
    module.__getattr__ = part
    sys.modules[COMPILER] = sys.modules["torch"]._dynamo = module
    return module


def _withdraw(module: ModuleType) -> None:
    torch = sys.modules["torch"]
    if sys.modules.get(COMPILER) is module:
        del sys.modules[COMPILER]
    if vars(torch).get("_dynamo") is module:
        del torch._dynamo
