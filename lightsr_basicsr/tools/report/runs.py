"""A run as a whole: its logs joined, its state, its best checkpoints."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.report.alive import is_held, lock_of
from lightsr_basicsr.tools.report.find import NotTrainedError, Place, ReportError, logs_in
from lightsr_basicsr.tools.report.logged_options import at, whole
from lightsr_basicsr.tools.report.logs import Log, read_log
from lightsr_basicsr.tools.report.series import LOSS, METRIC, RATE, Curves, Key, best_of, join

FINISHED, RUNNING, INTERRUPTED = "finished", "running", "interrupted"
LOG_PATIENCE = 120.0  # seconds without a line after which a run that has no lock is held to be dead
SET_BY_RESUME = re.compile("pretrain_network_|param_key")
WEIGHTS = re.compile(r"net_([A-Za-z]+)_(\d+)\.pth")
LOWER_IS_BETTER = ("niqe", "lpips", "dists", "fid", "brisque", "pi")  # only where an option file does not say it


class Span(NamedTuple):
    """A stage: its name, and the first and the last iteration that is logged of it."""

    stage: str
    first: int
    last: int


class Best(NamedTuple):
    """The best value of a metric on a set in a stage, and the checkpoint of it.

    ``files`` are those of its iteration; without any, ``kept`` is the best iteration that has some, and its value.
    """

    stage: str
    set: str
    metric: str
    higher: bool
    iteration: int
    value: float
    files: list[Path]
    kept: tuple[int, float, list[Path]] | None


@dataclass
class Run:
    """What a training run has logged, over all its starts.

    Args:
        title (str): In a report.
        folder (Path): Of the run.
        state (str): ``'finished'``, ``'running'`` or ``'interrupted'``.
        curves (dict): :class:`Series` by :class:`Key`.
        logs (list[Log]): Its starts, oldest first.
        total (int | None): Iterations that it has in all.
        notes (list[str]): What a reader should know of its logs.
    """

    title: str
    folder: Path
    state: str
    curves: Curves
    logs: list[Log]
    total: int | None
    notes: list[str] = field(default_factory=list)

    @property
    def newest(self) -> Log:
        """The last start."""
        return self.logs[-1]

    @property
    def options(self) -> dict[str, Any]:
        """The options of the last start that has logged them, with the networks that the first one began with."""
        known = [log.options for log in self.logs if log.options]
        if not known:
            return {}
        paths, begun = (known[place].get("path") for place in (-1, 0))
        if not isinstance(paths, Mapping) or not isinstance(begun, Mapping):
            return known[-1]
        # A resume sets these, so that they would differ from those of a run without one.
        own = {key: value for key, value in paths.items() if not SET_BY_RESUME.match(key)}
        return {**known[-1], "path": own | {key: value for key, value in begun.items() if SET_BY_RESUME.match(key)}}

    @property
    def last(self) -> int:
        """The last iteration that is logged."""
        return self.newest.last or max((log.last for log in self.logs), default=0)

    @property
    def seconds(self) -> float:
        """How long it trained, without what was computed twice."""
        ends = [each.seconds[-1] for each in self.curves.values() if each.seconds]
        return max(ends, default=0.0)

    @property
    def spans(self) -> list[Span]:
        """Its stages in their order; one of no name without stages."""
        found: dict[str, list[int]] = {}
        for key, series in self.curves.items():
            found.setdefault(key.stage, []).extend(series.iterations[:1] + series.iterations[-1:])
        return sorted(
            (Span(name, min(each), max(each)) for name, each in found.items() if each), key=lambda span: span.last
        )

    @property
    def validated(self) -> dict[str, list[tuple[int, int]]]:
        """The number of images of each validation set, with the iteration after which it has been that."""
        found: dict[str, list[tuple[int, int]]] = {}
        for start, images in (each for log in self.logs for each in log.validated):
            for name, number in images.items():
                kinds = found.setdefault(name, [])
                while kinds and kinds[-1][0] >= start:  # what it validated was computed again
                    kinds.pop()
                if not kinds or kinds[-1][1] != number:
                    kinds.append((start, number))
        return found

    def valid_since(self, set_name: str) -> int:
        """Return the iteration after which a validation set has had the images that it has now; 0 is from the start."""
        kinds = self.validated.get(set_name, [])
        return kinds[-1][0] if len(kinds) > 1 else 0

    def higher_is_better(self, metric: str) -> bool:
        """Return whether a metric is better when it is higher."""
        metrics = at(self.options, "val.metrics")
        better = at(metrics, f"{metric}.better") if isinstance(metrics, Mapping) else None
        return metric not in LOWER_IS_BETTER if better is None else better != "lower"


def read_run(place: Place) -> Run:
    """Return a run.

    Raises:
        ReportError: If no log has anything in it, or one cannot be read.
    """
    logs, paths = [], logs_in(place.folder)
    if not paths:
        raise ReportError(
            f"Expected train_*.log in {printable(place.folder)}, and it has none any more: was it renamed?"
        )
    for path in paths:
        try:
            logs.append(read_log(path))
        except OSError as error:
            raise ReportError(f"{printable(path)} cannot be read: {error.strerror or error}.") from error
    empty = [log.path for log in logs if log.began is None]
    logs = sorted((log for log in logs if log.began is not None), key=lambda log: (log.began, log.path.name))
    if not logs:
        size = sum(path.stat().st_size for path in empty)
        got = f"got {size:,} bytes without any" if size else "got an empty file"
        raise NotTrainedError(
            f"Expected lines of BasicSR's log in {printable(empty[0])}, {got}: the run has just begun, or its disk was "
            "full. Look again later, or name another run."
        )
    curves, repeated = _joined(logs)
    run = Run(place.title, place.folder, "", curves, logs, _total(logs))
    run.state = _state(run)
    run.notes = _notes(run, empty, repeated)
    return run


def _joined(logs: Sequence[Log]) -> tuple[Curves, list[tuple[int, int]]]:
    """Return the curves of all starts, later ones in the place of earlier ones, and where iterations were repeated."""
    curves: Curves = {}
    repeated = []
    for log in logs:
        if log.start is None:
            continue
        before = max(
            (
                each.seconds[place - 1]
                for each in curves.values()
                if (place := bisect_right(each.iterations, log.start))
            ),
            default=0.0,
        )
        twice = join(curves, log.curves, log.start, before)
        if twice:
            repeated.append((log.start, twice))
    return {key: each for key, each in curves.items() if each.iterations}, repeated


def _total(logs: Sequence[Log]) -> int | None:
    for log in reversed(logs):
        if log.total:
            return log.total
        if found := whole(at(log.options, "train.total_iter")):
            return found
    return None


def _state(run: Run) -> str:
    if is_held(run.folder):
        return RUNNING
    if run.newest.finished:
        return FINISHED
    changed = max(log.path.stat().st_mtime for log in run.logs)
    pace = [each.iterations[-1] - each.iterations[-2] for each in run.curves.values() if len(each.iterations) > 1]
    between = run.seconds / max(1, run.last) * max(pace, default=0)
    fresh = time.time() - changed < max(LOG_PATIENCE, 3 * between)
    return RUNNING if fresh and not lock_of(run.folder).exists() and not _was_locked(run) else INTERRUPTED


def _was_locked(run: Run) -> bool:
    """Return whether the run is one of ``basicsr``, whose lock is gone when it ends; BasicSR's scripts have none."""
    return any(log.total for log in run.logs)


