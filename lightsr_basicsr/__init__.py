"""Lightweight super-resolution networks and training models for BasicSR.

Importing this package makes BasicSR importable on current libraries and registers our names as soon as BasicSR itself
is imported, whichever of the two comes first. It loads neither torch nor BasicSR on its own, so that ``basicsr --help``
is quick and a machine without BasicSR gets an explanation instead of a traceback.
"""

from lightsr_basicsr import _compat

__version__ = "0.1.0"


def _register() -> None:
    from lightsr_basicsr import archs, data, models  # noqa: F401


_compat.install(after=_register)
