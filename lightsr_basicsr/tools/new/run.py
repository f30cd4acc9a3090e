"""Make a project: data, option files sized to this machine, commands."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from os.path import expanduser
from pathlib import Path, PurePath
from typing import Any

import torch

from lightsr_basicsr.fields import LONGEST_NAME
from lightsr_basicsr.option_files.sets import expand_sets
from lightsr_basicsr.pictures.reading import printable
from lightsr_basicsr.tools.files import lies_with
from lightsr_basicsr.tools.new import networks, trial
from lightsr_basicsr.tools.new.bicubic import bicubic_psnr
from lightsr_basicsr.tools.new.data import TILE, VALIDATED, prepare, read_record
from lightsr_basicsr.tools.new.options import Project, test_rows, train_rows
from lightsr_basicsr.tools.new.photographs import NewError
from lightsr_basicsr.tools.new.recipes import Recipe
from lightsr_basicsr.tools.new.yaml_text import to_text
from lightsr_basicsr.whole import write_whole

MINUTES = 30.0
USED = 0.9  # share of the time that goes to steps; the rest to start, saves and the comparison at the end
SOONEST, LATEST, OFTEN = 30.0, 150.0, 20  # seconds between validations, and how many of them if that allows
FEWEST = 300  # iterations below which nothing can be expected
SIZES = ("auto", "small", "full")


@dataclass(frozen=True)
class Wishes:
    """What the user wants.

    Attributes:
        network (str | None): Its name; None: that of ``init``.
        scale (int | None): None: that of ``init``, or 4.
        minutes (float): How long the training may take.
        size (str): One of ``SIZES``.
        patch (int | None): Side of HR patches; None: the recipe's.
        init (str | None): Weights to start from, a file or an official name.
        overwrite (bool): Whether to make a finished project again; its data are kept and completed.
        device (str | None): ``'cpu'`` or ``'cuda'``; None: a GPU if there is one.
        jobs (int | None): Photographs at a time.
        plugins (tuple[str, ...]): Packages, imported already, that the option files have to name.
    """

    network: str | None
    scale: int | None = None
    minutes: float = MINUTES
    size: str = "auto"
    patch: int | None = None
    init: str | None = None
    overwrite: bool = False
    device: str | None = None
    jobs: int | None = None
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """A project that was made, and what was measured."""

    project: Project
    pace: trial.Pace
    notes: list[str]
    is_identified: bool  # whether our commands know the network by its file alone
    has_run: bool = False  # whether there is a run of this project already

    @property
    def first_validation(self) -> float:
        """Seconds from the start of the training to the end of its first validation, about."""
        return self.project.interval * self.pace.step + self.pace.validation


def make(source: str, out: str, wishes: Wishes, progress: Callable[[str, int, int], None]) -> Made:
    """Make a project of the photographs below ``source`` in the folder ``out``.

    Raises:
        UserError: If that cannot be done; the message says why and what to do.
        OSError: If something cannot be written.
    """
    photographs, folder = Path(expanduser(source)), Path(expanduser(out))
    _check_numbers(wishes)
    start = networks.read_start(wishes.init) if wishes.init else None
    recipe, scale = networks.choose(wishes.network, wishes.scale, start)
    on_gpu = _on_gpu(wishes.device)
    small = bool(recipe.small) and not start and (wishes.size == "small" or (wishes.size == "auto" and not on_gpu))
    section = dict(start.section) if start else recipe.section(scale, small)
    patch = _patch(recipe, scale, wishes.patch, small or not on_gpu)
    networks.check(recipe, section, scale, patch // scale)
    name = _check_place(photographs, folder, wishes.overwrite)
    threads = cores()
    data = prepare(photographs, folder / "data", patch, wishes.jobs or threads, progress)
    project = Project(
        name, PurePath(folder), recipe, section, scale, data, patch,
        recipe.batch if on_gpu else recipe.small_batch, _workers(threads, on_gpu), on_gpu,
        start=start and start.file, plugins=wishes.plugins, threads=threads,
    )  # fmt: skip
    made = replace(_timed(project, wishes.minutes, progress), has_run=os.path.lexists(Path("experiments", name)))
    for file, rows in (("test.yml", test_rows), ("train.yml", train_rows)):  # the last one marks a finished project
        write_whole(folder / file, _text(made.project, rows).encode(), error=NewError)
    return made


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers(threads: int, on_gpu: bool) -> int:
    """Return how many processes read data; without a GPU the network needs the cores itself."""
    return min(max(threads - 1, 1), 8) if on_gpu else 1 + (threads > 4)


def _check_numbers(wishes: Wishes) -> None:
    if not 0 < wishes.minutes <= 60 * 24 * 365:
        raise NewError(f"Expected --minutes above 0 and up to a year, got {wishes.minutes:g}: correct it.")
    if wishes.network is None and wishes.init is None:
        raise NewError("Expected --network or --init, got neither: `basicsr new --help` lists networks.")
    if wishes.jobs is not None and wishes.jobs < 1:
        raise NewError(f"Expected --jobs of at least 1, got {wishes.jobs}: correct it.")


def _on_gpu(device: str | None) -> bool:
    if device == "cuda" and not torch.cuda.is_available():
        raise NewError("Expected a GPU for --device cuda, PyTorch finds none: leave --device out.")
    return device != "cpu" and torch.cuda.is_available()


def _patch(recipe: Recipe, scale: int, wanted: int | None, small: bool) -> int:
    if wanted is None:
        return min((recipe.small_patch if small else recipe.patch) * scale, TILE // scale * scale)
    if wanted % scale or not 8 * scale <= wanted <= TILE:
        raise NewError(f"Expected a --patch that is a multiple of the scale {scale}, from {8 * scale} to {TILE}, got "
                       f"{wanted}: for example {24 * scale}.")  # fmt: skip
    return wanted


def _check_place(photographs: Path, folder: Path, overwrite: bool) -> str:
    """Return the name of the run; NewError if the project cannot be made in this folder."""
    if not str(folder).isprintable():  # option files hold it
        raise NewError(f"Expected a folder whose name can be printed, got {str(folder)!a}: choose another -o.")
    if lies_with(folder, photographs):
        raise NewError(
            f"Expected a folder beside the photographs, got {printable(folder)}, and nothing is written among them: "
            "choose another -o."
        )
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not there.is_dir():
        raise NewError(f"Expected a folder for the project, got the file {printable(there)}: choose another -o.")
    ours = read_record(folder / "data") is not None
    if folder.is_dir() and not ours and any(folder.iterdir()):
        raise NewError(f"Expected a new or empty folder, {printable(folder)} holds other files: choose another -o.")
    if ours and (folder / "train.yml").exists() and not overwrite:
        raise NewError(
            f"{printable(folder)} holds a finished project: add --overwrite to write its option files again and to "
            "take up new photographs, or choose another -o."
        )
    name = _name_of_run(Path(os.path.realpath(folder)))
    if not ours and os.path.lexists(run := Path("experiments", name)):
        raise NewError(f"Expected that {run} is free for this project's run, it exists: choose another name in -o, or "
                       "move it away.")  # fmt: skip
    _check_writable(folder)
    return name


def _name_of_run(folder: Path) -> str:
    """Return a name that no other project has which is used from the working directory.

    It is that of the folder, with a part that stands for its path unless it lies in the working directory itself.
    """
    name = re.sub(r"[^\w.-]+", "_", folder.name).strip("._-")[: LONGEST_NAME // 4] or "project"
    path = os.path.relpath(folder, os.path.realpath(Path.cwd()))
    return name if name == path else f"{name}_{hashlib.sha256(path.encode()).hexdigest()[:6]}"


def _check_writable(folder: Path) -> None:
    place = folder
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".trial-"):
            pass
    except OSError as error:
        raise NewError(f"Expected a folder that can be written, got {printable(place)} ({error.strerror}): choose "
                       "another -o.") from error  # fmt: skip


def _timed(project: Project, minutes: float, progress: Callable) -> Made:
    """Return the project with as many iterations as the minutes allow."""
    progress("trial", 0, 1)
    options = expand_sets(train_rows(project).plain(), "train.yml")
    tested = min(len(project.data.held_out), VALIDATED) * sum(key.startswith("val") for key in options["datasets"])
    pace, batch = trial.measure(options, "cuda" if project.on_gpu else "cpu", tested)
    progress("trial", 1, 1)
    seconds = 60 * minutes * USED
    between = max(min(max(seconds / OFTEN, SOONEST), LATEST), 10 * pace.validation)
    interval = min(max(1, _rounded(between / pace.step)), max(1, _rounded(seconds / 3 / pace.step)))
    steps = seconds - seconds / between * pace.validation
    total = max(interval, _rounded(steps / pace.step), 3)
    allowed = f"{minutes:g} minute{'s'[: minutes != 1]}"
    measured = f"what fits into {allowed} here: {pace.step:.3g} s each, and {pace.validation:.2g} s a validation"
    made = replace(project, batch=batch, bicubic=tuple(bicubic_psnr(options))).lasting(total, interval, measured)
    notes = list(project.data.notes)
    if total < FEWEST and not project.start:
        smaller = ", --size small" if project.recipe.small and not project.is_small else ""
        notes.append(f"{total} iterations teach a network little: give more --minutes{smaller}, or --init FILE.")
    return Made(made, pace, notes, networks.is_ours(project.recipe))


def _rounded(number: float) -> int:
    """Return a number with its first two digits, and zeros.

    >>> _rounded(1234.5), _rounded(9.9)
    (1200, 9)
    """
    whole = int(number)
    unit = 10 ** max(len(str(whole)) - 2, 0)
    return whole // unit * unit


def _text(project: Project, rows: Callable[[Project], Any]) -> str:
    train = rows is train_rows
    title = f"{'Trains' if train else 'Tests'} {project.recipe.title} x{project.scale} on"
    what = f"{title} {len(project.data.used)} photographs, {len(project.data.held_out)} of them held out."
    kind = "train" if train else "test"
    command = shlex.join(["basicsr", kind, "-opt", project.path(f"{kind}.yml")])
    where = f"Made by `basicsr new`; start it from {Path.cwd()}, since paths are relative to that folder:"
    lines = [what, *([where] if not project.folder.is_absolute() else ["Made by `basicsr new`:"]), command]
    return "".join(f"# {printable(Path(each)) if each == where else each}\n" for each in lines) + to_text(rows(project))
