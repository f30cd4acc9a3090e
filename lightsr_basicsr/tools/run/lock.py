"""Keep two runs from one folder: a lock file beside it, which says who holds it.

It lies beside the folder and not in it, since a new run renames the folder of an earlier one. On one machine, whether
the holder is alive is asked of the system. Otherwise the lock shows it: its holder touches it every few seconds.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightsr_basicsr import processes
from lightsr_basicsr.errors import UserError

# Seconds between two signs of life; how long to wait for one (a network folder may show it a minute late); and a look.
BEAT, PATIENCE, LOOK = 10.0, 90.0, 0.2
# Seconds in which a lock that was just created is written.
WRITING = 1.0
ATTEMPTS = 5

Holder = dict[str, Any]


class LockedError(UserError):
    """A run's folder is in use by another run. The message says by which."""


@contextmanager
def locked(folder: Path, report: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the lock of a run's folder, which need not exist.

    Args:
        folder (Path): The folder; its parent is created.
        report (Callable): Called with a sentence before a wait.

    Raises:
        LockedError: If another run that is alive holds it.
        OSError: If the lock cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    place, own, ended = lock_file(folder), _this_process(), threading.Event()
    _acquire(place, own, folder, report)
    beats = threading.Thread(target=_beat, args=(place, ended), daemon=True)
    beats.start()
    try:
        yield
    finally:
        ended.set()
        beats.join()
        if _read(place) == own:
            with suppress(OSError):  # of a folder that is read-only by now; the lock is stale then
                place.unlink(missing_ok=True)


def lock_file(folder: Path) -> Path:
    """Return the path of the lock of a run's folder.

    >>> lock_file(Path("experiments/x4")).name
    '.x4.lock'
    """
    return folder.with_name(f".{folder.name}.lock")


def _acquire(place: Path, own: Holder, folder: Path, report: Callable[[str], None]) -> None:
    for _ in range(ATTEMPTS):
        if _create(place, own):
            return
        holder = _read_written(place)
        if holder is not None and _is_alive(place, holder, report):
            break
        if holder is not None:
            _remove_stale(place, holder)
    pid, host, started = map((_read(place) or {}).get, ("pid", "host", "started"), ("?",) * 3)
    raise LockedError(
        f"{folder} is in use by another run: process {pid} on {host}, started {started}. Wait for its end, stop it, or "
        f"choose another name. The lock is {place}."
    )


def _create(place: Path, own: Holder) -> bool:
    """Create the lock; return False if there is one."""
    try:
        handle = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(handle, json.dumps(own).encode())
    except OSError as error:  # a full disk
        place.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(place)) from error
    finally:
        os.close(handle)
    return True


def _read(place: Path) -> Holder | None:
    """Return the holder, {} if the lock does not say, None if there is no lock."""
    try:
        holder = json.loads(place.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _read_written(place: Path) -> Holder | None:
    """Return the holder as ``_read`` does, with time for one who has created the lock and is about to write it."""
    end = time.monotonic() + WRITING
    while not (holder := _read(place)) and holder is not None and time.monotonic() < end:
        time.sleep(LOOK / 20)
    return holder


def _is_alive(place: Path, holder: Holder, report: Callable[[str], None]) -> bool:
    own, pid = _this_process(), holder.get("pid")
    if all(holder.get(key) == own[key] for key in ("host", "space")) and type(pid) is int and pid > 0:
        return processes.runs(pid, holder.get("mark"))
    who = f"process {pid} on {holder['host']}" if "host" in holder else "an unknown process"
    report(f"{place} is held by {who}: looking up to {PATIENCE:.0f} s for a sign of life.")
    return _shows_life(place)


def _shows_life(place: Path) -> bool:
    """Return whether the lock is touched within the time that its holder has for it."""
    before, end = _look_at(place), time.monotonic() + PATIENCE
    while time.monotonic() < end:
        time.sleep(LOOK)
        if (now := _look_at(place)) != before:
            return now is not None
    return False


def _look_at(place: Path) -> tuple[int, ...] | None:
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _remove_stale(place: Path, holder: Holder) -> None:
    """Remove the lock of ``holder``, and no other: a third run may have replaced it meanwhile."""
    with _alone(place.parent) as alone:
        if alone:
            if _read(place) == holder:
                place.unlink(missing_ok=True)
            return
    aside = place.with_name(f"{place.name}.{os.getpid()}")
    try:
        place.rename(aside)
    except FileNotFoundError:
        return
    if _read(aside) != holder:
        with suppress(OSError, NotImplementedError):
            os.link(aside, place)
    aside.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Keep other processes from this block; yield whether the system and the folder can (network folders may not)."""
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        able = True
    except OSError:
        able = False
    try:
        yield able
    finally:
        os.close(handle)


def _beat(place: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(place)


def _this_process() -> Holder:
    started, pid = time.strftime("%Y-%m-%d %H:%M:%S %z"), os.getpid()
    return {
        "host": socket.gethostname(),
        "pid": pid,
        "started": started,
        "space": processes.space(),
        "mark": processes.mark_of(pid),
    }
