"""Runs that torchrun starts again (``--max-restarts``): they go on from what the same launch has saved.

A launch leaves a file beside the run's folder when it begins. A state that is newer is its own, and no other's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lightsr_basicsr.checkpoints.whole import write_whole

# The identity of a launch that its user has not named.
UNNAMED = ("", "none")


def note_launch(folder: Path, environment: Mapping[str, str] = os.environ) -> None:
    """Write down that a launch that may be restarted begins a run in ``folder``; its lock must be held."""
    if environment.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0" and not _is_again(folder, environment):
        write_whole(launch_file(folder), _identity(environment).encode())


def has_saved(folder: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether torchrun has started this run before in the same launch, and a state was saved since."""
    if not _is_again(folder, environment):
        return False
    began = launch_file(folder).stat().st_mtime
    return any(state.stat().st_mtime >= began for state in (folder / "training_states").glob("*.state"))


def forget_launch(folder: Path) -> None:
    """Remove the file of a launch, whose run has ended well."""
    launch_file(folder).unlink(missing_ok=True)


def launch_file(folder: Path) -> Path:
    """Return the file that a launch leaves.

    >>> launch_file(Path("experiments/x4")).name
    '.x4.launch'
    """
    return folder.with_name(f".{folder.name}.launch")


def _is_again(folder: Path, environment: Mapping[str, str]) -> bool:
    """Return whether this is not the first start; agents of other machines do not count the restarts of one."""
    if environment.get("TORCHELASTIC_MAX_RESTARTS", "0") == "0":
        return False
    try:
        noted = launch_file(folder).read_text(errors="replace")
    except OSError:
        return False
    own = _identity(environment)
    return noted == own and (own not in UNNAMED or environment.get("TORCHELASTIC_RESTART_COUNT", "0") != "0")


def _identity(environment: Mapping[str, str]) -> str:
    return environment.get("TORCHELASTIC_RUN_ID", "")
