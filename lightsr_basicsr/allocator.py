"""Memory of the C library: what a training step frees may stay with the process, for the next step."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from lightsr_basicsr import fields

OPTIONS = {
    "train.keep_memory": fields.flag(
        "Whether memory that a step on the CPU frees stays with the process for the next step, which would else get "
        "fresh pages of the system; Linux with glibc.",
        default=False,
    ),
}
# Numbers of malloc.h. Feature maps take more than the 128 KiB from which on glibc gets each piece from the system by
# itself; its own rule raises that up to 32 MiB, and returns what is free at the end of its memory.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1
PIECES = (2**30, 2**25)  # glibc before 2.35 takes no more than the second


def find_problem() -> str:
    """Return why memory cannot be kept here, '' if it can."""
    return "" if _mallopt() else "needs Linux with the C library glibc, which is not here: remove it"


def keep_memory(options: Mapping[str, Any]) -> None:
    """Let this process keep freed memory from now on, if ``train.keep_memory`` of the options says so."""
    setting = _mallopt() if options["train"].get("keep_memory") else None
    if setting is not None:
        any(setting(MMAP_THRESHOLD, size) for size in PIECES)
        setting(TRIM_THRESHOLD, LARGEST)


def _mallopt() -> Callable[[int, int], int] | None:
    try:
        return ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return None
