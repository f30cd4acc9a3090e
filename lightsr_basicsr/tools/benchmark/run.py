"""Speed, memory and quality of networks on several backends, relative to their published form.

``for row in benchmark(["IMDN:upscale=4"], plan=Plan(sizes=[(60, 80)])): ...`` measures from Python, as the command
``basicsr benchmark`` does; ``tables.py`` and ``plots.py`` write the results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.runtimes.choice import check_trust
from lightsr_basicsr.runtimes.metadata import read_metadata
from lightsr_basicsr.runtimes.torch_runtime import torch_threads
from lightsr_basicsr.tools.benchmark.candidate import Candidate
from lightsr_basicsr.tools.benchmark.measure import PAUSE, REFERENCE, Variant, runner
from lightsr_basicsr.tools.benchmark.plan import Plan
from lightsr_basicsr.tools.benchmark.probe import Probe, ProbeResult, probe
from lightsr_basicsr.tools.benchmark.quality import Pair, Quality, find_pairs, read_pair, score
from lightsr_basicsr.tools.benchmark.rows import BILLION, MIB, MILLION, Ntire, Row, summarise
from lightsr_basicsr.tools.benchmark.sources import BenchmarkError, find_subjects
from lightsr_basicsr.tools.complexity import in_rounds
from lightsr_basicsr.tools.files import checksum

NTIRE_SIZE = (256, 256)

Report = Callable[[str], Any]
Save = Callable[[list[Row]], Any]


def benchmark(
    sources: Sequence[str | PathLike] = (),
    *,
    network: str | None = None,
    plan: Plan | None = None,
    report: Report = lambda line: None,
    save: Save = lambda rows: None,
) -> list[Row]:
    """Measure networks in turns with their published form, and return one row per variant and size.

    Args:
        sources (Sequence): Checkpoints, exported files, option files, names of networks such as ``'IMDN:upscale=4'``.
            Default: ``network``, or else the networks of ``sources.STANDARD``. Networks given by name have random
            weights: only their speed is meaningful.
        network (str | None): Name with arguments, or option file, of the network of checkpoints that cannot be
            identified. Default: None.
        plan (Plan | None): How to measure; None takes ``Plan()``. Default: None.
        report (Callable): Called with a line of text before each lengthy step.
        save (Callable): Called with all rows so far, after each network and size, and again with NTIRE's columns.

    Raises:
        UserError: If a source or setting is wrong; then nothing was measured. Failures of a backend are reported in
            ``problem`` of a row.
    """
    plan = plan or Plan()
    candidates = open_candidates(sources, network, plan)
    pairs = _find_pairs(plan, candidates)
    rows: list[Row] = []
    with torch_threads(plan.num_threads):
        for candidate in candidates:
            try:
                _measure(candidate, pairs, rows, report, save)
            finally:
                candidate.close()  # the next one needs the memory
    return rows


def open_candidates(sources: Sequence[str | PathLike], network: str | None, plan: Plan) -> list[Candidate]:
    """Return the networks named by ``sources``; no backend is started yet.

    Raises:
        UserError: As :func:`benchmark`.
    """
    plan.check()
    subjects = [replace(subject, trust=plan.trust) for subject in find_subjects(sources, network)]
    for subject in subjects:
        if subject.exported:
            check_trust(Path(subject.path), subject.trust)
    metadata = {subject.title: read_metadata(subject.path) for subject in subjects if subject.exported}
    wanted = {own.sha256 for own in metadata.values() if own is not None} - {None}
    checkpoints = [subject for subject in subjects if subject.path is not None and not subject.exported]
    by_sum = {checksum(Path(subject.path)): subject for subject in checkpoints if wanted}
    candidates = []
    for subject in subjects:
        own = metadata.get(subject.title)
        candidates.append(Candidate(subject, plan, own, None if own is None else by_sum.get(own.sha256)))
    return candidates


def _find_pairs(plan: Plan, candidates: Sequence[Candidate]) -> list[Pair]:
    """Return pairs of images, after checking that they fit the scales of all networks."""
    if plan.data is None:
        return []
    pairs = find_pairs(plan.data, plan.gt)
    for scale in {candidate.net.upscale for candidate in candidates if candidate.net is not None}:
        for pair in pairs:
            read_pair(pair, scale)
    return pairs


def _measure(candidate: Candidate, pairs: list[Pair], rows: list[Row], report: Report, save: Save) -> None:
    """Append the rows of a network to ``rows``."""
    title = candidate.subject.title
    for variant in candidate.variants:
        report(f"{title}: opening {_words(variant)}")
        candidate.open(variant)
    quality = _score_all(candidate, pairs, report)
    for index, size in enumerate(candidate.plan.sizes):
        start = len(rows)
        for variant, row in _measure_size(candidate, *size, report).items():
            known = quality.get(variant)
            rows.append(row if known is None else replace(row, psnr=known.psnr, ssim=known.ssim))
        save(rows)  # the next step may be interrupted
        if candidate.plan.ntire and index == 0:
            for place, row in enumerate(rows[start:], start):
                variant = Variant(row.form, row.backend, row.precision)
                if row.timing is not None:
                    report(f"{title}: {_words(variant)}, columns of NTIRE")
                    rows[place] = replace(row, ntire=_ntire(candidate, variant, row, quality.get(variant)))
            save(rows)


def _words(variant: Variant) -> str:
    return "the reference" if variant == REFERENCE else f"{variant.backend} {variant.precision}"


def _score_all(candidate: Candidate, pairs: list[Pair], report: Report) -> dict[Variant, Quality]:
    """Return PSNR and SSIM by variant; none for random weights."""
    found: dict[Variant, Quality] = {}
    for variant, runtime in candidate.runtimes.items():
        if not pairs or candidate.weights_of(variant).path is None:
            continue
        report(f"{candidate.subject.title}: {_words(variant)}, PSNR of {len(pairs)} images")
        try:
            found[variant] = score(runtime, pairs, candidate.plan.device)
        except (BenchmarkError, ImageError):
            raise
        except Exception as error:
            # Backends raise any type.
            candidate.problems[variant] = f"no PSNR: {short_message(error)}"
    return found


def _measure_size(candidate: Candidate, height: int, width: int, report: Report) -> dict[Variant, Row]:
    plan, title = candidate.plan, f"{candidate.subject.title} at {height}x{width}"
    rows = {variant: candidate.blank_row(variant, height, width) for variant in candidate.variants}
    image = candidate.image(height, width)
    report(f"{title}: first images")
    runs = {one: runner(candidate.runtimes[one], image) for one in candidate.first_outputs(image, rows)}
    report(f"{title}: {plan.rounds} rounds of {len(runs)} variants")
    pause = PAUSE if plan.num_threads > 1 else 0.0
    seconds = in_rounds(runs, plan.rounds, pause=pause)
    for variant, taken in seconds.items():
        rows[variant] = replace(rows[variant], timing=summarise(taken, seconds.get(REFERENCE)))
        if plan.memory:
            report(f"{title}: {_words(variant)}, memory")
            found = _probe(candidate, variant, height, width)
            problem = rows[variant].problem or (f"memory: {found.problem}" if found.problem else "")
            rows[variant] = replace(rows[variant], memory=found.memory, problem=problem)
    return rows


def _probe(candidate: Candidate, variant: Variant, height: int, width: int) -> ProbeResult:
    plan = candidate.plan
    return probe(Probe(candidate.file_for(variant), variant, height, width, plan.device, plan.num_threads))


def _ntire(candidate: Candidate, variant: Variant, row: Row, quality: Quality | None) -> Ntire | None:
    if candidate.net is None:
        return None
    parameters, multi_adds, activations = candidate.costs(variant, *NTIRE_SIZE)
    memory = _probe(candidate, variant, *NTIRE_SIZE).memory if candidate.plan.memory else None
    return Ntire(
        psnr=None if quality is None else quality.psnr,
        time_ms=1000 * (row.timing.seconds if quality is None else quality.seconds),
        params=parameters / MILLION,
        flops=None if multi_adds is None else multi_adds / BILLION,
        acts=activations / MILLION,
        memory=None if memory is None else memory / MIB,
        convs=candidate.convolutions(variant, *NTIRE_SIZE),
    )
