"""Find the pictures and films that a user means: files, folders and patterns. Imports nothing heavy."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from os.path import expanduser
from pathlib import Path
from typing import NamedTuple

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.film.names import MISSING, is_film, is_installed
from lightsr_basicsr.pictures.fitting import SUFFIXES
from lightsr_basicsr.pictures.reading import printable


class UpscaleError(UserError):
    """The task as a whole is not possible; a single bad file is reported in the result instead."""


class Input(NamedTuple):
    """A file, its place below the output's folder, and whether the user named it himself."""

    path: Path
    place: Path
    named: bool


class Failure(NamedTuple):
    """A file that was not enlarged, and why."""

    path: Path
    reason: str


@dataclass
class Inputs:
    """What was found."""

    files: list[Input] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    others: int = 0  # files in folders that are no pictures and no films by their names


def find_inputs(names: Sequence[str], recursive: bool = False, output: Path | None = None) -> Inputs:
    """Return the files that are meant, each once, in the order of ``names`` and sorted within a folder.

    Args:
        names (Sequence[str]): Files, folders, and patterns with ``*``, ``?`` or ``**``.
        recursive (bool): Whether folders stand for all below them. Default: False.
        output (Path | None): A folder that is left out, with all below it. Default: None.

    Raises:
        UpscaleError: If one of them does not exist, or a folder holds no picture and no film.
    """
    found, seen = Inputs(), set()
    for name in names:
        for path in _paths_of(name):
            inputs = _of_folder(path, recursive, output, found) if path.is_dir() else [_named(path, found)]
            for each in filter(None, inputs):
                real = os.path.realpath(each.path)
                if real not in seen:
                    seen.add(real)
                    found.files.append(each)
    return found


def _paths_of(name: str) -> list[Path]:
    path = Path(expanduser(name))
    if os.path.lexists(path):
        return [path]
    if glob.has_magic(name):
        matches = sorted(glob.glob(expanduser(name), recursive=True))
        if matches:
            return [Path(each) for each in matches]
        raise UpscaleError(f"No file matches {printable(path)} (looked from {Path.cwd()}): check the pattern.")
    raise UpscaleError(f"There is no input {printable(path)} (looked from {Path.cwd()}).{_similar(path)}")


def _similar(path: Path) -> str:
    try:
        close = get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1)
    except OSError:
        return ""
    return f" Did you mean {printable(path.parent / close[0])}?" if close else ""


def _named(path: Path, found: Inputs) -> Input | None:
    """Return a file that was named, of any ending; None for one that cannot be enlarged."""
    if not path.is_file():
        reason = "is a link to a file that does not exist" if path.is_symlink() else "is no file and no folder"
        found.failed.append(Failure(path, reason))
    elif is_film(path) and not is_installed():
        found.failed.append(Failure(path, MISSING))
    else:
        return Input(path, Path(path.name), named=True)
    return None


def _of_folder(folder: Path, recursive: bool, output: Path | None, found: Inputs) -> list[Input]:
    before, failed, inputs = found.others, len(found.failed), []
    skipped = None if output is None else os.path.realpath(output)
    for path in _walk(folder, skipped, found) if recursive else sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        if is_film(path) and not is_installed():
            found.failed.append(Failure(path, MISSING))
        elif path.suffix.lower() in SUFFIXES or is_film(path):
            inputs.append(Input(path, path.relative_to(folder), named=False))
        else:
            found.others += 1
    if not inputs and len(found.failed) == failed:
        others = f", and {found.others - before} other files" if found.others > before else ""
        hint = "" if recursive or not _has_folders(folder) else ": --recursive looks into its sub-folders"
        raise UpscaleError(f"{printable(folder)} holds no pictures ({', '.join(SUFFIXES)}) and no films{others}{hint}.")
    return inputs


def _walk(folder: Path, skipped: str | None, found: Inputs) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        found.failed.append(Failure(Path(os.fsdecode(error.filename)), f"cannot be read: {error.strerror}"))

    for root, folders, files in os.walk(folder, onerror=failed):
        folders[:] = _kept(folders, root, skipped)
        yield from (Path(root, name) for name in sorted(files))


def _kept(folders: Iterable[str], root: str, skipped: str | None) -> list[str]:
    visible = sorted(name for name in folders if not name.startswith("."))
    return [name for name in visible if os.path.realpath(os.path.join(root, name)) != skipped]


def _has_folders(folder: Path) -> bool:
    return any(each.is_dir() and not each.name.startswith(".") for each in folder.iterdir())
