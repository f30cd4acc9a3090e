"""Give the pairs of a downloaded test set equal names, as BasicSR pairs them: HR_x4/1.png and LR_x4/1.png."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from os.path import expanduser
from pathlib import Path

from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.tools.images import measure, read_image, some, write_png
from lightsr_basicsr.tools.prepare.claims import claim
from lightsr_basicsr.tools.prepare.jobs import ALL_CORES, FileJob, Prepared, PrepareError, Work, run_jobs
from lightsr_basicsr.tools.prepare.sections import paired
from lightsr_basicsr.tools.prepare.sources import size_text, source_images

PLAIN = ("{}", "{}")


def prepare_pairs(
    gt: Path | str,
    lq: Path | str,
    out: Path | str,
    scale: int = 4,
    names: Sequence[str] = PLAIN,
    work: Work = ALL_CORES,
) -> Prepared:
    """Write ``HR_xS/NAME.png`` and ``LR_xS/NAME.png`` of the images that differ in the rest of their names alone.

    Pixels do not change. Files that match no template are left out.

    Args:
        gt (Path | str): Folder of HR images.
        lq (Path | str): Folder of LR images; may be the same.
        out (Path | str): Parent folder of the outputs.
        scale (int): HR side over LR side.
        names (Sequence[str]): Names of an HR and an LR image without suffix, {} being what they share: for DIV2KRK
            ``('img_{}_gt', 'im_{}')``.
        work (Work): Threads, overwriting, progress bar.

    Raises:
        PrepareError: If an argument is wrong, a partner is missing, or a folder holds other images. Pairs of the wrong
            size and broken images are in the result.
    """
    if scale < 1 or len(names) != 2 or any(name.count("{}") != 1 for name in names):
        raise PrepareError(
            f"expected a scale of at least 1 and two names with one {{}} each, got {scale} and {' '.join(names)}: for "
            "DIV2KRK --names 'img_{}_gt' 'im_{}'."
        )
    found = [_named(Path(folder), name) for folder, name in zip((gt, lq), names, strict=True)]
    pairs = _partners(*found, (gt, lq))
    folders = [Path(expanduser(out)) / f"{kind}_x{scale}" for kind in ("HR", "LR")]
    wrong = {name: text for name, pair in pairs.items() if (text := _misfit(pair, scale))}
    jobs = [
        FileJob(source, (folder / f"{name}.png",), partial(_copy, source))
        for name, pair in pairs.items()
        if name not in wrong
        for source, folder in zip(pair, folders, strict=True)
    ]
    records = zip(folders, names, strict=True)
    claim({folder: {"command": "prepare pairs", "scale": scale, "names": name} for folder, name in records}, jobs,
          work.overwrite)  # fmt: skip
    done = run_jobs(jobs, f"pairs x{scale}", work)
    done.failed = sorted([*done.failed, *wrong.values()])
    done.folders = folders
    done.section = {"test_1": paired(Path(out).resolve().name, *folders)}
    return done


def _named(folder: Path, template: str) -> dict[str, Path]:
    """Return the images whose names match, by what stands for {}."""
    before, after = map(re.escape, template.split("{}"))
    pattern = re.compile(f"{before}(.+){after}")
    return {match[1]: file for file in source_images(folder) if (match := pattern.fullmatch(file.stem))}


def _partners(
    high: Mapping[str, Path], low: Mapping[str, Path], folders: Sequence[Path | str]
) -> dict[str, tuple[Path, Path]]:
    for found, folder in zip((high, low), folders, strict=True):
        if not found:
            raise PrepareError(f"{folder} holds no image of that name: write --names as its files have them.")
    if alone := sorted({*high} ^ {*low}):
        files = [(high.get(name) or low[name]).name for name in alone]
        raise PrepareError(f"{some(files)} have no partner: download the set again, or write --names as it has them.")
    return {name: (high[name], low[name]) for name in sorted(high)}


def _misfit(pair: tuple[Path, Path], scale: int) -> str:
    """Return what is wrong with the sizes of a pair, '' if nothing is."""
    try:
        high, low = map(measure, pair)
    except ImageError as error:
        return str(error)
    if tuple(high) == tuple(scale * side for side in low):
        return ""
    return f"{pair[0]}: {size_text(high)} is not {scale} times {size_text(low)} of {pair[1].name}"


def _copy(source: Path, wanted: Sequence[Path]) -> None:
    for output in wanted:
        write_png(output, read_image(source))
