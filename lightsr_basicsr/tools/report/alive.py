"""Whether a run goes on: what the lock beside its folder shows."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Seconds without a sign of life after which the holder of a lock is held to be dead. The lock is touched every ten
# seconds (a network folder may show it late); less where its process is not seen, which another container may have.
LOCK_PATIENCE, UNSEEN_PATIENCE = 90.0, 25.0


def lock_of(folder: Path) -> Path:
    """Return the path of the lock of a run's folder.

    >>> lock_of(Path("/experiments/x4")).name
    '.x4.lock'
    """
    return folder.absolute().with_name(f".{folder.absolute().name}.lock")


def is_held(folder: Path) -> bool:
    """Return whether a run that is alive holds the lock of its folder, on this machine or another."""
    lock = lock_of(folder)
    try:
        age, content = time.time() - lock.stat().st_mtime, json.loads(lock.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    holder = content if isinstance(content, dict) else {}
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or type(pid) is not int or pid <= 0 or os.name != "posix":
        return age <= LOCK_PATIENCE
    if not _runs(pid, holder):
        # Processes of this machine and container are all seen, so that one that was killed is known at once.
        return holder.get("space") != _space() and age <= UNSEEN_PATIENCE
    return age <= LOCK_PATIENCE


def _runs(pid: int, holder: Mapping[str, Any]) -> bool:
    """Return whether the process of a lock is seen here, and no later one of its number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        pass
    try:  # after the name of the program, which may hold blanks
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return True
    if fields[:1] in (["Z"], ["X"]):  # killed, though its parent has not noticed
        return False
    mark = fields[19] if len(fields) > 19 else ""
    return holder.get("space") != _space() or len({holder.get("mark"), mark} - {"", None}) <= 1


def _space() -> str:
    """Return what tells apart machines and containers of one name, as the lock has it; '' without /proc."""
    try:
        return os.readlink("/proc/self/ns/pid") + Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
