"""Write a file whole or not at all: whatever happens, its name holds the old content or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from lightsr_basicsr.errors import UserError

EXISTS = "{} already exists: replace it with --overwrite, or choose another name with -o."
PART = ".part"


def write_whole(
    path: str | PathLike, content: bytes | memoryview, overwrite: bool = True, error: type[UserError] = UserError
) -> None:
    """Write ``content`` to a temporary file beside ``path``, read it back, and rename it; else leave ``path`` as it is.

    Args:
        path (str | PathLike): The file.
        content (bytes | memoryview): All of it.
        overwrite (bool): Whether to overwrite an existing file, or the target of a symbolic link. Default: True.
        error (type[UserError]): What is raised. Default: UserError.

    Raises:
        UserError: If it cannot be written, the content read back differs, or ``path`` exists and may not be
            overwritten.
    """
    path = Path(path)
    place = Path(os.path.realpath(path)) if overwrite else path
    part = place.with_name(f".{place.name[:40]}.{os.getpid()}{PART}")  # a name may be 255 bytes long
    with _reported(path, error), _removed(part):
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not _holds(part, content):
            raise error(f"{path} was not written: what was read back differs. Is the disk damaged?")
        _publish(part, place, overwrite, error)
        _sync_folder(place.parent)


@contextmanager
def made_whole(path: str | PathLike, overwrite: bool = True, error: type[UserError] = UserError) -> Iterator[BinaryIO]:
    """Give a temporary file beside ``path`` to write to, and rename it at the end; an error leaves ``path`` as it was.

    For content that does not fit into memory; arguments and errors as of :func:`write_whole`.
    """
    path = Path(path)
    place = Path(os.path.realpath(path)) if overwrite else path
    part = place.with_name(f".{place.name[:40]}.{os.getpid()}{PART}")
    with _removed(part):
        with _reported(path, error):
            file = part.open("w+b")
        with file:
            yield file
            with _reported(path, error):
                file.flush()
                os.fsync(file.fileno())
        with _reported(path, error):
            _publish(part, place, overwrite, error)
            _sync_folder(place.parent)


def remove_parts(folder: Path) -> list[Path]:
    """Remove the temporary files of writes into ``folder`` that were killed, and return them; no write may be going."""
    parts = [part for part in folder.glob(f".*{PART}") if part.is_file()]
    for part in parts:
        part.unlink(missing_ok=True)
    return parts


@contextmanager
def _reported(path: Path, raised: type[UserError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise raised(f"{path} was not written: {error.strerror or error}.") from error


@contextmanager
def _removed(part: Path) -> Iterator[None]:
    try:
        yield
    finally:
        part.unlink(missing_ok=True)


def _holds(path: Path, content: bytes | memoryview) -> bool:
    block, wanted = 1 << 20, memoryview(content)
    with path.open("rb") as file:
        same = all(file.read(block) == wanted[start : start + block] for start in range(0, len(wanted), block))
        return same and not file.read(1)


def _publish(part: Path, place: Path, overwrite: bool, raised: type[UserError]) -> None:
    """Rename a complete file."""
    try:
        (os.replace if overwrite else os.link)(part, place)
    except (OSError, NotImplementedError) as error:
        if overwrite:
            raise
        if os.path.lexists(place):
            raise raised(EXISTS.format(place)) from error
        os.replace(part, place)  # FAT and some network folders have no links


def _sync_folder(folder: Path) -> None:
    """Make the new name last over a loss of power, where folders can be synchronized (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
