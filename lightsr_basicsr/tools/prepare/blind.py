"""Make test sets of known blur and noise, on which KDSR's classic recipes are measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from os.path import expanduser
from pathlib import Path
from typing import Any

from lightsr_basicsr.data.low_resolution import BlindSet, Blur
from lightsr_basicsr.tools.prepare.claims import claim, hr_record, same_folder
from lightsr_basicsr.tools.prepare.jobs import ALL_CORES, Prepared, PrepareError, Work, run_jobs
from lightsr_basicsr.tools.prepare.sections import paired
from lightsr_basicsr.tools.prepare.sources import Output, depth_note, image_job, source_images

# "Gaussian8" of the KDSR paper's tables: eight isotropic Gaussians by scale, standard deviations in HR pixels.
GAUSSIAN8 = {2: (0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6), 4: (1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.2)}


def prepare_blind(
    source: Path | str,
    out: Path | str,
    scale: int = 4,
    blurs: Sequence[Blur] = (),
    noises: Sequence[float] = (0.0,),
    seed: int = 0,
    depth: str = "keep",
    work: Work = ALL_CORES,
) -> Prepared:
    """Make ``HR_xS`` and, for each blur and noise, a folder of LR images of every image in ``source``.

    The degradation is KDSR's (:func:`~lightsr_basicsr.data.degradations.classic_degradation`): 21x21 kernel, reflected
    border, MATLAB's bicubic with a replicated border, noise, 8 bit.

    Args:
        source (Path | str): Folder of HR images.
        out (Path | str): Parent folder of the outputs.
        scale (int): Downsampling factor.
        blurs (Sequence[Blur]): Blurs; empty takes the eight isotropic ones of the paper at x2 or x4.
        noises (Sequence[float]): Standard deviations in gray levels of 255, each combined with each blur.
        seed (int): Seed of the noise.
        depth (str): ``'keep'`` or ``'8'``, bits per channel of HR images; LR images have 8.
        work (Work): Threads, overwriting, progress bar.

    Raises:
        PrepareError: If an argument is wrong or a folder holds other images. Broken images are in the result.
    """
    sets = [BlindSet(blur, noise, scale, seed) for blur in blurs or _default(scale) for noise in noises]
    images, out = source_images(source), Path(expanduser(out))
    hr = None if same_folder(out / f"HR_x{scale}", Path(source)) else out / f"HR_x{scale}"
    deep: list[str] = []
    jobs = [image_job(image, _outputs(image.stem, out, hr, sets), depth, deep) for image in images]
    records = {out / each.folder: _record(each) for each in sets}
    claim({**records, **({hr: hr_record(scale, depth)} if hr else {})}, jobs, work.overwrite)
    done = run_jobs(jobs, f"blind x{scale}, {len(sets)} sets", work)
    done.notes = depth_note(deep)
    done.folders = [*([hr] if hr else []), *records]
    done.section = dict(_sections(sets, hr or Path(source), out))
    return done


def _record(each: BlindSet) -> dict[str, Any]:
    """Return the record of a folder of such LR images."""
    settings = {"command": "prepare blind", "scale": each.scale, "blur": each.blur.name, "noise": each.noise}
    return {**settings, "seed": each.seed} if each.noise else settings


def _default(scale: int) -> list[Blur]:
    if scale not in GAUSSIAN8:
        raise PrepareError(f"the paper's blurs exist for x2 and x4; for x{scale} give --sigma or --kernel.")
    return [Blur(sigma) for sigma in GAUSSIAN8[scale]]


def _sections(sets: Sequence[BlindSet], hr: Path, out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, each in enumerate(sets, 1):
        label = f"{each.blur.name}_n{each.noise:g}" if each.noise else each.blur.name
        yield f"test_{index}", paired(f"{out.resolve().name}_{label}", hr, out / each.folder)


def _outputs(name: str, out: Path, hr: Path | None, sets: Sequence[BlindSet]) -> dict[Path, Output]:
    outputs: dict[Path, Output] = {hr / f"{name}.png": (sets[0].scale, None)} if hr else {}
    for each in sets:
        outputs[out / each.folder / f"{name}.png"] = (each.scale, partial(each.degrade, name=name))
    return outputs
