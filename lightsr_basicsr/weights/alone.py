"""Keep two processes from downloading one file at the same time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def alone(place: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a file, which need not exist; wait for another process, which ``report`` is told of.

    The system frees the lock of a process that was killed. Where it has no such locks (Windows, some network folders),
    nothing is locked, and only the checksum finds what two processes have mixed.
    """
    lock = place.with_name(f".{place.name}.lock")
    handle = None if fcntl is None else _acquire(lock, place, report)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                lock.unlink()
            os.close(handle)


def _acquire(lock: Path, place: Path, report: Callable[[str], None]) -> int | None:
    while True:
        handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            _wait(handle, place, report)
            if _is_file(handle, lock):
                return handle
        except OSError:  # the folder has no locks
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder has removed it meanwhile


def _wait(handle: int, place: Path, report: Callable[[str], None]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        report(f"another process is downloading {place}: waiting for it.")
        fcntl.flock(handle, fcntl.LOCK_EX)


def _is_file(handle: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(lock))
    except FileNotFoundError:
        return False
