"""Saving: files of a run are whole, and a failed save is an error."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

from lightsr_basicsr._fixes.detect import uses
from lightsr_basicsr._fixes.pictures import written_as_read
from lightsr_basicsr.checkpoints.files import CheckpointError
from lightsr_basicsr.checkpoints.whole import write_pickle
from lightsr_basicsr.errors import UserError

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
        with suppress(OSError):  # the folder may have been deleted or renamed during the run
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            return write_pickle(path, content)
        except CheckpointError as error:
            if not left:
                raise CheckpointError(WHAT_TO_DO.format(error)) from error
            time.sleep(PAUSE)


def images_are_written_or_reported() -> bool:
    """Write SR images whole, and end the run with the file's name if one cannot be written.

    Why: on a full disk OpenCV leaves empty files and reports success; where it fails, BasicSR does not say for which
    file. Since: always. Until: BasicSR writes what it has encoded.
    """
    from basicsr.utils import img_util

    original = img_util.imwrite
    if not uses(original, "cv2", "imwrite"):
        return False

    @functools.wraps(original, assigned=("__doc__", "__name__"), updated=())
    def imwrite(img: Any, file_path: str, params: list[int] | None = None, auto_mkdir: bool = True) -> None:
        import cv2

        path = Path(file_path)
        if written_as_read(path, img):
            return
        content = cv2.imencode(path.suffix, img, params or [])[1].tobytes()
        try:
            if auto_mkdir:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise UserError(
                f"{path} was not written: {error.strerror or error}. Make room on the disk or set the folder's "
                "permissions right, then run the same command again; a training goes on with --auto_resume."
            ) from error

    del imwrite.__wrapped__
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "basicsr"]:
        for name in [name for name, value in vars(module).items() if value is original]:
            setattr(module, name, imwrite)
    return True
