"""Saving: files of a run are whole, and a failed save is an error."""

from __future__ import annotations

import time
from collections.abc import Callable
from os import PathLike
from typing import Any

from lightsr_basicsr._fixes.detect import uses
from lightsr_basicsr.checkpoints.files import CheckpointError
from lightsr_basicsr.checkpoints.whole import write_pickle

TRIES, PAUSE = 3, 1.0  # seconds; network folders fail occasionally
WHAT_TO_DO = (
    "{} The run ends here, and the files of earlier saves are unchanged: make room on the disk or set the folder's "
    "permissions right, then run the same command with --auto_resume."
)


def failed_saves_end_the_run() -> bool:
    """Write checkpoints and training states whole or not at all, and end the run if one cannot be written.

    Why: a save that fails is tried again and then only logged, so that a run on a full disk ends with exit status 0 and
    empty files; one that is killed while it saves leaves a torn file. Since: always. Until: BasicSR raises the error.
    """
    from basicsr.models.base_model import BaseModel

    savers = {name: getattr(BaseModel, name) for name in ("save_network", "save_training_state")}
    faulty = {name: saver for name, saver in savers.items() if uses(saver, "save", "warning", "sleep")}
    for name, saver in faulty.items():
        setattr(BaseModel, name, _whole_or_error(saver))
    return bool(faulty)


def _whole_or_error(saver: Callable) -> Callable:
    """Return ``saver`` with its call of ``torch.save`` replaced, whose errors it would swallow."""

    def save(self: Any, *args: Any, **kwargs: Any) -> None:
        import torch

        errors: list[Exception] = []

        def write(content: Any, path: str) -> None:
            torch.save = original
            try:
                write_or_end(path, content)
            except Exception as error:
                errors.append(error)
            finally:
                torch.save = write

        original, torch.save = torch.save, write
        try:
            saver(self, *args, **kwargs)
        finally:
            torch.save = original
        if errors:
            raise errors[0]

    save.__name__, save.__doc__ = saver.__name__, saver.__doc__
    return save


def write_or_end(path: str | PathLike, content: Any) -> None:
    """Write a file of a run, or raise CheckpointError that says how to go on."""
    for left in reversed(range(TRIES)):
        try:
            return write_pickle(path, content)
        except CheckpointError as error:
            if not left:
                raise CheckpointError(WHAT_TO_DO.format(error)) from error
            time.sleep(PAUSE)
