"""Whether a run that is resumed is still trained on the same data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.options import read_options

AS_WRITTEN = "_as_written.yml"
HEAD = 3  # lines before an option file's own in BasicSR's copy: time and command line


def other_data(folder: Path, options: Mapping[str, Any]) -> str | None:
    """Return a warning if a run was trained on other data than it is to go on with, else None.

    Two trainings with one ``name`` share a folder, so that one would go on with the other's weights.

    Args:
        folder (Path): Of the run, with BasicSR's copy of the option file of its last start.
        options (Mapping): With which it is to go on.
    """
    copies = [file for file in folder.glob("*.yml") if not file.name.endswith(AS_WRITTEN)]
    if not copies:
        return None
    copy = max(copies, key=lambda file: file.stat().st_mtime)
    try:
        with open(copy, encoding="utf-8") as lines:
            if any("dataroot" in line for line in islice(lines, HEAD)):
                return None  # the command line named the data, and the copy does not have them
        before, now = _roots(read_options(copy)), _roots(options)
    except (UserError, OSError, UnicodeError):
        return None
    changed = next((key for key in before.keys() & now.keys() if _place(before[key]) != _place(now[key])), None)
    if changed is None:
        return None
    return (
        f"CAUTION: {os.path.relpath(folder)} was trained on {before[changed]} so far ({copy.name} there), and goes on "
        f"with {now[changed]}. If this is another training, stop it and give it another `name`: its checkpoints "
        "replace those of the earlier one."
    )


def _roots(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the folders and files of the training data by their keys."""
    datasets = options.get("datasets")
    train = datasets.get("train") if isinstance(datasets, Mapping) else None
    found = train if isinstance(train, Mapping) else {}
    return {key: value for key, value in found.items() if str(key).startswith("dataroot") and isinstance(value, str)}


def _place(root: str) -> str:
    return os.path.realpath(os.path.expanduser(root))
