"""Write an LMDB as BasicSR reads it, atomically and resumably.

It holds the bytes of image files by name, and meta_info.txt lists them: ``name.png (h,w,c) 1``.
"""

from __future__ import annotations

import json
import mmap
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import lmdb

from lightsr_basicsr.tools.images import PART, whole_file
from lightsr_basicsr.tools.prepare.claims import RECORD, read_record
from lightsr_basicsr.tools.prepare.jobs import PrepareError

META = "meta_info.txt"
JOURNAL = ".journal"
KNOWN = {"data.mdb", "lock.mdb", META, RECORD, JOURNAL}
LINE = re.compile(r"(?P<key>[^.]*)\.\w+ \((?P<shape>\d+,\d+,\d+)\)")
BATCH_FILES, BATCH_BYTES = 100, 32 << 20
# Bytes of a page's header, of an entry's with its slot in the page's table, and of a page number in LMDB's data file.
PAGE_HEADER, ENTRY_HEADER, PAGE_NUMBER = 16, 10, 8
SPARE_PAGES = 64


class LmdbEntry(NamedTuple):
    """An image in an LMDB: (height, width, channels) and bits per channel."""

    shape: tuple[int, int, int]
    bits: int


def map_size(sizes: Mapping[str, int], page: int = min(mmap.PAGESIZE, 1 << 15)) -> int:
    """Return an upper bound of the data file's bytes, for values of ``sizes`` bytes by key.

    It matters where files are not sparse: on Windows the data file has this size from the beginning.
    """
    large = small = 0
    for key, size in sizes.items():
        head = ENTRY_HEADER + len(key)
        if head + size > (page - PAGE_HEADER) // 2:  # two entries must fit on a page; the value gets its own pages
            large += -(-(PAGE_HEADER + size) // page)
            small += head + PAGE_NUMBER
        else:
            small += head + size + 1
    # A full page is split into halves; changed pages are written to new places before the old ones are freed.
    return (large + 2 * -(-small // page) + SPARE_PAGES) * page


class LmdbFile:
    """An LMDB being written to a hidden folder beside ``path``, which is renamed to ``path`` when finished.

    Args:
        path (Path): The LMDB; its name ends in .lmdb.
        record (Mapping): Identity of its content. An interrupted run of the same record is continued.
        sizes (Mapping[str, int]): Bytes of the values by key.
    """

    def __init__(self, path: Path, record: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        self.path, self.part = path, path.with_name(f".{path.name}{PART}")
        if read_record(self.part) != record:
            shutil.rmtree(self.part, ignore_errors=True)
        self.part.mkdir(parents=True, exist_ok=True)
        with whole_file(self.part / RECORD) as part:
            part.write_text(json.dumps(record), encoding="utf-8")
        self._pending: dict[str, tuple[bytes, LmdbEntry]] = {}
        self._environment = lmdb.open(str(self.part), map_size=map_size(sizes))
        self.entries = self._journal()
        if self._environment.stat()["entries"] < len(self.entries):
            self.entries = {}  # the data file was removed or damaged

    def __contains__(self, key: str) -> bool:
        return key in self.entries or key in self._pending

    def add(self, key: str, content: bytes, entry: LmdbEntry) -> None:
        """Queue a value; a full batch is written by :meth:`flush`."""
        self._pending[key] = (content, entry)
        if len(self._pending) >= BATCH_FILES or sum(len(each) for each, _ in self._pending.values()) >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the queued values, and then their lines of the journal."""
        self._commit({key: content for key, (content, _) in self._pending.items()})
        lines = (json.dumps([key, *entry]) + "\n" for key, (_, entry) in self._pending.items())
        with (self.part / JOURNAL).open("a", encoding="ascii") as journal:
            journal.writelines(lines)
        self.entries |= {key: entry for key, (_, entry) in self._pending.items()}
        self._pending.clear()

    def _commit(self, values: Mapping[str, bytes | None]) -> None:
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, content in values.items():
                        name = key.encode("ascii")
                        transaction.delete(name) if content is None else transaction.put(name, content)
                return
            except lmdb.MapFullError:
                self._environment.set_mapsize(self._environment.info()["map_size"] * 3 // 2)

    def _journal(self) -> dict[str, LmdbEntry]:
        """Return the entries already written; a last line that a kill has cut is removed."""
        try:
            lines = (self.part / JOURNAL).read_text(encoding="ascii").splitlines(keepends=True)
        except FileNotFoundError:
            return {}
        if lines and not lines[-1].endswith("\n"):
            lines.pop()
            with whole_file(self.part / JOURNAL) as part:
                part.write_text("".join(lines), encoding="ascii")
        return {key: LmdbEntry(tuple(shape), bits) for key, shape, bits in map(json.loads, lines)}

    def finish(self, keys: Iterable[str]) -> None:
        """Delete all but ``keys``, list them in meta_info.txt, and move the LMDB into place."""
        self.flush()
        keys = sorted(keys)
        self._commit(dict.fromkeys(set(self.entries) - set(keys)))
        self.close()
        self.entries = {key: self.entries[key] for key in keys}
        shapes = {key: ",".join(map(str, entry.shape)) for key, entry in self.entries.items()}
        with whole_file(self.part / META) as part:
            part.write_text("".join(f"{key}.png ({shape}) 1\n" for key, shape in shapes.items()), encoding="ascii")
        old = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self.path.exists():
            self.path.rename(old)
        self.part.rename(self.path)
        (self.path / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)

    def discard(self) -> None:
        """Remove the unfinished LMDB."""
        self.close()
        shutil.rmtree(self.part)

    def close(self) -> None:
        """Close the data file; flushed values stay for the next run."""
        self._environment.close()


def listed(path: Path) -> dict[str, tuple[int, int, int]]:
    """Return (height, width, channels) of the images that a finished LMDB lists, by key.

    Raises:
        PrepareError: If ``path`` is not a finished LMDB of images.
    """
    try:
        lines = (path / META).read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        lines = [""]
    found = [LINE.match(line) for line in lines]
    if not all(found) or not (path / "data.mdb").is_file():
        raise PrepareError(f"{path} exists, but is not a finished LMDB of images: move it away, or choose another -o.")
    return {match["key"]: tuple(map(int, match["shape"].split(","))) for match in found}


def refuse_other_files(path: Path) -> None:
    """Raise PrepareError if replacing the LMDB ``path`` would remove files that belong to no LMDB."""
    others = sorted({file.name for file in path.iterdir()} - KNOWN) if path.is_dir() else [path.name]
    if others:
        raise PrepareError(f"{path} would be replaced, but holds {others[0]}, which belongs to no LMDB: move it away.")
