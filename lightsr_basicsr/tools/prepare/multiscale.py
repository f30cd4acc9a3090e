"""Downscale images to several sizes, as Real-ESRGAN adds them to its training data: more content per patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from os.path import expanduser
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lightsr_basicsr.tools.images import read_image, to_8_bit, write_png
from lightsr_basicsr.tools.prepare.claims import claim, same_folder
from lightsr_basicsr.tools.prepare.jobs import ALL_CORES, FileJob, Prepared, PrepareError, Work, run_jobs
from lightsr_basicsr.tools.prepare.sections import to_be_listed
from lightsr_basicsr.tools.prepare.sources import source_images

SCALES = (0.75, 0.5, 1 / 3)


@dataclass(frozen=True)
class Sizes:
    """Output sizes; the fields are the options of ``basicsr prepare multiscale``."""

    scales: tuple[float, ...] = SCALES
    shortest: int = 400

    def of(self, width: int, height: int) -> list[tuple[int, int]]:
        """Return (width, height) of T0, T1, ...; sides are rounded down as in Real-ESRGAN's script.

        Examples:
            >>> Sizes(scales=(0.75, 0.5), shortest=400).of(2040, 1356)
            [(1530, 1017), (1020, 678), (601, 400)]
        """
        sizes = [(int(width * scale), int(height * scale)) for scale in self.scales]
        if not self.shortest:
            return sizes
        if width < height:
            return [*sizes, (self.shortest, int(self.shortest * (height / width)))]
        return [*sizes, (int(self.shortest * (width / height)), self.shortest)]


def prepare_multiscale(
    source: Path | str,
    out: Path | str,
    sizes: Sizes = Sizes(),
    work: Work = ALL_CORES,
) -> Prepared:
    """Make downscaled images ``NAMET0.png``, ``NAMET1.png``, ... of every image in ``source``, 8 bits per channel.

    Args:
        source (Path | str): Folder of images.
        out (Path | str): Folder of the downscaled images.
        sizes (Sizes): Scales, and the shorter side of the last image.
        work (Work): Threads, overwriting, progress bar.

    Raises:
        PrepareError: If an argument is wrong or a folder holds other images. Broken images are in the result.
    """
    source, out = Path(expanduser(source)), Path(expanduser(out))
    _check(source, out, sizes)
    seen: dict[str, list[str]] = {"deep": [], "small": []}
    jobs = [_job(image, out, sizes, seen) for image in source_images(source)]
    record = {"command": "prepare multiscale", "scales": list(sizes.scales), "shortest": sizes.shortest}
    claim({out: record}, jobs, work.overwrite)
    done = run_jobs(jobs, "multi-scale", work)
    done.folders = [out]
    done.section["train"], note = to_be_listed(source, out)
    done.notes = [*_notes(seen, sizes), note]
    return done


def _check(source: Path, out: Path, sizes: Sizes) -> None:
    if not all(0 < scale < 1 for scale in sizes.scales):
        raise PrepareError(f"scales must be between 0 and 1, got {', '.join(map(str, sizes.scales))}.")
    if sizes.shortest < 0:
        raise PrepareError(f"shortest must be at least 1 pixel, or 0 for no such image, got {sizes.shortest}.")
    if not sizes.scales and not sizes.shortest:
        raise PrepareError("nothing to make: give scales, or a shorter side.")
    if same_folder(source, out):
        raise PrepareError(f"{out} is the source itself: choose another -o.")


def _job(image: Path, out: Path, sizes: Sizes, seen: dict[str, list[str]]) -> FileJob:
    count = len(sizes.scales) + bool(sizes.shortest)
    outputs = tuple(out / f"{image.stem}T{index}.png" for index in range(count))
    return FileJob(image, outputs, partial(_make, image, outputs, sizes, seen))


def _make(
    source: Path, outputs: tuple[Path, ...], sizes: Sizes, seen: dict[str, list[str]], wanted: Sequence[Path]
) -> None:
    image = read_image(source)
    if image.dtype == np.uint16:
        seen["deep"].append(source.name)
    height, width = image.shape[:2]
    if min(width, height) < sizes.shortest:
        seen["small"].append(source.name)
    each = dict(zip(outputs, sizes.of(width, height), strict=True))
    if any(min(size) < 1 for size in each.values()):
        raise ValueError(f"{width}x{height} is too small for these scales")
    whole = Image.fromarray(cv2.cvtColor(to_8_bit(image), cv2.COLOR_BGR2RGB))
    for output in wanted:
        small = np.asarray(whole.resize(each[output], Image.Resampling.LANCZOS))
        write_png(output, cv2.cvtColor(small, cv2.COLOR_RGB2BGR))


def _notes(seen: dict[str, list[str]], sizes: Sizes) -> list[str]:
    notes = []
    if seen["deep"]:
        notes.append(f"{len(seen['deep'])} images have 16 bits (first {min(seen['deep'])}) and were rounded to 8")
    if seen["small"]:
        notes.append(
            f"{len(seen['small'])} images were enlarged to a shorter side of {sizes.shortest} (first "
            f"{min(seen['small'])}), as Real-ESRGAN does: --shortest 0 leaves such images out"
        )
    return notes
