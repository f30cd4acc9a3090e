"""The user's cache folder, which keeps official files under their own names."""

from __future__ import annotations

import os
import sys
import tempfile
from os.path import expanduser
from pathlib import Path

from lightsr_basicsr.weights.names import WeightsError

VARIABLE = "LIGHTSR_CACHE"
NAME = "lightsr-basicsr"


def cache_folder() -> Path:
    """Return the folder, which need not exist: ``$LIGHTSR_CACHE``, else the system's place for caches.

    That is ``$XDG_CACHE_HOME`` or ``~/.cache`` on Linux, ``~/Library/Caches`` on macOS, and ``%LOCALAPPDATA%`` on
    Windows, with ``lightsr-basicsr`` in it.

    Raises:
        WeightsError: If the user has no home folder.
    """
    own = os.environ.get(VARIABLE)
    folder = Path(expanduser(own)) if own else _system_folder() / NAME
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        raise WeightsError(f"There is no home folder for {folder}: name a folder in the environment as {VARIABLE}.")
    return folder.absolute()


def _system_folder() -> Path:
    if sys.platform == "darwin":
        return Path(expanduser("~/Library/Caches"))
    variable, usual = ("LOCALAPPDATA", "~/AppData/Local") if sys.platform == "win32" else ("XDG_CACHE_HOME", "~/.cache")
    given = os.environ.get(variable, "")
    return Path(given if os.path.isabs(given) else expanduser(usual))  # the XDG rules ignore a relative path


def folder_beside(source: Path) -> Path:
    """Return the folder for a file made from ``source``: its own, but for a file of the cache the working directory."""
    try:
        kept = source.absolute().parent == cache_folder()
    except WeightsError:
        kept = False
    return Path() if kept else source.parent


def make_folder(folder: Path) -> None:
    """Create a folder for weights where it is missing.

    Raises:
        WeightsError: If it cannot be created or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(
            f"The folder {folder} for weights cannot be written ({reason}): choose another with --folder, or in the "
            f"environment as {VARIABLE}."
        ) from error
