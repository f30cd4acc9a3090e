"""Whether a run goes on: what the lock beside its folder shows."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

from lightsr_basicsr import processes

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
    here = holder.get("space") == processes.space()
    if not processes.runs(pid, holder.get("mark") if here else None):
        # Processes of this machine and container are all seen, so that one that was killed is known at once.
        return not here and age <= UNSEEN_PATIENCE
    return age <= LOCK_PATIENCE
