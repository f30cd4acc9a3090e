"""Cut large images into overlapping crops, which load faster; LR images are cropped at the same positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os.path import expanduser
from pathlib import Path
from typing import Any

import numpy as np

from lightsr_basicsr.pictures.files import ImageError, reason
from lightsr_basicsr.tools.images import measure, some, write_png
from lightsr_basicsr.tools.prepare.claims import claim, same_folder
from lightsr_basicsr.tools.prepare.jobs import ALL_CORES, FileJob, Prepared, PrepareError, Work, run_jobs
from lightsr_basicsr.tools.prepare.sections import gt_only, paired, training
from lightsr_basicsr.tools.prepare.sources import depth_note, read_source, size_text, source_images


@dataclass(frozen=True)
class Window:
    """Size and positions of crops; the fields are the options of ``basicsr prepare subimages``."""

    crop: int = 480
    step: int = 240
    threshold: int = 0
    depth: str = "keep"

    def starts(self, side: int) -> list[int]:
        """Return the first pixel of each crop along a side; a last crop ends with it if over ``threshold`` remain.

        Examples:
            >>> Window(crop=480, step=240).starts(1000)
            [0, 240, 480, 520]
        """
        starts = list(range(0, side - self.crop + 1, self.step))
        if starts and side - (starts[-1] + self.crop) > self.threshold:
            starts.append(side - self.crop)
        return starts

    def corners(self, width: int, height: int) -> list[tuple[int, int]]:
        """Return (top, left) of every crop, row by row."""
        return [(top, left) for top in self.starts(height) for left in self.starts(width)]

    def record(self, scale: int = 1) -> dict[str, Any]:
        """Return the record of a folder of such crops."""
        return {"command": "prepare subimages", "scale": scale, **vars(self)}


@dataclass(frozen=True)
class LowPartners:
    """LR images at 1 / ``scale`` in ``source``, named by ``template`` from the HR name; their crops go to ``out``."""

    source: Path
    out: Path
    scale: int
    template: str = "{}"


@dataclass(frozen=True)
class _Part:
    """An image, its (width, height), the folder of its crops, and its scale: 1 for HR images."""

    file: Path
    size: tuple[int, int]
    out: Path
    scale: int


def prepare_subimages(
    source: Path | str,
    out: Path | str,
    window: Window = Window(),
    low: LowPartners | None = None,
    work: Work = ALL_CORES,
) -> Prepared:
    """Cut every image in ``source`` into crops ``NAME_s001.png`` and so on, and LR images at the same positions.

    Args:
        source (Path | str): Folder of (HR) images.
        out (Path | str): Folder of their crops.
        window (Window): Side of the crops, step between them, threshold, depth.
        low (LowPartners | None): LR images; their crops are 1 / scale as large and have the names of the HR crops.
        work (Work): Threads, overwriting, progress bar.

    Raises:
        PrepareError: If an argument is wrong, a folder holds other images, or an LR image is missing or does not have
            its HR image's size over the scale. Broken images are in the result.
    """
    out = Path(expanduser(out))
    _check(Path(source), out, window, low)
    images = source_images(source)
    partners = _partners(images, low) if low else {}
    parts, failed = _measured(images, partners, out, low)
    _refuse_other_sizes(parts)
    deep: list[str] = []
    small = [each[0] for each in parts if min(each[0].size) < window.crop]
    jobs = [_job(*each, window=window, deep=deep) for each in parts if each[0] not in small]
    claim({out: window.record()} | ({low.out: window.record(low.scale)} if low else {}), jobs, work.overwrite)
    done = run_jobs(jobs, "sub-images", work)
    done.failed = sorted([*done.failed, *failed])
    done.folders = [out, low.out] if low else [out]
    done.notes = [*depth_note(deep), *_small_note(small, window.crop)]
    _add_section(done, out, window, low)
    return done


def _check(source: Path, out: Path, window: Window, low: LowPartners | None) -> None:
    if window.crop < 1 or window.step < 1 or window.threshold < 0:
        raise PrepareError(
            f"crop and step must be at least 1 and threshold at least 0, "
            f"got {window.crop}, {window.step}, {window.threshold}."
        )
    if window.depth not in ("keep", "8"):
        raise PrepareError(f"depth must be keep or 8, got {window.depth!r}.")
    folders = [source, out, *([low.source, low.out] if low else [])]
    for index, folder in enumerate(folders):
        if any(same_folder(folder, other) for other in folders[:index]):
            raise PrepareError(f"{folder} is given twice: sources and outputs must be different folders.")
    if low is None:
        return
    if low.scale < 2:
        raise PrepareError(f"scale must be at least 2, got {low.scale}.")
    if low.template.count("{}") != 1:
        raise PrepareError(f"template must contain {{}} once, for the name of the HR image, got {low.template!r}.")
    for name, value in (("crop", window.crop), ("step", window.step)):
        if value % low.scale:
            raise PrepareError(
                f"{name} must be a multiple of the scale {low.scale}, so that LR crops align with HR, got {value}."
            )


def _partners(images: Sequence[Path], low: LowPartners) -> dict[Path, Path]:
    """Return the LR image of each HR image; PrepareError if one has none."""
    found = {file.stem: file for file in source_images(low.source)}
    names = {image: low.template.replace("{}", image.stem) for image in images}
    missing = [f"{name}.*" for name in names.values() if name not in found]
    if missing:
        raise PrepareError(
            f"{low.source} has no {some(missing)} for the HR images; it holds {some(sorted(found))}. "
            f"If names differ, give the rule: --template '{{}}x{low.scale}'."
        )
    return {image: found[name] for image, name in names.items()}


def _measured(
    images: Sequence[Path], partners: Mapping[Path, Path], out: Path, low: LowPartners | None
) -> tuple[list[tuple[_Part, ...]], list[str]]:
    """Return each HR image with its LR image, and messages on broken ones."""
    parts, failed = [], []
    for image in images:
        wanted = [(image, out, 1)] + ([(partners[image], low.out, low.scale)] if low else [])
        try:
            parts.append(tuple(_Part(file, _size_as_read(file), folder, scale) for file, folder, scale in wanted))
        except ImageError as error:
            failed.append(str(error))
    return parts, failed


def _size_as_read(file: Path) -> tuple[int, int]:
    """Return (width, height) as ``read_image`` will return them; ImageError if the file is broken."""
    try:
        return measure(file)
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{file}: {reason(error)}") from error


def _refuse_other_sizes(parts: Sequence[tuple[_Part, ...]]) -> None:
    wrong = [
        f"{high.file.name} {size_text(high.size)} with {low.file.name} {size_text(low.size)}"
        for high, low in (each for each in parts if len(each) == 2)
        if high.size != (low.size[0] * low.scale, low.size[1] * low.scale)
    ]
    if wrong:
        raise PrepareError(
            f"HR images must have exactly {parts[0][1].scale} times the sides of their LR images: {some(wrong)}. "
            "`basicsr prepare lr --hr` makes such pairs."
        )


def _small_note(small: Sequence[_Part], crop: int) -> list[str]:
    if not small:
        return []
    names = some([f"{part.file.name} ({size_text(part.size)})" for part in small], 20)
    return [f"{len(small)} images are smaller than a crop of {crop}x{crop} and were skipped: {names}"]


def _job(*parts: _Part, window: Window, deep: list[str]) -> FileJob:
    corners, stem = window.corners(*parts[0].size), parts[0].file.stem
    outputs = {
        part.out / f"{stem}_s{index:03d}.png": (part, corner)
        for part in parts
        for index, corner in enumerate(corners, 1)
    }
    return FileJob(parts[0].file, tuple(outputs), partial(_make, outputs, window, deep))


def _make(
    outputs: dict[Path, tuple[_Part, tuple[int, int]]], window: Window, deep: list[str], wanted: Sequence[Path]
) -> None:
    # Both images of a pair are read before the first crop is written, so a broken one leaves no half pairs.
    whole = {part: _read(part, window, deep) for part in dict.fromkeys(outputs[output][0] for output in wanted)}
    for output in wanted:
        part, (top, left) = outputs[output]
        top, left, side = top // part.scale, left // part.scale, window.crop // part.scale
        write_png(output, np.ascontiguousarray(whole[part][top : top + side, left : left + side]))


def _read(part: _Part, window: Window, deep: list[str]) -> np.ndarray:
    image = read_source(part.file, window.depth, deep)
    if image.shape[1::-1] != part.size:
        raise ValueError(
            f"{part.file.name} is {size_text(image.shape[1::-1])}, but its header says {size_text(part.size)}"
        )
    return image


def _add_section(done: Prepared, out: Path, window: Window, low: LowPartners | None) -> None:
    if low:
        section = paired(out.resolve().name, out, low.out)
        done.section["train"] = training(section, low.scale, min(64, window.crop // low.scale))
    else:
        done.section["train"] = gt_only(out.resolve().name, out)
