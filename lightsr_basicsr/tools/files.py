"""Files on the disk: how they are named, the checksum of one, and whether a new one can be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from os import PathLike
from os.path import expanduser
from pathlib import Path

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.weights.content import checksum
from lightsr_basicsr.whole import EXISTS

__all__ = [
    "TargetError",
    "check_ours",
    "check_target",
    "checksum",
    "lies_with",
    "no_folder",
    "plain_path",
    "split_title",
]


START = 4096  # bytes that tell what made a file


class TargetError(UserError):
    """A file cannot be written: its name, its folder or an existing file is in the way."""


def plain_path(path: str | PathLike) -> Path:
    """Return a path with ``~`` expanded.

    Raises:
        TargetError: If it contains the character NUL, which no file name can.

    >>> plain_path("weights/net.pth").name
    'net.pth'
    """
    if "\0" in os.fspath(path):
        raise TargetError(f"A path cannot hold the character NUL, got {os.fspath(path)!r}: remove it.")
    return Path(expanduser(path))


def split_title(text: str | PathLike) -> tuple[str | None, str]:
    """Return title and rest of ``TITLE=REST``; None without a title. What exists is a file, whatever its name.

    >>> split_title("Set5=data/Set5/LR"), split_title("IMDN_x4")
    (('Set5', 'data/Set5/LR'), (None, 'IMDN_x4'))
    """
    text = os.fspath(text)
    title, mark, rest = text.partition("=")
    if not mark or os.path.lexists(expanduser(text)) or not title.strip() or not rest:
        return None, text
    return title.strip(), rest


def check_target(place: Path, source: Path, overwrite: bool) -> None:
    """Raise TargetError unless ``place`` can be written.

    Args:
        place (Path): The new file. A symbolic link stands for its destination if ``overwrite``.
        source (Path): The file it is made from, which is never replaced.
        overwrite (bool): Whether to replace an existing file.
    """
    # Unlike those of pathlib, these functions accept names that are too long.
    exists = os.path.exists(place)
    if exists and os.path.exists(source) and os.path.samefile(place, source):
        raise TargetError(f"{place} is the source itself, which is never replaced: choose another name with -o.")
    if exists and not os.path.isfile(place):
        raise TargetError(f"{place} exists and is no plain file: choose another name with -o.")
    if os.path.lexists(place) and not overwrite:
        raise TargetError(EXISTS.format(place))
    real = Path(os.path.realpath(place)) if overwrite else place
    if not os.path.isdir(real.parent):
        raise TargetError(f"There is no folder {real.parent}: create it first, or choose another with -o.")
    try:
        with tempfile.TemporaryDirectory(dir=real.parent, prefix=".trial-") as trial:
            (Path(trial) / real.name).touch()
    except OSError as error:
        raise TargetError(
            f"{place} cannot be written ({error.strerror}): choose another name or folder with -o."
        ) from error


def check_ours(
    path: Path, is_ours: Callable[[bytes], bool], kind: str, advice: str, error: type[UserError] = TargetError
) -> None:
    """Raise unless a file is missing, empty, or one that may be replaced because its command made it.

    Args:
        path (Path): The file.
        is_ours (Callable): Whether its first ``START`` bytes are those of such a file.
        kind (str): What the command makes: ``'a report'``.
        advice (str): What to do: ``'choose another name with -o'``.
        error (type[UserError]): What is raised. Default: TargetError.
    """
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            content = file.read(START)
    except OSError:  # a folder, or a file of somebody else
        content = None
    if content is None or (content and not is_ours(content)):
        raise error(f"{printable(path)} exists and is not {kind}, so it is not replaced: {advice}.")


def no_folder(path: Path, error: OSError) -> str:
    """Return why a folder cannot be made or written to: what is in its way, or the system's reason."""
    for place in (path, *path.parents):
        if os.path.lexists(place) and not os.path.isdir(place):
            named = "it" if place == path else printable(place)
            return f"{named} is {'a link to nothing' if os.path.islink(place) else 'a file'}"
    return error.strerror or str(error)


def lies_with(one: Path, other: Path) -> bool:
    """Return whether two paths are the same after links, or one lies in the other.

    >>> lies_with(Path("data/new"), Path("data")), lies_with(Path("data"), Path("database"))
    (True, False)
    """
    real = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    return real[0] == real[1] or real[0] in real[1].parents or real[1] in real[0].parents
