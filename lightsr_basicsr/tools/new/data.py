"""The data of a project: HR crops of photographs, as PNG files, and a record of what they were made from.

LR images are made from them while training, so nothing else is stored. Every file is whole or not there, and its name
says from which pixels it was cut: a preparation that was killed goes on where it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.tools.images import remove_parts, spread, write_png
from lightsr_basicsr.tools.new.photographs import (
    NewError,
    Photograph,
    find_photographs,
    in_threads,
    large_enough,
    look_at,
    read_rgb,
    stamp_of,
    without_doubles,
)
from lightsr_basicsr.tools.new.split import held_out
from lightsr_basicsr.whole import write_whole

TILE = 480  # least side of the crops of a large photograph: small enough to be read quickly, hundreds of times
MIDDLE = 640  # longest side of what is validated of a photograph
MOST_CROPS = 4000  # of all photographs to train on; some 2 GB
VALIDATED = 8  # held-out photographs on which training validates; the test takes all
LEAST, FEW = 2, 10
RECORD, TRAIN, HELD_OUT, LIST = "photographs.json", "train", "held_out", "validated.txt"
OURS = re.compile(r".*_[0-9a-f]{16}(_s\d+of\d+)?\.png")
Progress = Callable[[str, int, int], None]


@dataclass
class Data:
    """What the folder ``data`` of a project holds.

    Attributes:
        folder (Path): The folder.
        photographs (list[Photograph]): All that were found, those that are left out too.
        others (int): Files among them that are no photographs by their names.
        held_out (list[str]): Names of those that are not trained on.
        alike (list[str]): Those of them that are held out because they resemble another one.
        crops (int): Files to train on.
        notes (list[str]): What the user should know.
    """

    folder: Path
    photographs: list[Photograph] = field(default_factory=list)
    others: int = 0
    held_out: list[str] = field(default_factory=list)
    alike: list[str] = field(default_factory=list)
    crops: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def used(self) -> list[Photograph]:
        """The photographs that are used, in the order of their names."""
        return [each for each in self.photographs if not each.problem]

    @property
    def left_out(self) -> list[Photograph]:
        """The photographs that are not used, each with its ``problem``."""
        return [each for each in self.photographs if each.problem]

    @property
    def validated(self) -> Path | None:
        """The list of the held-out crops on which training validates; None where it takes all."""
        return self.folder / LIST if len(self.held_out) > VALIDATED else None


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return what a project's data were made from, None if the folder is not that of a project."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("held_out"), list) else None


def prepare(source: Path, folder: Path, patch: int, workers: int, progress: Progress) -> Data:
    """Look at photographs, split them, and write the crops that are missing in ``folder``.

    Args:
        source (Path): Photographs, in folders of any depth; nothing is ever written there.
        folder (Path): Where the crops go.
        patch (int): Side of the patches that training cuts out, in pixels.
        workers (int): Photographs at a time.
        progress (Callable): Gets a title, how many are done, and of how many.

    Raises:
        NewError: If there are too few photographs, or most are too small.
        OSError: If something cannot be written.
    """
    data, record = Data(folder), read_record(folder) or {"held_out": []}
    paths, data.others = find_photographs(source)
    seen = list(_look_at_all(paths, source, record, workers, progress))
    data.photographs = large_enough(without_doubles(seen, record["held_out"]), patch)
    _check_number(data, source)
    data.held_out, data.alike = held_out(data.used, set(record["held_out"]))
    # Names stay on the list when a photograph is away for a while.
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted({*record["held_out"], *data.held_out})
    _write_record(folder, {"held_out": names, "photographs": [each.record() for each in seen]})
    _write_crops(data, source, workers, progress)
    return data


def _write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_whole(folder / RECORD, json.dumps(record, indent=1).encode(), error=NewError)


def _look_at_all(
    paths: Sequence[Path], source: Path, record: Mapping[str, Any], workers: int, progress: Progress
) -> Iterator[Photograph]:
    known = {each["name"]: Photograph(**each) for each in record.get("photographs", ())}

    def look(path: Path) -> Photograph:
        name = path.relative_to(source).as_posix()
        same = known.get(name)
        return same if same and same.stamp == stamp_of(path) and not same.problem else look_at(path, name)

    for done, each in enumerate(in_threads(look, paths, workers), 1):
        progress("photographs", done, len(paths))
        yield each


def _check_number(data: Data, source: Path) -> None:
    count = len(data.used)
    if count < LEAST:
        reasons = "; ".join(f"{each.name}: {each.problem}" for each in data.left_out[:3])
        raise NewError(
            f"Expected at least {LEAST} photographs that can be used, 20 or more are better; got {count} in {source}"
            f"{f' ({reasons})' if reasons else ''}: add photographs."
        )
    if count < FEW:
        data.notes.append(
            f"{count} photographs are few: expect a network that knows little else, and a rough validation. 20 or more "
            "are better."
        )


def _write_crops(data: Data, source: Path, workers: int, progress: Progress) -> None:
    """Write the crops that are missing, and remove those of photographs that are no longer used."""
    folders = {data.folder / TRAIN: [], data.folder / HELD_OUT: []}
    for folder in folders:
        folder.mkdir(exist_ok=True)
    remove_parts(folders)
    most = max(1, MOST_CROPS // (len(data.used) - len(data.held_out)))
    jobs = []
    for each in data.used:
        out = each.name in data.held_out
        folder = data.folder / (HELD_OUT if out else TRAIN)
        crops = {folder / f"{name}.png": area for name, area in crops_of(each, 1 if out else most).items()}
        folders[folder] += crops
        jobs.append((source / each.name, each, crops))
    for folder, crops in folders.items():
        _remove_others(folder, set(crops))
    for done, _ in enumerate(in_threads(_write_missing, jobs, workers), 1):
        progress("crops", done, len(jobs))
    data.crops = len(folders[data.folder / TRAIN])
    if data.validated:
        first = spread(sorted(path.name for path in folders[data.folder / HELD_OUT]), VALIDATED)
        write_whole(data.validated, "".join(f"{name}\n" for name in first).encode(), error=NewError)


def crops_of(photograph: Photograph, most: int) -> dict[str, tuple[int, int, int, int]]:
    """Return (top, left, height, width) of at most ``most`` crops that cover a photograph evenly, by their names.

    One that is held out (``most`` is 1) is cropped in its middle.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(photograph.name).stem)[:60] or "photograph"
    name, (height, width) = f"{plain}_{photograph.pixels}", (photograph.height, photograph.width)
    if most == 1:
        rows, columns = min(height, MIDDLE), min(width, MIDDLE)
        return {name: ((height - rows) // 2, (width - columns) // 2, rows, columns)}
    parts = [(top, left, rows, columns) for top, rows in _cut(height) for left, columns in _cut(width)]
    if len(parts) == 1:
        return {name: parts[0]}
    parts = spread(parts, most)
    return {f"{name}_s{index}of{len(parts)}": area for index, area in enumerate(parts, 1)}


def _cut(side: int) -> list[tuple[int, int]]:
    """Return start and length of nearly equal parts of a side."""
    count = max(1, side // TILE)
    ends = [side * index // count for index in range(count + 1)]
    return [(start, end - start) for start, end in pairwise(ends)]


def _remove_others(folder: Path, wanted: set[Path]) -> None:
    for path in folder.iterdir():
        if path not in wanted and OURS.fullmatch(path.name):
            path.unlink()


def _write_missing(job: tuple[Path, Photograph, Mapping[Path, tuple[int, int, int, int]]]) -> None:
    path, photograph, crops = job
    missing = {crop: area for crop, area in crops.items() if not crop.is_file()}
    if not missing:
        return
    try:
        image = read_rgb(path)
    except UserError as error:
        raise NewError(f"{photograph.name} was readable a moment ago, now: {error} Run the command again.") from error
    if image.shape[:2] != (photograph.height, photograph.width):
        raise NewError(f"{photograph.name} was changed while it was read: run the command again.")
    for crop, (top, left, rows, columns) in missing.items():
        write_png(crop, np.ascontiguousarray(image[top : top + rows, left : left + columns, ::-1]))
