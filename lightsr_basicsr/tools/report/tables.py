"""The curves of runs as CSV, one number a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from lightsr_basicsr.tools.report.runs import Run

HEADER = ("run", "stage", "kind", "set", "name", "iteration", "seconds", "value")


def curves_csv(runs: Sequence[Run]) -> bytes:
    """Return all points of all curves, none thinned; NaN and Inf are ``nan`` and ``inf``."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(HEADER)
    for run in runs:
        for key, series in run.curves.items():
            start = (run.title, key.stage, key.kind, key.set, key.name)
            points = zip(series.iterations, series.seconds, series.values, strict=True)
            writer.writerows((*start, iteration, f"{seconds:.1f}", repr(value)) for iteration, seconds, value in points)
    return stream.getvalue().encode("utf-8", "backslashreplace")
