"""Describe an exported file by its metadata."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from lightsr_basicsr.runtimes.metadata import SUFFIXES, Metadata, format_of, read_metadata


@dataclass(frozen=True)
class ExportedInfo:
    """Description of an exported file.

    Attributes:
        path (str): The file.
        size (int): In bytes, including OpenVINO's separate file of weights.
        format (str): ``'onnx'``, ``'openvino'`` or ``'torchscript'``.
        metadata (Metadata | None): Of the file; None if another program wrote it.
    """

    path: str
    size: int
    format: str
    metadata: Metadata | None


def is_exported(path: str | PathLike) -> bool:
    """Return whether a file is an exported one, by its name.

    >>> is_exported("net_int8.xml"), is_exported("net.pth")
    (True, False)
    """
    return Path(path).suffix.lower() in SUFFIXES


def describe_exported(path: str | PathLike) -> ExportedInfo:
    """Return the description of an exported file; nothing in it is executed.

    Raises:
        BackendError: As :func:`lightsr_basicsr.runtimes.metadata.read_metadata`.
    """
    path, metadata = Path(path), read_metadata(path)
    parts = (path, path.with_suffix(".bin")) if format_of(path) == "openvino" else (path,)
    return ExportedInfo(
        str(path), sum(part.stat().st_size for part in parts if part.is_file()), format_of(path), metadata
    )
