"""Record in a hidden file what made the files of a folder, so that a folder never mixes two kinds of data."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from os.path import expanduser
from pathlib import Path
from typing import Any

from lightsr_basicsr.tools.images import list_images, some, whole_file
from lightsr_basicsr.tools.prepare.jobs import FileJob, PrepareError

RECORD, SOURCES = ".prepare.json", "sources"
SAMPLED = 4096


def hr_record(scale: int, depth: str) -> dict[str, Any]:
    """Return the record of a folder of cropped HR images, whichever sub-command makes them."""
    return {"command": "prepare, HR", "scale": scale, "depth": depth}


def same_folder(one: Path, other: Path) -> bool:
    """Return whether two paths are the same folder, after links."""
    return Path(expanduser(one)).resolve() == Path(expanduser(other)).resolve()


def claim(records: Mapping[Path, Mapping[str, Any]], jobs: Sequence[FileJob], overwrite: bool) -> None:
    """Create the output folders, after a check that their images fit those that will be added.

    Args:
        records (Mapping): Command and settings that make the files of each folder, as plain values.
        jobs (Sequence[FileJob]): The jobs to come.
        overwrite (bool): Whether to remove existing outputs of ``jobs``; no other file is ever removed.

    Raises:
        PrepareError: If a folder holds images of another origin, made with other settings or from other images of the
            same name, or if a source would be overwritten. Nothing is changed then.
    """
    outputs = {output: job.source for job in jobs for output in job.outputs}
    _refuse_sources(outputs)
    marks = {job.source: _fingerprint(job.source) for job in jobs}
    contents = {}
    for folder, settings in records.items():
        ours = {output: source for output, source in outputs.items() if output.parent == folder}
        existing = _images_in(folder)
        if overwrite:
            _refuse_others(folder, existing - set(ours))
            existing = set()
        known = _known_sources(folder, json.loads(json.dumps(settings))) if existing else {}
        _refuse_other_sources(folder, known, {ours[output]: marks[ours[output]] for output in existing & set(ours)})
        contents[folder] = {**settings, SOURCES: {**known, **{source.stem: marks[source] for source in ours.values()}}}
    for output in outputs if overwrite else ():
        output.unlink(missing_ok=True)
    for folder, content in contents.items():
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / RECORD) as part:
            part.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _images_in(folder: Path) -> set[Path]:
    for path in (folder, *folder.parents):
        if path.is_file():
            raise PrepareError(f"{folder} must be a folder, but {path} is a file: choose another -o.")
    return set(list_images(folder)) if folder.is_dir() else set()


def _refuse_sources(outputs: Mapping[Path, Path]) -> None:
    own = {source.resolve() for source in outputs.values()} & {output.resolve() for output in outputs}
    if own:
        raise PrepareError(f"{min(own)} is a source and would be overwritten: choose another -o.")


def _refuse_others(folder: Path, others: Iterable[Path]) -> None:
    names = sorted(path.name for path in others)
    if names:
        raise PrepareError(f"{folder} holds images that are not recreated: {some(names)}: move them away.")


def _known_sources(folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the fingerprints of the sources of ``folder``; PrepareError if its images were made differently."""
    made = read_record(folder)
    remedy = "choose another -o, or --overwrite"
    if made is None:
        raise PrepareError(f"{folder} holds images that this command did not make: {remedy}.")
    sources = made.pop(SOURCES, {})
    differences = [
        f"{key} {made.get(key)} (now {settings.get(key)})"
        for key in sorted({*made, *settings})
        if made.get(key) != settings.get(key)
    ]
    if differences:
        raise PrepareError(f"{folder} was made with {', '.join(differences)}: {remedy}.")
    return sources


def _refuse_other_sources(folder: Path, known: Mapping[str, str], kept: Mapping[Path, str]) -> None:
    """Raise PrepareError if an HR image would be paired with the LR image of another one of the same name."""
    other = sorted(source.name for source, mark in kept.items() if known.get(source.stem, mark) != mark)
    if other:
        raise PrepareError(
            f"{folder} was made from other images named {some(other)}: choose another -o, or --overwrite."
        )


def _fingerprint(file: Path) -> str:
    """Return the size of a file, and a checksum of its beginning, middle and end."""
    check = 0
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            for start in (0, size // 2, max(size - SAMPLED, 0)):
                stream.seek(start)
                check = zlib.crc32(stream.read(SAMPLED), check)
    except OSError:  # reported when it is read
        return ""
    return f"{size}-{check:08x}"


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a folder or an LMDB, finished or not; None if it has none."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
