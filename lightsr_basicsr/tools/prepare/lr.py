"""Make LR images from HR images: BI, BD and DN as the papers' MATLAB scripts do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from os.path import expanduser
from pathlib import Path
from typing import Any

from lightsr_basicsr.data.degradations import BORDERS
from lightsr_basicsr.data.low_resolution import DEGRADATIONS, LowResolution
from lightsr_basicsr.tools.images import measure
from lightsr_basicsr.tools.prepare.claims import claim, hr_record, same_folder
from lightsr_basicsr.tools.prepare.jobs import ALL_CORES, FileJob, Prepared, PrepareError, Work, run_jobs
from lightsr_basicsr.tools.prepare.sections import paired, training
from lightsr_basicsr.tools.prepare.sources import depth_note, image_job, source_images

BI = LowResolution()
LAYOUTS = ("benchmark", "div2k")
DIV2K_NAMES = {"bi": ("LR_bicubic", ""), "bd": ("LR_BD", "BD"), "dn": ("LR_DN", "DN")}


@dataclass(frozen=True)
class Layout:
    """Output folders of one scale, and the LR name from the HR name."""

    hr: Path | None
    lr: Path
    template: str


def prepare_lr(
    source: Path | str,
    out: Path | str,
    how: LowResolution = BI,
    scales: Sequence[int] = (2, 3, 4),
    layout: str = "benchmark",
    depth: str = "keep",
    write_hr: bool | None = None,
    work: Work = ALL_CORES,
) -> Prepared:
    """Make LR images of every image in ``source``.

    HR images are first cropped at the bottom and right to multiples of the scale, so that pairs have the exact ratio.

    Args:
        source (Path | str): Folder of HR images.
        out (Path | str): Parent folder of the outputs.
        how (LowResolution): Degradation, border, seed of the noise.
        scales (Sequence[int]): Scales, each at least 2.
        layout (str): ``'benchmark'`` (``HR_x4/NAME.png``, ``LRBI_x4/NAME.png``) or ``'div2k'``
            (``DIV2K_train_LR_bicubic/X4/NAMEx4.png`` for a source ``DIV2K_train_HR``).
        depth (str): ``'keep'`` or ``'8'``, bits per channel of the outputs.
        write_hr (bool | None): Whether to write the cropped HR images. None: with the layout ``'benchmark'``.
        work (Work): Threads, overwriting, progress bar.

    Raises:
        PrepareError: If an argument is wrong or a folder holds other images. Broken images are in the result.
    """
    _check(how, scales, layout, depth)
    images, out = source_images(source), Path(expanduser(out))
    write_hr = layout == "benchmark" if write_hr is None else write_hr
    places = {each: place(Path(source), out, how.degradation, each, layout, write_hr) for each in sorted(set(scales))}
    deep: list[str] = []
    jobs = [_job(image, places, how, depth, deep) for image in images]
    claim(dict(_records(places, how, depth)), jobs, work.overwrite)
    done = run_jobs(jobs, f"{how.degradation.upper()} {'/'.join(f'x{scale}' for scale in places)}", work)
    done.folders = [folder for each in places.values() for folder in (each.hr, each.lr) if folder]
    done.notes = [*_uneven(images, places), *depth_note(deep)]
    for scale, each in places.items():
        name = f"{out.resolve().name}_{how.degradation.upper()}_x{scale}"
        section = paired(name, each.hr or source, each.lr, each.template)
        tests = {} if layout == "div2k" else {"test_1": section}
        done.others[scale] = {**tests, "train": training(section, scale)}
    done.section = next(iter(done.others.values()))
    return done


def _uneven(images: Sequence[Path], places: dict[int, Layout]) -> Iterator[str]:
    """Yield a note for each scale whose HR images are not written although some need cropping."""
    for scale in [scale for scale, each in places.items() if each.hr is None]:
        uneven = [image.name for image in images if _needs_cropping(image, scale)]
        if uneven:
            yield (
                f"{len(uneven)} HR images have sides that are no multiples of {scale} (first {uneven[0]}), and "
                f"training needs exact pairs: add --hr to write cropped ones."
            )


def _needs_cropping(image: Path, scale: int) -> bool:
    try:
        return any(side % scale for side in measure(image))
    except (OSError, ValueError, SyntaxError):
        return False  # broken, and reported as such


def _check(how: LowResolution, scales: Sequence[int], layout: str, depth: str) -> None:
    for name, value, known in (
        ("degradation", how.degradation, DEGRADATIONS),
        ("border", how.border, tuple(BORDERS)),
        ("depth", depth, ("keep", "8")),
        ("layout", layout, LAYOUTS),
    ):
        if value not in known:
            raise PrepareError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
    if not scales or any(scale < 2 for scale in scales):
        raise PrepareError(f"scales must be whole numbers of at least 2, got {list(scales)}.")


def place(source: Path, out: Path, degradation: str, scale: int, layout: str, write_hr: bool) -> Layout:
    """Return the folders and names of one scale; HR images that lie in the HR folder already are not written."""
    if layout == "benchmark":
        hr, lr, template = out / f"HR_x{scale}", out / f"LR{degradation.upper()}_x{scale}", "{}"
    else:
        folder, suffix = DIV2K_NAMES[degradation]
        base = source.resolve().name.removesuffix("_HR")
        hr, lr, template = out / f"{base}_HR_x{scale}", out / f"{base}_{folder}" / f"X{scale}", f"{{}}x{scale}{suffix}"
    if same_folder(lr, source):
        raise PrepareError(f"{lr} is the source itself: choose another -o.")
    return Layout(hr if write_hr and not same_folder(hr, source) else None, lr, template)


def _records(places: dict[int, Layout], how: LowResolution, depth: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    for scale, each in places.items():
        if each.hr:
            yield each.hr, hr_record(scale, depth)
        yield each.lr, _lr_record(how, scale, depth)


def _lr_record(how: LowResolution, scale: int, depth: str) -> dict[str, Any]:
    settings = {"command": "prepare lr", "scale": scale, "depth": depth, "degradation": how.degradation}
    if how.degradation != "bd":
        settings["border"] = how.border
    return {**settings, "seed": how.seed} if how.degradation == "dn" else settings


def _job(image: Path, places: dict[int, Layout], how: LowResolution, depth: str, deep: list[str]) -> FileJob:
    outputs = {}
    for scale, each in places.items():
        degrade = partial(how.degrade, scale=scale, name=image.stem)
        if each.hr:
            outputs[each.hr / f"{image.stem}.png"] = (scale, None)
        outputs[each.lr / f"{each.template.format(image.stem)}.png"] = (scale, degrade)
    return image_job(image, outputs, depth, deep)
