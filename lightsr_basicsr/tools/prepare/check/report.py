"""Check data sets: decode every file, and report how training would read it and where it would stop."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

from lightsr_basicsr.tools.prepare.check.files import (
    KINDS,
    DatasetFinding,
    Facts,
    Source,
    look_at,
    open_source,
    quiet_decoders,
)
from lightsr_basicsr.tools.prepare.check.names import check_duplicates, check_names, guess_template, pair_names
from lightsr_basicsr.tools.prepare.check.pairs import Likeness, check_alone, check_likeness, check_pair, compare
from lightsr_basicsr.tools.prepare.jobs import PrepareError, in_order
from lightsr_basicsr.tools.prepare.sections import paired, training

Size = tuple[int, int]
# Names of an HR and an LR file; None for a missing partner.
Unit = tuple[str | None, str | None]
Looked = tuple[Facts | None, Facts | None, Likeness | None]


@dataclass
class Summary:
    """Content of a folder or an LMDB."""

    root: str  # its path, as the user gave it
    files: int
    readable: int  # number of the files that are images
    # Width and height of existing images, by number of pixels.
    smallest: Size | None = None
    median: Size | None = None
    largest: Size | None = None
    channels: dict[str, int] = field(default_factory=dict)  # numbers of images by channels
    bits: dict[int, int] = field(default_factory=dict)  # numbers of images by bits per channel


@dataclass
class CheckReport:
    """Result of :func:`check_images`."""

    folders: list[Summary]  # HR, and LR if given
    findings: list[DatasetFinding]  # errors first, then by kind and name
    pairs: int | None = None  # number of pairs; None for one folder
    template: str | None = None  # LR name from HR name
    # Least, median and greatest PSNR in dB of LR against MATLAB's bicubic of HR; 60 means equal.
    psnr: tuple[float, float, float] | None = None
    borders: dict[str, int] = field(default_factory=dict)  # numbers of LR images that are MATLAB's bicubic, by border
    notes: list[str] = field(default_factory=list)  # remarks on the check for the user
    section: dict[str, Any] = field(default_factory=dict)  # `datasets` of an option file; empty if there are errors

    @property
    def errors(self) -> list[DatasetFinding]:
        """Findings that would stop training or testing, or make it wrong."""
        return [finding for finding in self.findings if finding.error]

    @property
    def warnings(self) -> list[DatasetFinding]:
        """Findings on files that training can use."""
        return [finding for finding in self.findings if not finding.error]


def check_images(
    hr: Path | str,
    lr: Path | str | None = None,
    scale: int | None = None,
    template: str | None = None,
    patch: int | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> CheckReport:
    """Check a folder or LMDB of images, or a pair of them, by decoding every file.

    Args:
        hr (Path | str): Folder, or LMDB if its name ends in .lmdb.
        lr (Path | str | None): Folder or LMDB with LR images of ``hr``.
        scale (int | None): HR side over LR side; needed with ``lr``.
        template (str | None): LR name from HR name without suffix, ``'{}x4'``. None: guessed from the names.
        patch (int | None): Side of HR crops in training (``gt_size``), the least size of images.
        workers (int | None): Files at a time; None: one per core.
        progress (bool): Whether to show a progress bar on standard error.

    Raises:
        PrepareError: If an argument is wrong, or a folder missing or empty. All other faults are in the report.
    """
    _check_arguments(lr, scale, template, patch)
    sources = [open_source(root) for root in (hr, lr) if root is not None]
    report = CheckReport([], [])
    units: list[Unit] = [(name, None) for name in dict.fromkeys(sources[0].names)]
    if lr is not None:
        units = _pair(*sources, template, report)
    looked = _look_at_all(sources, units, scale, workers, progress)
    for source, place in zip(sources, (0, 1), strict=False):
        seen = sorted((each[place] for each in looked if each[place] is not None), key=lambda facts: facts.name)
        report.folders.append(_summarize(source, seen))
        report.findings += [*check_names(source), *check_duplicates(seen)]
        report.findings += [finding for facts in seen for finding in facts.findings]
    _check_sizes(looked, scale, patch, report)
    report.findings.sort(key=lambda finding: (not finding.error, KINDS.index(finding.kind), finding.file))
    if not report.errors:
        report.section = _section(sources, scale, patch, report.template)
    return report


def _check_arguments(lr: Path | str | None, scale: int | None, template: str | None, patch: int | None) -> None:
    if lr is not None and scale is None:
        raise PrepareError("pairs need their scale: add --scale, for example --scale 4.")
    if lr is None and template is not None:
        raise PrepareError(f"--template {template!r} needs a second folder, with LR images.")
    for name, value in (("--scale", scale), ("--patch", patch)):
        if value is not None and value < 1:
            raise PrepareError(f"{name} must be at least 1, got {value}.")
    if lr is not None and patch is not None and patch % scale:
        raise PrepareError(f"--patch is the side of HR crops, a multiple of the scale {scale}; got {patch}.")


def _pair(hr: Source, lr: Source, template: str | None, report: CheckReport) -> list[Unit]:
    """Return pairs and single files by name; add findings on the names to ``report``."""
    if (hr.environment is None) != (lr.environment is None):
        raise PrepareError(f"{hr.root} and {lr.root} must both be folders or both be LMDBs: BasicSR cannot mix them.")
    if hr.environment is not None and template not in (None, "{}"):
        raise PrepareError(f"BasicSR pairs LMDBs by equal keys: leave out --template {template!r}.")
    report.template = template or "{}"
    if template is None and hr.environment is None:
        report.template, count = guess_template(hr, lr)
        if report.template != "{}":
            report.notes.append(f"template guessed from {count} LR names: {report.template}")
    pairs, findings = pair_names(hr, lr, report.template)
    report.pairs = len(pairs)
    report.findings += findings
    alone = [(name, None) for name in sorted(set(hr.names) - {name for name, _ in pairs})]
    return [*pairs, *alone, *((None, name) for name in sorted(set(lr.names) - {name for _, name in pairs}))]


def _look_at_all(
    sources: Sequence[Source], units: Sequence[Unit], scale: int | None, workers: int | None, progress: bool
) -> list[Looked]:
    with quiet_decoders(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's; the findings report the same
        look = partial(_look, sources, scale)
        bar = tqdm(in_order(look, units, workers), total=len(units), desc="check", disable=not progress)
        return [looked for _, looked in bar]


def _look(sources: Sequence[Source], scale: int | None, unit: Unit) -> Looked:
    hr, hr_image = look_at(sources[0], unit[0]) if unit[0] is not None else (None, None)
    lr, lr_image = look_at(sources[1], unit[1]) if unit[1] is not None else (None, None)
    if hr_image is None or lr_image is None:
        return hr, lr, None
    return hr, lr, compare(hr, lr, hr_image, lr_image, scale)


def _check_sizes(looked: Sequence[Looked], scale: int | None, patch: int | None, report: CheckReport) -> None:
    for hr, lr, _ in looked:
        if hr is not None and lr is not None:
            report.findings += check_pair(hr, lr, scale, patch)
        elif hr is not None:
            report.findings += check_alone(hr, scale, patch)
    found = [likeness for *_, likeness in looked if likeness is not None]
    report.findings += check_likeness(found)
    if found:
        values = [each.psnr for each in found]
        report.psnr = (min(values), median(values), max(values))
        report.borders = dict(Counter(each.border for each in found if each.border).most_common())


def _summarize(source: Source, seen: Sequence[Facts]) -> Summary:
    images = [facts for facts in seen if facts.size is not None]
    summary = Summary(source.shown(""), len(seen), len(images))
    if images:
        sizes = sorted((facts.size for facts in images), key=lambda size: (size[0] * size[1], size))
        summary.smallest, summary.median, summary.largest = sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]
        summary.channels = dict(Counter(facts.channels for facts in images).most_common())
        summary.bits = dict(Counter(facts.bits for facts in images).most_common())
    return summary


def _section(sources: Sequence[Source], scale: int | None, patch: int | None, template: str | None) -> dict[str, Any]:
    """Return a section that reads the checked data; a single folder becomes LQ images of a test."""
    hr = sources[0].root
    backend = "disk" if sources[0].environment is None else "lmdb"
    if len(sources) == 1:
        name = hr.resolve().name.removesuffix(".lmdb")
        section = {"name": name, "type": "SingleImageDataset", "dataroot_lq": str(hr)}
        return {"test_1": {**section, "io_backend": {"type": backend}}}
    section = paired(f"{hr.resolve().parent.name}_x{scale}", hr, sources[1].root, template, backend)
    return {"test_1": section} if patch is None else {"train": training(section, scale, patch // scale)}