def _notes(run: Run, empty: Sequence[Path], repeated: Sequence[tuple[int, int]]) -> list[str]:
    found = [f"{path.name} is empty and is left out." for path in empty]
    if not run.curves:
        found.append(_no_iteration(run))
    for start, twice in repeated:
        found.append(
            f"Resumed at iteration {start:,}: {twice:,} iterations were computed again, the later ones are shown."
        )
    for name, images in run.validated.items():
        if since := run.valid_since(name):
            before = ", ".join(f"{number:,}" for number in dict.fromkeys(each for _, each in images[:-1]))
            found.append(
                f"{name}: {images[-1][1]:,} validation images after iteration {since:,}, {before} before. Metrics of "
                f"different images cannot be compared: best values are only those after iteration {since:,}."
            )
    for log in run.logs:
        if log.lost:
            found.append(f"{log.path.name}: {log.lost:,} line{'s'[: log.lost != 1]} cut off or damaged, left out.")
        if log.strange:
            found.append(f"{log.path.name}: {log.strange:,} characters are not UTF-8 and are shown as \ufffd.")
    for key, series in run.curves.items():
        if key.kind in (LOSS, METRIC) and (broken := series.broken):
            what = " of ".join(part for part in (key.name, key.set or key.stage) if part)
            found.append(
                f"{what} is NaN or Inf at {len(broken):,} of {len(series.values):,} points, first at iteration "
                f"{broken[0]:,}: the curve has a gap there."
            )
    return found


