"""The folder of a run: its name, and whether a run can write there without harm to other files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.fields import file_name
from lightsr_basicsr.whole import remove_parts

PARENTS = {"train": "experiments", "test": "results"}
SUBFOLDERS = ("models", "training_states", "log", "visualization")


class FolderError(UserError):
    """A run cannot have the folder that its name asks for. The message says what to do."""


def run_folder(options: Mapping[str, Any], command: str, debug: bool = False) -> Path:
    """Return the folder of a run, below the working directory.

    Args:
        options (Mapping): Content of an option file.
        command (str): ``'train'`` or ``'test'``.
        debug (bool): Whether BasicSR puts ``debug_`` before the name.

    Raises:
        FolderError: If ``name`` is a text that is not the name of one folder: with ``../data``, BasicSR would rename
            another folder. The check of the option file reports what is no text.
    """
    name = options.get("name")
    if isinstance(name, str) and (problem := file_name().problem(name)):
        raise FolderError(f"name: {problem}; a run's folder is {PARENTS[command]}/NAME. Nothing was started.")
    prefix = "debug_" if debug and not str(name).startswith("debug") else ""
    return Path.cwd() / PARENTS[command] / f"{prefix}{name}"


def check_folder(folder: Path, tb_logger: bool) -> None:
    """Raise FolderError if ``folder`` holds something else than a run, which would be renamed, or is not writable."""
    if os.path.lexists(folder) and not _is_of_a_run(folder):
        raise FolderError(
            f"{folder} exists and is not the folder of a run, so it is not renamed to make room for one: choose "
            "another name, or move it away."
        )
    needed = [folder.parent, folder, *(folder / name for name in SUBFOLDERS)]
    if tb_logger:
        needed += [Path.cwd() / "tb_logger", Path.cwd() / "tb_logger" / folder.name]
    for place in dict.fromkeys(map(_existing, needed)):
        if not place.is_dir():
            raise FolderError(f"{place} is a file where the run needs a folder: move it away.")
        if not os.access(place, os.W_OK | os.X_OK):
            raise FolderError(
                f"{place} is not writable, and the run writes there: set its permissions right, or start from another "
                "working directory."
            )


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove the temporary files that a killed run left in its folder, and return them; its lock must be held."""
    return [part for place in (folder, *(folder / name for name in SUBFOLDERS[:2])) for part in remove_parts(place)]


def _is_of_a_run(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        content = list(folder.iterdir())
    except PermissionError:
        return True  # reported as not writable
    return not content or any(_is_made_by_a_run(file) for file in content)


def _is_made_by_a_run(file: Path) -> bool:
    return file.suffix in (".yml", ".yaml", ".log") if file.is_file() else file.name in SUBFOLDERS


def _existing(path: Path) -> Path:
    """Return the nearest existing one of ``path`` and its parents."""
    return next(place for place in (path, *path.parents) if place.exists())
