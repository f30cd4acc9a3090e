"""Write a checkpoint whole or not at all, as :mod:`lightsr_basicsr.whole` does, with the errors of checkpoints."""

from __future__ import annotations

import io
from os import PathLike
from typing import Any

import torch

from lightsr_basicsr import whole
from lightsr_basicsr.checkpoints.files import CheckpointError


def write_whole(path: str | PathLike, content: bytes | memoryview, overwrite: bool = True) -> None:
    """Write ``content`` to ``path``, whole or not at all; an existing file is replaced only with ``overwrite``.

    Raises:
        CheckpointError: If it cannot be written, the content read back differs, or ``path`` exists and may not be
            overwritten.
    """
    whole.write_whole(path, content, overwrite, CheckpointError)


def write_pickle(path: str | PathLike, content: Any) -> None:
    """Write ``content`` as ``torch.save`` does, whole or not at all.

    Raises:
        CheckpointError: If it cannot be written.
    """
    buffer = io.BytesIO()  # torch's own file writer may end the process on a full disk
    torch.save(content, buffer)
    write_whole(path, buffer.getbuffer())
