"""Find an LMDB that was cut off, before it is read: reading a page that is missing ends the process by a signal."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

DATA = "data.mdb"
MAGIC = 0xBEEFC0DE
# The two first pages of a data file hold, after a page header: magic, version, address, size of the map, two tables
# (the first begins with the size of a page), the last page in use, and the number of the transaction.
META = struct.Struct("=16xIIQQI44x48xQQ")
# Touches every value, in a process of its own.
READ_ALL = """import lmdb, sys
with lmdb.open(sys.argv[1], readonly=True, lock=False) as environment, environment.begin(buffers=True) as transaction:
    for _, value in transaction.cursor():
        bytes(value[-1:])
"""


def lmdb_damage(path: Path) -> str:
    """Return what is wrong with the data file of an LMDB, '' if all of its pages are in it.

    >>> lmdb_damage(Path("nowhere.lmdb"))
    'holds no data.mdb'
    """
    file = path / DATA
    if not file.is_file():
        return f"holds no {DATA}"
    size = file.stat().st_size
    if not size:
        return f"has an empty {DATA}"
    page, last = _newest_pages(file)
    needed = (last + 1) * page
    # A whole one may lack pages at its end, which were given up before they were written.
    if size >= needed or (not size % page and size >= 2 * page and _can_be_read(path)):
        return ""
    return f"is cut off: {DATA} has {size:,} bytes, and its pages take {needed:,}"


def _newest_pages(file: Path) -> tuple[int, int]:
    """Return the bytes of a page and the number of the last one in use; (1, 0) if lmdb itself will refuse the file."""
    with file.open("rb") as content:
        metas = [content.read(META.size)]
        page = _unpacked(metas[0])[4]
        content.seek(page)
        metas.append(content.read(META.size))
    newest = max(map(_unpacked, metas), key=lambda meta: meta[6])
    return page, newest[5]


def _unpacked(meta: bytes) -> tuple[int, ...]:
    fields = META.unpack(meta) if len(meta) == META.size else (0,)
    return fields if fields[0] == MAGIC and fields[4] else (0, 0, 0, 0, 1, 0, -1)


def _can_be_read(path: Path) -> bool:
    read = [sys.executable, "-c", READ_ALL, str(path)]
    return subprocess.run(read, capture_output=True, check=False).returncode == 0
