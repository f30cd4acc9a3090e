"""Make the report of some runs, once or again and again while they go on.

``report(["experiments/x4"])`` does from Python what the command ``basicsr report`` does; ``read_runs`` gives the
numbers alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from os import PathLike
from os.path import expanduser
from pathlib import Path
from typing import Any

from lightsr_basicsr.errors import UserError, message_of
from lightsr_basicsr.pages.building import was_made_by
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.files import check_ours
from lightsr_basicsr.tools.report.find import NotTrainedError, Place, ReportError, find_runs, find_those, joined
from lightsr_basicsr.tools.report.pictures import encode_pictures, find_pictures
from lightsr_basicsr.tools.report.runs import RUNNING, Run, read_run
from lightsr_basicsr.tools.report.tables import HEADER, curves_csv
from lightsr_basicsr.tools.report.webpage import MADE_BY, PAGE, build_page
from lightsr_basicsr.whole import write_whole

Say = Callable[[str], Any]
PICTURES = 0.9  # of the page at most
FIRST_LOOKS, BETWEEN_LOOKS = 300, 2.0  # how often a watch looks for the first log, and seconds between
MOST_FAILURES = 5  # in a row, before a watch gives up


@dataclass(frozen=True)
class Settings:
    """What a report shows.

    Args:
        pictures (int): How many validation pictures are shown; 0 for none. Default: 8.
        megabytes (float): How large the page may be: the size of its pictures is lowered. Default: 20.
        every (float): Seconds between two looks at runs that are going on. Default: 30.
    """

    pictures: int = 8
    megabytes: float = 20
    every: float = 30


@dataclass
class Report:
    """What was found: runs, the page, the CSV or None, and why runs are left out."""

    runs: list[Run]
    page: Path
    csv: Path | None
    left_out: list[str]

    @property
    def running(self) -> bool:
        """Whether one of the runs is going on."""
        return any(run.state == RUNNING for run in self.runs)


def read_runs(runs: str | PathLike | Sequence[str | PathLike]) -> list[Run]:
    """Return runs with their curves, joined over resumes and not thinned.

    Args:
        runs (str | PathLike | Sequence): As for :func:`~lightsr_basicsr.tools.report.find.find_runs`.

    Raises:
        ReportError: If one is no run, or has logged nothing.
    """
    return [read_run(place) for place in find_runs(_several(runs))]


def report(
    runs: str | PathLike | Sequence[str | PathLike],
    output: str | PathLike | None = None,
    *,
    csv: str | PathLike | None = None,
    settings: Settings | None = None,
    watch: bool = False,
    say: Say = lambda text: None,
) -> Report:
    """Write the page of some runs, and return what is in it.

    Args:
        runs (str | PathLike | Sequence): As for :func:`~lightsr_basicsr.tools.report.find.find_runs`.
        output (str | PathLike | None): The page, or a folder for it. Default: None, in the folder of the run; for
            several beside them, or in the working directory if their folders lie in different ones.
        csv (str | PathLike | None): A file for all points of all curves. Default: None.
        settings (Settings | None): What is shown. Default: None.
        watch (bool): Whether to write it again and again until no run goes on, and to wait up to ten minutes for the
            first lines of a run that has not logged any yet. A KeyboardInterrupt is passed on when
            the page no longer loads itself again. Default: False.
        say (Callable): Called with sentences on what happens meanwhile.

    Raises:
        UserError: If no run is found, all of them are empty, or the page cannot be written.
    """
    settings = settings or Settings()
    _check(settings)
    _target(output, [])  # told before a wait
    table = None if csv is None else _csv_target(Path(expanduser(csv)))
    work, made = _begun(_several(runs), output, table, settings, say if watch else None)
    return _watched(made, work, settings, say) if watch else made


@dataclass(frozen=True)
class _Work:
    """What is written: the runs, the files, and why other runs are not in it."""

    places: list[Place]
    page: Path
    table: Path | None
    missing: list[ReportError]


def _begun(
    named: Sequence[str | PathLike],
    output: str | PathLike | None,
    table: Path | None,
    settings: Settings,
    wait: Say | None,
) -> tuple[_Work, Report]:
    """Write the page for the first time; with ``wait``, which is told so, when the first run has logged something."""
    for look in count(1):
        try:
            places, missing = find_those(named)
            if not places:
                raise joined(missing)
            work = _Work(places, _target(output, places), table, missing)
            return work, _make(work, settings, live=wait is not None)
        except NotTrainedError:
            if wait is None or look == FIRST_LOOKS:
                raise
            if look == 1:
                minutes = FIRST_LOOKS * BETWEEN_LOOKS / 60
                wait(f"Nothing is logged yet: waiting for it at most {minutes:g} minutes; Ctrl-C ends that.")
            time.sleep(BETWEEN_LOOKS)
    raise AssertionError("the last look returns or raises")


def _watched(made: Report, work: _Work, settings: Settings, say: Say) -> Report:
    page = made.page
    try:
        if made.running:
            say(f"{printable(page)} is written every {settings.every:g} s while the run goes on; Ctrl-C ends that.")
        failures = 0
        while made.running:
            time.sleep(settings.every)
            try:
                made, failures = _make(work, settings, live=True), 0
            except (UserError, OSError) as error:  # a full disk, or a run that was moved aside by another start
                failures += 1
                if failures == MOST_FAILURES:
                    raise
                say(message_of(error))
    except KeyboardInterrupt:
        _make(work, settings, live=False)
        raise
    return made


def _make(work: _Work, settings: Settings, live: bool) -> Report:
    """Read the runs and write the files; ``live`` is for a page that is written again."""
    runs, missing = [], [*work.missing]
    for place in work.places:
        try:
            runs.append(read_run(place))
        except ReportError as error:
            missing.append(error)
    if not runs:
        raise joined(missing)
    left_out = [str(each) for each in missing]
    made = Report(runs, work.page, work.table, left_out)
    shown, notes = find_pictures([run.folder for run in runs], settings.pictures)
    gallery = encode_pictures(shown, PICTURES * settings.megabytes)
    every = settings.every if live and made.running else None
    write_whole(work.page, build_page(runs, gallery, every, [*left_out, *notes]), error=ReportError)
    if work.table is not None:
        write_whole(work.table, curves_csv(runs), error=ReportError)
    return made


def _several(runs: str | PathLike | Sequence[str | PathLike]) -> list[str | PathLike]:
    return [runs] if isinstance(runs, (str, PathLike)) else list(runs)


def _check(settings: Settings) -> None:
    if settings.pictures < 0:
        raise ReportError(f"Expected 0 or more validation pictures, got {settings.pictures}: correct --pictures.")
    if not 0.1 <= settings.megabytes <= 500:
        raise ReportError(f"Expected 0.1 to 500 MB for the page, got {settings.megabytes:g}: correct --page-size.")
    if not 1 <= settings.every <= 86400:
        raise ReportError(f"Expected 1 to 86400 seconds between two looks, got {settings.every:g}: correct --every.")


def _target(output: str | PathLike | None, places: Sequence[Place]) -> Path:
    """Return the file of the page; without places, only one that is named is checked.

    Raises:
        ReportError: If it would replace something else than a report, or lies in no folder.
    """
    if output is None:
        if not places:
            return Path(PAGE)
        parents = {place.folder.absolute().parent for place in places}
        folder = places[0].folder if len(places) == 1 else parents.pop() if len(parents) == 1 else Path()
        path = folder / PAGE
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    else:
        path = Path(expanduser(output))
        path = path / PAGE if path.is_dir() else path
    _check_place(path, lambda content: was_made_by(content, MADE_BY), "a report", "-o")
    return path


def _csv_target(path: Path) -> Path:
    first = ",".join(HEADER).encode()
    _check_place(path, lambda content: content.startswith(first), "a CSV of a report", "--csv")
    return path


def _check_place(path: Path, is_ours: Callable[[bytes], bool], kind: str, flag: str) -> None:
    shown = printable(path)
    if path.is_dir():
        raise ReportError(f"Expected a file to write, got {shown}, which is a folder: name a file with {flag}.")
    if not path.parent.is_dir():
        raise ReportError(f"Expected a folder to write {path.name} to, and {printable(path.parent)} is none: make it, "
                          f"or choose another with {flag}.")  # fmt: skip
    if not os.access(path.parent, os.W_OK):
        raise ReportError(
            f"Expected a folder that can be written to, and {printable(path.parent)} cannot: set its permissions "
            f"right, or choose another with {flag}."
        )
    check_ours(path, is_ours, kind, f"choose another name with {flag}", ReportError)
