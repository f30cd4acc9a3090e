"""Find the file that a user means: a path, or a name of one in this package or the cache. Nothing is downloaded."""

from __future__ import annotations

import os
import shlex
from os import PathLike
from os.path import expanduser
from pathlib import Path

from lightsr_basicsr.errors import short_message, unfinished_hint
from lightsr_basicsr.weights.content import find_problem
from lightsr_basicsr.weights.folder import cache_folder
from lightsr_basicsr.weights.names import WeightsError, entries_named, files, find_entry, similar


def find_weights(name_or_file: str | PathLike, folder: str | PathLike | None = None) -> Path:
    """Return an existing file, or the file of that name in this package or in the cache.

    Args:
        name_or_file (str | PathLike): A path, which wins, or a name such as ``IMDN_x4`` or ``IMDN_x4.pth``.
        folder (str | PathLike | None): Where to look for official files. Default: None, the cache.

    Raises:
        WeightsError: If there is neither. For a known name, the message has the command that fetches it.
    """
    path = Path(expanduser(name_or_file))
    try:
        os.stat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError):
        return path  # who reads it says what is wrong with it
    else:
        return path
    name = os.fspath(name_or_file)
    if not is_name(name):
        hint = fetch_hint(path) or unfinished_hint(path)
        if not hint and path.name == name and not path.suffix:
            hint = f"{similar(name)} `basicsr fetch --list` shows the names of official files."
        raise WeightsError(f"There is no checkpoint at {short_message(name)} (looked from {Path.cwd()}).{hint}")
    entry = find_entry(name)
    if folder is None and entry.in_package:
        return entry.in_package
    place = (cache_folder() if folder is None else Path(folder)) / entry.file
    command = f"basicsr fetch {entry.name}" + ("" if folder is None else f" --folder {shlex.quote(str(folder))}")
    if not place.is_file():
        raise WeightsError(
            f"There is no checkpoint at {name} (looked from {Path.cwd()}), and {entry.file} of {entry.source} is not "
            f"in {place.parent}: {command}"
        )
    if problem := find_problem(place, entry):
        raise WeightsError(f"{place} is not the official file: {problem}. Replace it: {command}")
    return place


def default_name(outscale: float | None = None) -> str:
    """Return the name of the network in this package that enlarges most, or just enough for ``outscale``.

    >>> default_name(), default_name(1.5), default_name(2), default_name(8)
    ('TinySR_x4', 'TinySR_x2', 'TinySR_x2', 'TinySR_x4')
    """
    ours = sorted((entry for entry in files() if entry.packaged), key=lambda entry: entry.scale)
    enough = [entry for entry in ours if outscale is not None and entry.scale >= outscale]
    return (enough[0] if enough else ours[-1]).name


def is_name(text: str) -> bool:
    """Return whether a text, which is no existing file, is the name of a network or file in the table.

    >>> is_name("IMDN_x4"), is_name("weights/IMDN_x4.pth")
    (True, False)
    """
    return os.path.basename(text) == text and bool(entries_named(text))


def fetch_hint(missing: Path) -> str:
    """Return a sentence with the command that puts an official file where it is missing, '' for any other file."""
    found = [entry for entry in entries_named(missing.name) if entry.file == missing.name]
    if not found:
        return ""
    folder = shlex.quote(str(missing.parent))
    return f" It is an official file: basicsr fetch {found[0].name} --folder {folder}"
