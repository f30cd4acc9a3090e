"""Memory of the C library: what is freed stays with the process for the next feature maps, instead of new pages.

glibc gives every block above 32 MB back as soon as it is freed, and what is free at the end of its memory. The next
feature map then needs new pages, which the system clears: for IMDN x4 at 720x1280 six pages for each pixel and half of
the processor time.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

from lightsr_basicsr import fields

OPTIONS = {
    "train.keep_memory": fields.flag(
        "Whether memory that a step on the CPU frees stays with the process for the next step, which would else get "
        "fresh pages of the system; Linux with glibc.",
        default=False,
    ),
}
# Parameters of mallopt(3); glibc's default of the last; the largest values of the others that glibc sets by itself.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
MAPPED_BLOCKS, SMALLEST_MAPPED, KEPT = 65536, 32 * 2**20, 64 * 2**20
NEVER = 2**31 - 1

_lock, _users = Lock(), 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory inside the block, and return it to the system after it.

    Does nothing where the C library is not glibc.
    """
    global _users
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            library.mallopt(MMAP_MAX, 0)
            library.mallopt(TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                library.mallopt(MMAP_MAX, MAPPED_BLOCKS)
                library.mallopt(MMAP_THRESHOLD, SMALLEST_MAPPED)
                library.mallopt(TRIM_THRESHOLD, KEPT)
                library.malloc_trim(0)


def find_problem() -> str:
    """Return why memory cannot be kept here, '' if it can."""
    return "" if _glibc() else "needs Linux with the C library glibc, which is not here: remove it"


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    known = all(hasattr(library, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim"))
    return library if known else None
