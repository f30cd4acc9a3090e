"""Choose the files of an export, and publish all of them or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from lightsr_basicsr.checkpoints import SUFFIXES as CHECKPOINTS
from lightsr_basicsr.runtimes.metadata import SUFFIXES
from lightsr_basicsr.tools.files import TargetError, plain_path
from lightsr_basicsr.weights.folder import folder_beside
from lightsr_basicsr.whole import EXISTS

FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torchscript": ".ts", "ncnn": ".param"}
WEIGHTS_BESIDE, WITH_WEIGHTS = ".bin", ("openvino", "ncnn")  # formats of two files, of which the other is named so


def choose_target(
    source: Path, target: str | PathLike | None, file_format: str | None, precision: str
) -> tuple[Path, str]:
    """Return the file to write and its format: ``file_format``, else that of the suffix, else ONNX, OpenVINO for int8.

    Args:
        source (Path): The checkpoint; by default the new file is beside it, or in the working directory
            for a file of the cache.
        target (str | PathLike | None): The new file or its folder.
        file_format (str | None): A key of ``FORMATS``.
        precision (str): Part of the default name, unless it is ``'fp32'``.

    Raises:
        TargetError: If the source is an exported file, or the format is unknown or not that of the suffix.
    """
    if source.suffix.lower() in SUFFIXES and source.is_file():
        raise TargetError(f"{source} is an exported file already: name the checkpoint that it was made of.")
    if file_format not in (None, *FORMATS):
        raise TargetError(f"`format` must be one of {', '.join(FORMATS)}, got {file_format!r}.")
    stem = source.stem if source.suffix.lower() in CHECKPOINTS else source.name
    usual = file_format or ("openvino" if precision == "int8" else "onnx")
    name = f"{stem}{'' if precision == 'fp32' else f'_{precision}'}{FORMATS[usual]}"
    if target is None:
        return folder_beside(source) / name, usual
    place = plain_path(target)
    if os.path.isdir(place) or str(target).endswith(os.sep):
        return place / name, usual
    found = SUFFIXES.get(place.suffix.lower())
    if found is None or file_format not in (None, found):
        wanted = [suffix for suffix, kind in SUFFIXES.items() if file_format in (None, kind)]
        raise TargetError(f"The name of {place} decides the format: it must end in {', '.join(wanted)}.")
    return place, found


def files_of(place: Path, file_format: str) -> list[Path]:
    """Return the files of a model, the one to open last.

    >>> [str(file) for file in files_of(Path("net.xml"), "openvino")]
    ['net.bin', 'net.xml']
    """
    return [place.with_suffix(WEIGHTS_BESIDE), place] if file_format in WITH_WEIGHTS else [place]


def check_neighbour(place: Path, file_format: str) -> None:
    """Raise TargetError if the file of weights would be that of a model of another format, of the same name."""
    others = [place.with_suffix(FORMATS[other]) for other in WITH_WEIGHTS if other != file_format]
    taken = next(filter(os.path.lexists, others), None) if file_format in WITH_WEIGHTS else None
    if taken is not None:
        raise TargetError(
            f"{place.with_suffix(WEIGHTS_BESIDE)} holds the weights of {taken}: choose another name with -o."
        )


@contextmanager
def workshop(places: list[Path], overwrite: bool) -> Iterator[list[Path]]:
    """Yield files to write in place of ``places``; they are moved there if the block succeeds, else all are removed.

    Raises:
        TargetError: If they cannot be written, or one exists by now and ``overwrite`` is False.
    """
    targets = [Path(os.path.realpath(place)) for place in places] if overwrite else places
    try:
        with tempfile.TemporaryDirectory(dir=targets[-1].parent, prefix=".export-") as folder:
            parts = [Path(folder) / place.name for place in places]
            yield parts
            _publish(dict(zip(parts, targets, strict=True)), overwrite)
    except OSError as error:
        raise TargetError(f"{places[-1]} was not written: {error.strerror or error}.") from error


def _publish(moves: Mapping[Path, Path], overwrite: bool) -> None:
    """Move all files, or leave everything unchanged."""
    before = {}
    for part, place in moves.items():
        if os.path.lexists(place):
            if not overwrite:
                raise TargetError(EXISTS.format(place))
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
