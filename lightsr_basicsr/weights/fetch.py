"""Put an official file into the cache: from an address, with the user's consent, or from a file that is there."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from os.path import expanduser
from pathlib import Path

from lightsr_basicsr.weights.alone import alone
from lightsr_basicsr.weights.content import checksum, find_problem
from lightsr_basicsr.weights.download import DownloadError, download, is_address
from lightsr_basicsr.weights.drive import download_from_drive, is_drive
from lightsr_basicsr.weights.folder import cache_folder, make_folder
from lightsr_basicsr.weights.names import WeightsError, find_entry
from lightsr_basicsr.weights.official import OfficialNetwork

Report = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What :func:`fetch` would do for one official file."""

    entry: OfficialNetwork
    place: Path  # of the file in its folder
    there: bool  # whether it is there already, and whole
    problem: str | None = None  # what is wrong with the file that is there
    file: Path | None = None  # on this machine, to be copied
    address: str | None = None  # to be downloaded

    @property
    def command(self) -> str:
        """The command that fetches this file."""
        source = None if self.address == self.entry.address else self.address
        return _command(self.entry, self.place.parent, source)


def plan_fetch(name: str, folder: str | PathLike | None = None, source: str | PathLike | None = None) -> Plan:
    """Return what is to do for an official file. Nothing is downloaded or written.

    Args:
        name (str): As for :func:`lightsr_basicsr.weights.names.find_entry`.
        folder (str | PathLike | None): For the file. None is the cache. Default: None.
        source (str | PathLike | None): The file, downloaded before, or its address. Default: None, the table's address.

    Raises:
        WeightsError: If the name is unknown, ``source`` is not the file, or it is neither there nor has an address.
    """
    entry = find_entry(name)
    if folder is None and entry.in_package:
        return Plan(entry, entry.in_package, there=True)
    place = (cache_folder() if folder is None else Path(expanduser(folder)).absolute()) / entry.file
    problem = _problem_at(place, entry)
    there = problem is None and place.is_file()
    if there:
        return Plan(entry, place, there)
    if source is not None and not is_address(os.fspath(source)):
        return Plan(entry, place, there, problem, file=_checked(Path(expanduser(source)), entry))
    if source is None and folder is not None:
        cached = entry.in_package or cache_folder() / entry.file
        if cached.is_file() and find_problem(cached, entry) is None:
            return Plan(entry, place, there, problem, file=cached)
    address = entry.address if source is None else os.fspath(source)
    if address is None:
        raise WeightsError(
            f"{entry.file} is not in {place.parent}, and the address of the file is not known. "
            f"{how_by_hand(entry, place)}"
        )
    return Plan(entry, place, there, problem, address=address)


def how_by_hand(entry: OfficialNetwork, place: Path) -> str:
    """Return where the authors published a file, and what to do with it."""
    known = f" ({entry.place})" if entry.place else ""
    called = f" as {entry.released_as}" if entry.released_as else ""
    command = _command(entry, place.parent, "FILE")
    return (
        f"It is published{called} at {entry.source}{known}: download it there and run `{command}` (FILE may also be "
        f"its address), or put it into {place.parent} as {place.name}."
    )


def _command(entry: OfficialNetwork, folder: Path, source: str | None) -> str:
    given = [] if source is None else ["--from", source]
    elsewhere = [] if folder == cache_folder() else ["--folder", str(folder)]
    return shlex.join(["basicsr", "fetch", entry.name, *given, *elsewhere])


def fetch(plan: Plan, report: Report = lambda line: None, progress: bool = False) -> Path:
    """Carry a plan out and return the file. To call it is to agree to the download.

    The file gets its name only when it is whole, and its size and checksum are right where the table knows them.

    Args:
        plan (Plan): Of :func:`plan_fetch`.
        report (Callable): Called with a line for the user. Default: no report.
        progress (bool): Whether to show a progress bar on a terminal. Default: False.

    Raises:
        WeightsError: If the folder cannot be written, the download fails, or another file came than was expected.
        OSError: If the disk is full.
    """
    if plan.there:
        return plan.place
    make_folder(plan.place.parent)
    with alone(plan.place, report):
        if plan.place.is_file() and find_problem(plan.place, plan.entry) is None:
            return plan.place  # another process was faster
        part = plan.place.with_name(f"{plan.place.name}.part")
        if plan.file is not None:
            _copy(plan.file, part)
        else:
            _download(plan, part, progress)
        _publish(plan, part)
    if plan.entry.sha256 is None:
        report(f"no checksum of {plan.entry.file} is known to compare; it has sha256 {checksum(plan.place)}")
    return plan.place


def _problem_at(place: Path, entry: OfficialNetwork) -> str | None:
    if os.path.lexists(place) and not place.is_file():
        raise WeightsError(f"{place} is there, but is no plain file: move it away, or choose another with --folder.")
    return find_problem(place, entry) if place.is_file() else None


def _checked(file: Path, entry: OfficialNetwork) -> Path:
    if not os.path.isfile(file):
        raise WeightsError(f"There is no file {file} (looked from {Path.cwd()}): name the one that you downloaded.")
    if problem := find_problem(file, entry):
        raise WeightsError(f"{file} is not {entry.file} of {entry.source}: {problem}. Get it again, or name another.")
    return file


def _copy(file: Path, part: Path) -> None:
    try:
        shutil.copyfile(file, part)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def _download(plan: Plan, part: Path, progress: bool) -> None:
    entry = plan.entry
    try:
        if is_drive(plan.address):
            download_from_drive(plan.address, part, progress)
        else:
            download(plan.address, part, size=entry.size, checked=entry.sha256 is not None, progress=progress)
    except DownloadError as error:
        raise DownloadError(f"{error} {how_by_hand(entry, plan.place)}") from error


def _publish(plan: Plan, part: Path) -> None:
    """Give a complete file its name, or delete it if it is another one."""
    if problem := find_problem(part, plan.entry):
        part.unlink()
        source = plan.file or plan.address
        raise DownloadError(
            f"What came from {source} is not {plan.entry.file}, and was deleted: {problem}. Try it again, or name "
            "another source with --from."
        )
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, plan.place)
