"""Find the folders of runs by what a user types: a folder, a name, or something that lies in a run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from os import PathLike
from os.path import expanduser
from pathlib import Path
from typing import NamedTuple

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.files import split_title
from lightsr_basicsr.tools.images import some
from lightsr_basicsr.tools.report.alive import is_held

PARENT = "experiments"
TENSORBOARD = "tb_logger"
DEEPEST = 3  # folders above something in a run's folder: visualization/baby/baby_5000.png


class ReportError(UserError):
    """A report cannot be made. The message says what was expected, what was found, and what to do."""


class NotTrainedError(ReportError):
    """A run has logged nothing yet, which a watch waits for."""


class Place(NamedTuple):
    """The folder of a run, and its title in the report."""

    folder: Path
    title: str


def find_runs(named: Sequence[str | PathLike]) -> list[Place]:
    """Return the runs that are named; one that is named twice is there once, and titles are different.

    Args:
        named (Sequence): Folders of runs, names of folders in ``experiments``, files or folders in a run's folder, or
            its folder in ``tb_logger``; ``'TITLE=RUN'`` gives a title.

    Raises:
        ReportError: If one is no run, with those that it may mean.
    """
    found, missing = find_those(named)
    if missing:
        raise missing[0]
    return found


def find_those(named: Sequence[str | PathLike]) -> tuple[list[Place], list[ReportError]]:
    """Return the runs that are there, as ``find_runs`` does, and why others are not."""
    if not named:
        raise ReportError("Expected at least one run, got none: name a folder in experiments.")
    found: dict[Path, Place] = {}
    missing: list[ReportError] = []
    for text in named:
        title, rest = split_title(text)
        try:
            folder = _folder_of(rest)
        except ReportError as error:
            missing.append(error)
        else:
            found.setdefault(folder.resolve(), Place(folder, title or ""))
    return _titled(list(found.values())), missing


def joined(errors: Sequence[ReportError]) -> ReportError:
    """Return one error that says all of them; it can be waited for if one of them can."""
    kind = NotTrainedError if any(isinstance(each, NotTrainedError) for each in errors) else ReportError
    return kind("\n".join(map(str, errors)))


def logs_in(folder: Path) -> list[Path]:
    """Return the logs of training in a run's folder, sorted by name, which holds the time; none of another folder."""
    logs = sorted(file for file in folder.glob("*.log") if file.is_file() and not file.name.startswith("test_"))
    # What a shell wrote of the same training has the same lines, so that others count only where there are none.
    named = [file for file in logs if file.name.startswith("train_")]
    return named or (logs if _is_run(folder) else [])


def _folder_of(text: str) -> Path:
    """Return the folder of the run that a text means."""
    if "\0" in text or not text.strip():
        raise ReportError(f"Expected a run, got {text!r}, which no folder can be called: name one in {PARENT}.")
    path = Path(expanduser(text))
    project = [Path(PARENT, path.name)] if _is_project(path) else []
    for place in (path, Path(PARENT) / path, *project):
        if not os.path.lexists(place):
            continue
        if place.parent.name == TENSORBOARD and logs_in(place.parents[1] / PARENT / place.name):
            return place.parents[1] / PARENT / place.name
        own = place if place.is_dir() else place.parent
        if logs_in(own):
            return own
        for folder in list(own.absolute().parents)[:DEEPEST]:
            if _is_run(folder) and logs_in(folder):
                return folder
    for place in (Path(PARENT) / path, *project, path):
        if _is_begun(place):
            raise NotTrainedError(_not_yet(place, path))
    raise ReportError(_why_not(text, path))


def _is_run(folder: Path) -> bool:
    """Return whether a folder is a run's by what lies in it beside logs."""
    return any((folder / name).is_dir() for name in ("models", "training_states"))


def _is_project(folder: Path) -> bool:
    """Return whether a folder is what ``basicsr new`` writes; the run of the same name lies in ``experiments``."""
    try:
        return (folder / "train.yml").is_file()
    except OSError:  # a name that is too long
        return False


def _is_begun(folder: Path) -> bool:
    """Return whether a folder without logs is that of a run that begins, or of a project."""
    try:
        if any(folder.glob("test_*.log")):
            return False
        return _is_run(folder) or _is_project(folder) or is_held(folder)
    except OSError:
        return False


def _not_yet(folder: Path, path: Path) -> str:
    """Return what to say of a run that was never trained, or came without its log."""
    if any(folder.glob("models/*.pth")):
        return (
            f"Expected train_*.log in the folder of a run, and {printable(folder)} has networks and none: bring it "
            "from where the run was trained, for curves come from it."
        )
    start = f"Start `basicsr train -opt {printable(path / 'train.yml')}`" if _is_project(path) else "Start its training"
    return (
        f"Expected train_*.log in the folder of a run, and {printable(folder)} has none: it has not been trained yet. "
        f"{start}, or if it has just begun, look again in a minute (--watch waits for its first lines)."
    )


def _why_not(text: str, path: Path) -> str:
    shown = printable(path)
    if os.path.isdir(path) and (inside := _runs_in(path)):
        return f"Expected the folder of one run, got {shown} with {len(inside)} of them: name one, as {_named(inside)}."
    near = [*_runs_in(path.parent), *_runs_in(Path(PARENT))]
    if os.path.exists(path):  # that of Path fails for a name that is too long
        missing = f"Expected train_*.log in the folder of a run, and {shown} has none"
        tested = path.is_dir() and any(path.glob("test_*.log"))
        missing += ": a test has no curves" if tested else ""
        return f"{missing}. {_instead(near)}"
    close = get_close_matches(path.name, [each.name for each in near], n=3, cutoff=0.5)
    chosen = [each for each in near if each.name in close] or near
    complete = path.is_absolute() or path.parts[:1] == (PARENT,)
    where = f"{shown} does not exist" if complete else f"neither {shown} nor {PARENT}/{shown} exists"
    return f"Expected the folder or the name of a run, got {text!r}, and {where}. {_instead(chosen)}"


def _instead(runs: list[Path]) -> str:
    if runs:
        return f"Runs near: {_named(runs)}."
    return f"There is no run near; runs are folders in {PARENT}: start from the folder that you trained in."


def _runs_in(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir() and logs_in(each))
    except OSError:
        return []


def _named(runs: Iterable[Path]) -> str:
    return some([printable(each) for each in dict.fromkeys(runs)])


def _titled(places: list[Place]) -> list[Place]:
    """Give every run a title that no other one has: its name, with as many folders before as that needs."""
    folders = [place.folder.resolve() for place in places]
    titles = [place.title or _long_title(folder, 1) for place, folder in zip(places, folders, strict=True)]
    for depth in range(2, 1 + max((len(folder.parts) for folder in folders), default=0)):
        same = {title for title in titles if titles.count(title) > 1}
        for number, title in enumerate(titles):
            if title in same and not places[number].title:
                titles[number] = _long_title(folders[number], depth)
    for number, title in enumerate(titles):  # given twice by the user
        if title in titles[:number]:
            titles[number] = f"{title} ({number + 1})"
    return [place._replace(title=title) for place, title in zip(places, titles, strict=True)]


def _long_title(folder: Path, depth: int) -> str:
    """Return the last parts of a path, without the folder that all runs have.

    >>> _long_title(Path("/data/one/experiments/x4"), 3)
    'one/x4'
    """
    parts = [part for part in folder.parts[-depth:] if part != PARENT]
    return printable(Path(*(parts or folder.parts[-1:])))
