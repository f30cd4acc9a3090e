"""Where an exported file goes, and publishing it: all of its files, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from lightsr_basicsr.checkpoints import EXISTS
from lightsr_basicsr.checkpoints import SUFFIXES as CHECKPOINTS
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.runtimes.metadata import SUFFIXES

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".ts"}
WEIGHTS_BESIDE = ".bin"  # of a model of OpenVINO


def plain_path(path: str | PathLike) -> Path:
    """Return a path as the user meant it.

    Raises:
        BackendError: If no file can have it.
    """
    if "\0" in os.fspath(path):
        raise BackendError(f"A path cannot hold the character NUL, got {os.fspath(path)!r}.")
    return Path(path).expanduser()


def check_source(source: Path) -> None:
    """Raise BackendError if the source was exported already."""
    if source.suffix.lower() in SUFFIXES and source.is_file():
        raise BackendError(f"{source} is an exported file already: name the checkpoint that it was made of.")


def choose_target(
    source: Path, target: str | PathLike | None, file_format: str | None, precision: str
) -> tuple[Path, str]:
    """Return the file to write and its format: what is asked for, else what the suffix says, else ONNX.

    For int8 it is OpenVINO in the end.

    Args:
        source (Path): The checkpoint; by default the new file is beside it.
        target (str | PathLike | None): The new file or its folder.
        file_format (str | None): A key of ``FORMATS``.
        precision (str): Is part of the default name, unless it is ``'fp32'``.

    Raises:
        BackendError: If the format is not known, or is not the suffix's.
    """
    if file_format not in (None, *FORMATS):
        raise BackendError(f"`format` must be one of {', '.join(FORMATS)}, got {file_format!r}.")
    stem = source.stem if source.suffix.lower() in CHECKPOINTS else source.name
    usual = file_format or ("openvino" if precision == "int8" else "onnx")
    name = f"{stem}{'' if precision == 'fp32' else f'_{precision}'}{FORMATS[usual]}"
    if target is None:
        return source.with_name(name), usual
    place = plain_path(target)
    if place.is_dir() or str(target).endswith(os.sep):
        return place / name, usual
    told = SUFFIXES.get(place.suffix.lower())
    if told is None or file_format not in (None, told):
        wanted = [suffix for suffix, kind in SUFFIXES.items() if file_format in (None, kind)]
        raise BackendError(f"The name of {place} decides the format: it must end in {', '.join(wanted)}.")
    return place, told


def files_of(place: Path, file_format: str) -> list[Path]:
    """Return the files of a model, the one that names it last."""
    return [place.with_suffix(WEIGHTS_BESIDE), place] if file_format == "openvino" else [place]


def check_places(places: list[Path], source: Path, overwrite: bool) -> None:
    """Raise BackendError unless these files can be written."""
    for place in places:
        if place.exists() and source.exists() and place.samefile(source):
            raise BackendError(f"{place} is the checkpoint itself, and it stays: choose another name with -o.")
        if place.exists() and not place.is_file():
            raise BackendError(f"{place} is there and is no plain file: choose another name with -o.")
        if os.path.lexists(place) and not overwrite:
            raise BackendError(EXISTS.format(place))
    folder = _real(places[-1]).parent
    if not folder.is_dir():
        raise BackendError(f"There is no folder {folder}: create it first, or choose another with -o.")
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as trial:
            (Path(trial) / places[-1].name).touch()
    except OSError as error:
        raise BackendError(f"{places[-1]} cannot be written ({error.strerror}): choose another with -o.") from error


def _real(place: Path) -> Path:
    return Path(os.path.realpath(place))


@contextmanager
def workshop(places: list[Path], overwrite: bool) -> Iterator[list[Path]]:
    """Give files to write in place of ``places``, which get these names when the block ends well; else all vanish.

    Raises:
        BackendError: If they cannot be written, or one is there by now.
    """
    targets = [_real(place) for place in places] if overwrite else places
    try:
        with tempfile.TemporaryDirectory(dir=targets[-1].parent, prefix=".export-") as folder:
            parts = [Path(folder) / place.name for place in places]
            yield parts
            _publish(dict(zip(parts, targets, strict=True)), overwrite)
    except OSError as error:
        raise BackendError(f"{places[-1]} was not written: {error.strerror or error}.") from error


def _publish(moves: Mapping[Path, Path], overwrite: bool) -> None:
    """Move all files, or leave everything as it was."""
    before = {}
    for part, place in moves.items():
        if os.path.lexists(place):
            if not overwrite:
                raise BackendError(EXISTS.format(place))
            before[place] = shutil.copy2(place, part.with_name(f"{place.name}.before"))
    done = []
    try:
        for part, place in moves.items():
            _flush(part)
            done.append(place)
            os.replace(part, place)
    except BaseException:
        for place in done:
            if place in before:
                os.replace(before[place], place)
            else:
                place.unlink(missing_ok=True)
        raise


def _flush(part: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
