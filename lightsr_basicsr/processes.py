"""Processes of this machine: whether one runs, and which one it is where its number is used again."""

from __future__ import annotations

import os
import time
from pathlib import Path


def space() -> str:
    """Return what tells apart machines and containers of one name; processes of others cannot be asked for."""
    if os.name != "posix":
        return f"{os.name} {time.time_ns()}"  # asking for a process may end it
    try:
        return os.readlink("/proc/self/ns/pid") + Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def mark_of(pid: int) -> str:
    """Return when a process was started, which tells it from a later one of the same number; '' if unknown."""
    fields = stat_of(pid)
    return fields[19] if len(fields) > 19 else ""


def runs(pid: int, mark: str | None = None) -> bool:
    """Return whether a process of this machine runs, and is the one with a mark, where both marks are known."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        pass
    if stat_of(pid)[:1] in (["Z"], ["X"]):  # killed, though its parent has not noticed
        return False
    return len({mark or "", mark_of(pid)} - {""}) <= 1


def stat_of(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name of the program, which may hold blanks; [] without /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
