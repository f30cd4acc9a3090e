"""Pressure test of the IMDN paper: ever larger images, until memory or the time limit is exceeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from os import PathLike

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.runtimes.base import BackendError
from lightsr_basicsr.tools.benchmark.candidate import Candidate
from lightsr_basicsr.tools.benchmark.measure import REFERENCE, Variant
from lightsr_basicsr.tools.benchmark.plan import LARGEST_SIDE, Plan
from lightsr_basicsr.tools.benchmark.probe import Probe, ProbeResult, probe
from lightsr_basicsr.tools.benchmark.rows import Row, summarise
from lightsr_basicsr.tools.benchmark.run import Report, Save, open_candidates
from lightsr_basicsr.tools.benchmark.sources import BenchmarkError, Subject

STEP = 60  # in LR pixels, as in the paper
LIMIT = 20.0  # in seconds
RUNS = 3


def pressure(
    sources: Sequence[str | PathLike] = (),
    *,
    network: str | None = None,
    plan: Plan | None = None,
    limit: float = LIMIT,
    report: Report = lambda line: None,
    save: Save = lambda rows: None,
    measure: Callable[[Probe], ProbeResult] = probe,
) -> list[Row]:
    """Measure latency and memory of square LR images of side 60, 120, 180 and so on.

    Every size runs in its own process, so that running out of memory ends only that one. The arguments are those of
    :func:`lightsr_basicsr.tools.benchmark.run.benchmark`, but the plan's sizes and rounds are ignored. ``limit`` is in
    seconds for one image; the first image above it ends a series. ``measure`` runs one size.

    Raises:
        UserError: If a source or setting is wrong; then nothing was measured.
    """
    plan = replace(plan or Plan(), sizes=((STEP, STEP),))
    if not limit > 0:
        raise BenchmarkError(f"The limit must be a positive number of seconds, got {limit}.")
    rows: list[Row] = []
    references: list[Subject | None] = []
    for candidate in open_candidates(sources, network, plan):
        try:
            # A checkpoint and the file exported from it share a reference.
            known = candidate.base in references
            references.append(candidate.base)
            for variant in candidate.variants:
                if known and variant == REFERENCE:
                    continue
                for row in _series(candidate, variant, limit, report, measure):
                    rows.append(row)
                    save(rows)
        finally:
            candidate.close()
    return rows


def _series(
    candidate: Candidate, variant: Variant, limit: float, report: Report, measure: Callable[[Probe], ProbeResult]
) -> Iterator[Row]:
    """Yield the rows of one variant; the last says why the series ends."""
    plan = candidate.plan
    title = f"{candidate.subject.title} {variant.form} {variant.backend} {variant.precision}"
    report(f"{title}: opening")
    try:
        opened = candidate.file_for(variant)
    except BackendError as error:
        yield replace(candidate.blank_row(variant, STEP, STEP), problem=short_message(error))
        return
    for side in range(STEP, LARGEST_SIDE + 1, STEP):
        report(f"{title}: {side}x{side}")
        found = measure(Probe(opened, variant, side, side, plan.device, plan.num_threads, RUNS, limit))
        timing = summarise(found.seconds, None) if found.seconds else None
        row = candidate.blank_row(variant, side, side)
        yield replace(row, timing=timing, memory=found.memory, problem=found.problem)
        if found.problem or max(found.seconds) > limit:
            return
