"""The page of a report: what its scripts show, and the pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from lightsr_basicsr import __version__
from lightsr_basicsr.pages.building import assemble
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.report.logged_options import at, differing
from lightsr_basicsr.tools.report.logs import Log
from lightsr_basicsr.tools.report.pictures import Gallery
from lightsr_basicsr.tools.report.runs import Best, Run, best_of_run, ends_at
from lightsr_basicsr.tools.report.series import LOSS, METRIC, OTHER, PACE, RATE, thin

PAGE = "report.html"
MADE_BY = "basicsr report"
SCRIPTS = ("state", "scales", "chart", "charts", "summary", "pictures", "options", "live", "main")
KINDS = (METRIC, LOSS, OTHER, RATE, PACE)  # in the order of the page


def build_page(runs: Sequence[Run], gallery: Gallery, every: float | None = None, notes: Sequence[str] = ()) -> bytes:
    """Return the page.

    Args:
        runs (Sequence): At least one run; their titles are different.
        gallery (Gallery): Their pictures.
        every (float | None): Seconds after which the page loads itself again; None is never. Default: None.
        notes (Sequence[str]): What is to be told beside what each run and the gallery tell. Default: none.
    """
    content = {
        "version": __version__,
        "date": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "made": round(time.time() * 1000),
        "live": every,
        "notes": [*notes, *gallery.notes],
        "runs": [_described(run) for run in runs],
        "charts": _charts(runs),
        "best": [
            _best(number, each) for number, run in enumerate(runs) for each in best_of_run(run)
        ],
        "options": [
            {"name": name, "values": values, "differs": differs}
            for name, values, differs in differing([run.options for run in runs])
        ],
        "pictures": [
            {"id": name, "name": each.name, "run": each.run, "iteration": each.iteration}
            for name, each in gallery.shown.items()
        ],
    }  # fmt: skip
    return assemble(__package__, SCRIPTS, title_of(runs), content, gallery.images, MADE_BY)


def title_of(runs: Sequence[Run]) -> str:
    """Return the title of a page: the names of its runs, or how many they are."""
    names = ", ".join(run.title for run in runs)
    return names if len(names) <= 80 else f"{runs[0].title} and {len(runs) - 1} other runs"


def _described(run: Run) -> dict[str, Any]:
    options = run.options
    return {
        "title": run.title,
        "folder": printable(run.folder.absolute()),
        "state": run.state,
        "last": run.last,
        "total": run.total,
        "seconds": round(run.seconds, 1),
        "left": ends_at(run),
        "model": str(options.get("model_type", "")),
        "network": str(at(options, "network_g.type") or ""),
        "networks": list(_latest(run, "networks").items()),
        "versions": list(_latest(run, "versions").items()),
        "data": next((log.data for log in reversed(run.logs) if log.data), []),
        "devices": _devices(options),
        "spans": [span._asdict() for span in run.spans],
        "logs": [_start(log) for log in run.logs],
        "notes": run.notes,
        "warnings": [
            asdict(each)
            for log in run.logs
            for each in log.warnings.values()
        ],
    }  # fmt: skip


def _latest(run: Run, name: str) -> dict[str, str]:
    return next((found for log in reversed(run.logs) if (found := getattr(log, name))), {})


def _devices(options: dict[str, Any]) -> str:
    number, processes = options.get("num_gpu"), options.get("world_size")
    if number is None:
        return ""
    text = "CPU" if number == 0 else f"{number} GPU{'s'[: number == 1]}"
    return text if processes in (None, 1) else f"{processes} processes, {text} each"


def _start(log: Log) -> dict[str, Any]:
    return {
        "file": printable(Path(log.path.name)),
        "began": log.began and log.began.isoformat(sep=" ", timespec="seconds"),
        "ended": log.ended and log.ended.isoformat(sep=" ", timespec="seconds"),
        "start": log.start,
        "last": log.last,
        "seconds": round(log.seconds, 1),
        "finished": log.finished,
    }


def _best(number: int, best: Best) -> dict[str, Any]:
    shown = lambda files: [printable(file.absolute()) for file in files]  # noqa: E731
    kept = best.kept and {"iteration": best.kept[0], "value": best.kept[1], "files": shown(best.kept[2])}
    return {
        "run": number,
        "stage": best.stage,
        "set": best.set,
        "metric": best.metric,
        "higher": best.higher,
        "iteration": best.iteration,
        "value": best.value,
        "files": shown(best.files),
        "kept": kept,
    }


def _charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the charts: one for each name and set, with the curves of all runs and stages."""
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for number, run in enumerate(runs):
        for key, series in run.curves.items():
            thinned = thin(series)
            curve = {"run": number, "stage": key.stage, "x": thinned.iterations, "y": thinned.values}
            curve |= {"t": thinned.seconds, "low": thinned.low, "high": thinned.high, "points": len(series.values)}
            curve["since"] = run.valid_since(key.set) if key.kind == METRIC else 0
            found.setdefault((key.kind, key.set, key.name), []).append(curve)
    order = sorted(found, key=lambda each: KINDS.index(each[0]))
    return [
        {
            "kind": kind, "set": set_name, "name": name, "curves": found[kind, set_name, name],
            "higher": any(run.higher_is_better(name) for run in runs if _has(run, kind, set_name, name)),
        }
        for kind, set_name, name in order
    ]  # fmt: skip


def _has(run: Run, kind: str, set_name: str, name: str) -> bool:
    return any((key.kind, key.set, key.name) == (kind, set_name, name) for key in run.curves)