def _no_iteration(run: Run) -> str:
    freq = whole(at(run.options, "logger.print_freq"))
    first = f"the first line of losses comes at iteration {freq:,}" if freq else "losses come every logger.print_freq"
    if run.state == RUNNING:
        return f"No iteration is logged yet: {first}."
    return f"No iteration is logged: the run {'ended' if run.state == FINISHED else 'stopped'} before ({first})."


def best_of_run(run: Run) -> list[Best]:
    """Return the best value of each metric on each set in each stage, with its checkpoints."""
    files = _checkpoints(run)
    found = []
    for key, series in run.curves.items():
        if key.kind != METRIC:
            continue
        higher, since = run.higher_is_better(key.name), run.valid_since(key.set)
        best = best_of(series, higher, since=since)
        if best is None:
            continue
        # What BasicSR kept as the best may be that of other images.
        own = [*files.get(best[0], []), *(_kept_best(run, key) if not since else ())]
        kept = None if own else best_of(series, higher, list(files), since)
        found.append(Best(key.stage, key.set, key.name, higher, *best, own, kept and (*kept, files[kept[0]])))
    return found


def _kept_best(run: Run, key: Key) -> list[Path]:
    """Return the file of ``logger.keep_best``, if it is of this metric and set."""
    set_name, _, metric = str(at(run.options, "logger.keep_best") or "").rpartition("/")
    first = next((other.set for other in run.curves if other.kind == METRIC), "")
    file = run.folder / "models" / "net_g_best.pth"
    return [file] if (set_name or first, metric) == (key.set, key.name) and file.is_file() else []


def _checkpoints(run: Run) -> dict[int, list[Path]]:
    """Return the files of networks by iteration, the trained one first."""
    found: dict[int, list[Path]] = {}
    models = run.folder / "models"
    for file in sorted(models.glob("net_*.pth"), key=lambda file: (not file.name.startswith("net_g_"), file.name)):
        if match := WEIGHTS.fullmatch(file.name):
            found.setdefault(int(match[2]), []).append(file)
    latest = models / "net_g_latest.pth"
    if run.newest.finished and latest.is_file():
        found.setdefault(run.last, []).append(latest)
    return found


def ends_at(run: Run, now: datetime | None = None) -> float | None:
    """Return the seconds that a running run still needs by its own pace, None if that cannot be told."""
    pairs = [(each.iterations, each.seconds) for key, each in run.curves.items() if key.kind == RATE]
    if run.state != RUNNING or not run.total or not pairs:
        return None
    iterations, seconds = max(pairs, key=lambda pair: pair[0][-1])
    first = max(0, len(iterations) - 20)
    if first == len(iterations) - 1:
        return None
    per_iteration = (seconds[-1] - seconds[first]) / (iterations[-1] - iterations[first])
    left = (run.total - iterations[-1]) * per_iteration
    since = ((now or datetime.now()) - run.newest.ended).total_seconds() if run.newest.ended else 0.0
    return max(0.0, left - max(0.0, since))
