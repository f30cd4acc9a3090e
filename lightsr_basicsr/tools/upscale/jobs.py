"""Decide under which name each picture is written, and refuse what would destroy one. Imports nothing heavy."""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os.path import expanduser
from pathlib import Path
from typing import NamedTuple

from lightsr_basicsr.film.names import READ, WRITTEN, container_of, ending_of_result, is_film
from lightsr_basicsr.pictures.animation import read_animation
from lightsr_basicsr.pictures.files import ImageError
from lightsr_basicsr.pictures.fitting import SUFFIXES
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.files import no_folder
from lightsr_basicsr.tools.upscale.inputs import Failure, Input, UpscaleError, find_inputs
from lightsr_basicsr.whole import PART

AUTO = "auto"
SHOWN = 5  # pairs of names in a message


class Job(NamedTuple):
    """A picture or a film, and the file that is to be written."""

    source: Path
    target: Path


@dataclass
class Plan:
    """What there is to do."""

    jobs: list[Job]
    folder: Path
    skipped: int = 0  # results that exist already
    failed: list[Failure] = field(default_factory=list)
    others: int = 0  # files that are no pictures and no films by their names
    targets: list[Path] = field(default_factory=list)  # all results, also those that exist


def plan_jobs(
    names: Sequence[str],
    output: str,
    *,
    suffix: str = "",
    ext: str = AUTO,
    recursive: bool = False,
    overwrite: bool = False,
) -> Plan:
    """Return the pictures and films to enlarge and where each result goes. Nothing is written.

    Args:
        names (Sequence[str]): As for :func:`find_inputs`.
        output (str): A folder, in which the folders of the input are kept; or for one input a file.
        suffix (str): Added to each name, after an underscore. Default: ''.
        ext (str): Ending of the results, of pictures or of films; ``'auto'`` is that of the input, and PNG or MKV where
            that cannot be written.
        recursive (bool): Whether folders stand for all below them. Default: False.
        overwrite (bool): Whether results that exist are made again. Default: False.

    Raises:
        UpscaleError: If an input does not exist, two would be written under one name, or a result would replace an
            input.
    """
    _check_suffix(suffix)
    place = Path(expanduser(output))
    inputs = find_inputs(names, recursive, place)
    if _is_file(place, names):
        _check_one_file(place, ext, suffix, inputs.files)
        jobs = [Job(each.path, place) for each in inputs.files]
        folder = place.parent
    else:
        jobs, folder = [_job(each, place, suffix, ext) for each in inputs.files], place
        jobs = _with_own_endings(jobs) if ext == AUTO else jobs
    if suffix:
        jobs = _without_results(jobs, inputs.files)
    _check_inputs_stay(jobs)
    _check_names_differ(jobs)
    todo = [job for job in jobs if overwrite or not job.target.is_file()]
    targets = [job.target for job in jobs]
    return Plan(todo, folder, len(jobs) - len(todo), inputs.failed, inputs.others, targets)


def _check_suffix(suffix: str) -> None:
    if re.search(r"[/\\\0]", suffix):
        raise UpscaleError(f"Expected letters for a name as --suffix, got {suffix!r}: name folders with -o.")


def _is_file(place: Path, names: Sequence[str]) -> bool:
    """Return whether the output is the name of one file."""
    if place.is_dir() or place.suffix.lower() not in (*SUFFIXES, *READ):
        return False
    if len(names) == 1 and not Path(expanduser(names[0])).is_dir():
        return True
    raise UpscaleError(f"The output {printable(place)} is one file, and there are several inputs: name a folder.")


def _check_one_file(place: Path, ext: str, suffix: str, inputs: Iterable[Input]) -> None:
    if suffix or ext not in (AUTO, place.suffix[1:].lower()):
        raise UpscaleError(f"The output {printable(place)} is a whole name: leave --ext and --suffix out.")
    for each in inputs:
        if is_film(each.path):
            container_of(place)
        elif is_film(place):
            names = printable(place), printable(each.path)
            raise UpscaleError(
                f"The output {names[0]} is a film, and {names[1]} a picture: name a picture, such as .png."
            )


