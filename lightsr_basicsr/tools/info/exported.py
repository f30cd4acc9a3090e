"""What can be said about an exported file: what it tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from lightsr_basicsr.runtimes.metadata import SUFFIXES, Metadata, format_of, read_metadata


@dataclass(frozen=True)
class ExportedInfo:
    """What an exported file is.

    Attributes:
        path (str): The file.
        size (int): In bytes; OpenVINO's weights, in a file beside it, included.
        format (str): ``'onnx'``, ``'openvino'`` or ``'torchscript'``.
        metadata (Metadata | None): What it tells about itself; None if another program wrote it.
    """

    path: str
    size: int
    format: str
    metadata: Metadata | None


def is_exported(path: str | PathLike) -> bool:
    """Tell by its name whether a file is an exported one."""
    return Path(path).suffix.lower() in SUFFIXES


def describe_exported(path: str | PathLike) -> ExportedInfo:
    """Return what is known about an exported file; nothing in it is executed.

    Raises:
        BackendError: As :func:`lightsr_basicsr.runtimes.metadata.read_metadata`.
    """
    path, metadata = Path(path), read_metadata(path)
    parts = (path, path.with_suffix(".bin")) if format_of(path) == "openvino" else (path,)
    return ExportedInfo(
        str(path), sum(part.stat().st_size for part in parts if part.is_file()), format_of(path), metadata
    )
