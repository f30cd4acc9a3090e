"""Write a file whole or not at all: whatever happens, its name holds the old content or the new one."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from lightsr_basicsr.checkpoints.files import CheckpointError

EXISTS = "{} already exists: replace it with --overwrite, or choose another name with -o."
PART = ".part"


def write_whole(path: str | PathLike, content: bytes | memoryview, overwrite: bool = True) -> None:
    """Write ``content`` to a temporary file beside ``path``, read it back, and rename it; else leave ``path`` as it is.

    Args:
        path (str | PathLike): The file.
        content (bytes | memoryview): All of it.
        overwrite (bool): Whether to overwrite an existing file, or the target of a symbolic link. Default: True.

    Raises:
        CheckpointError: If it cannot be written, the content read back differs, or ``path`` exists and may not be
            overwritten.
    """
    path = Path(path)
    place = Path(os.path.realpath(path)) if overwrite else path
    part = place.with_name(f".{place.name[:40]}.{os.getpid()}{PART}")  # a name may be 255 bytes long
    with _reported(path), _removed(part):
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if not _holds(part, content):
            raise CheckpointError(f"{path} was not written: what was read back differs. Is the disk damaged?")
        _publish(part, place, overwrite)
        _sync_folder(place.parent)


def write_pickle(path: str | PathLike, content: Any) -> None:
    """Write ``content`` as ``torch.save`` does, whole or not at all.

    Raises:
        CheckpointError: If it cannot be written.
    """
    buffer = io.BytesIO()  # torch's own file writer may end the process on a full disk
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer())


def remove_parts(folder: Path) -> list[Path]:
    """Remove the temporary files of writes into ``folder`` that were killed, and return them; no write may be going."""
    parts = [part for part in folder.glob(f".*{PART}") if part.is_file()]
    for part in parts:
        part.unlink(missing_ok=True)
    return parts


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{path} was not written: {error.strerror or error}.") from error


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


def _publish(part: Path, place: Path, overwrite: bool) -> None:
    """Rename a complete file."""
    try:
        (os.replace if overwrite else os.link)(part, place)
    except (OSError, NotImplementedError) as error:
        if overwrite:
            raise
        if os.path.lexists(place):
            raise CheckpointError(EXISTS.format(place)) from error
        os.replace(part, place)  # FAT and some network folders have no links


def _sync_folder(folder: Path) -> None:
    """Make the new name last over a loss of power, where folders can be synchronized (not on Windows)."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