def _job(found: Input, folder: Path, suffix: str, ext: str) -> Job:
    ending = _ending(found.path, ext)
    name = f"{found.path.stem}_{suffix}{ending}" if suffix else f"{found.path.stem}{ending}"
    return Job(found.path, folder / found.place.parent / name)


def _with_own_endings(jobs: list[Job]) -> list[Job]:
    """Return the jobs, where a PNG of another format that would take another's name is called ``a.gif.png``."""
    taken = Counter(job.target for job in jobs)
    return [
        job._replace(target=job.target.with_name(job.target.stem + job.source.suffix + job.target.suffix))
        if taken[job.target] > 1 and job.source.suffix.lower() != job.target.suffix.lower()
        else job
        for job in jobs
    ]


def _ending(path: Path, ext: str) -> str:
    """Return the ending of a result: the one asked for, else the input's own, .png or .mkv where it cannot be."""
    film = is_film(path)
    if ext != AUTO and film == (f".{ext}" in WRITTEN):
        return f".{ext}"
    if film:
        return ending_of_result(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind != "GIF":
        return path.suffix if kind else ".png"
    try:
        return path.suffix if read_animation(path) else ".png"
    except ImageError:  # told when it is its turn
        return path.suffix


def _without_results(jobs: list[Job], inputs: list[Input]) -> list[Job]:
    """Return the jobs without pictures that are results of others, as in the second run within one folder."""
    named = {each.path for each in inputs if each.named}
    made = {os.path.realpath(job.target) for job in jobs if not _is_same(*job)}
    return [job for job in jobs if job.source in named or os.path.realpath(job.source) not in made]


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _check_inputs_stay(jobs: Iterable[Job]) -> None:
    """Raise UpscaleError if a result would replace an input, by whatever name or link."""
    jobs = list(jobs)
    sources = {_identity(job.source): job.source for job in jobs}
    for job in jobs:
        identity = _identity(job.target)
        if identity in sources and identity is not None:
            raise UpscaleError(
                f"The result {printable(job.target)} would replace the input {printable(sources[identity])}: name "
                "another folder with -o, or add to the names with --suffix."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_names_differ(jobs: Iterable[Job]) -> None:
    by_target = defaultdict(list)
    for job in jobs:
        by_target[job.target].append(job.source)
    same = [(target, sources) for target, sources in by_target.items() if len(sources) > 1]
    if same:
        lines = "".join(
            f"\n  {printable(target)}: {', '.join(map(printable, sources))}" for target, sources in same[:SHOWN]
        )
        more = f"\n  and {len(same) - SHOWN} more" if len(same) > SHOWN else ""
        raise UpscaleError(
            "Several inputs would be written under one name: keep their endings with --ext auto, or upscale them into "
            f"different folders.{lines}{more}"
        )


def make_writable(plan: Plan) -> bool:
    """Make the folder of the results and remove what killed runs left; return whether the folder is new.

    Raises:
        UpscaleError: If it cannot be made or written.
    """
    new = not plan.folder.exists()
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=plan.folder):
            pass
    except OSError as error:
        raise UpscaleError(
            f"The output folder {printable(plan.folder)} cannot be written ({no_folder(plan.folder, error)}): choose "
            "another with -o."
        ) from error
    _remove_leftovers(plan.targets)
    return new


def _remove_leftovers(targets: Iterable[Path]) -> None:
    """Remove what processes that were killed have left of these results, some beside the finished file."""
    wanted = defaultdict(set)
    for target in targets:
        wanted[target.parent].add(target.name[:40])
    for folder, names in wanted.items():
        for part in folder.glob(f".*{PART}") if folder.is_dir() else ():
            name, _, number = part.name.removeprefix(".").removesuffix(PART).rpartition(".")
            if name in names and number.isdecimal() and not _is_running(int(number)):
                part.unlink(missing_ok=True)


def _is_running(number: int) -> bool:
    if os.name == "nt":  # there `kill` ends the process, whatever the signal
        return False
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return number != os.getpid()
