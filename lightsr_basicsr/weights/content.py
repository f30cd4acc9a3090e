"""Whether a file is the official one: its size, its checksum, or at least its beginning."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lightsr_basicsr.weights.official import OfficialNetwork, find_official

BLOCK = 1 << 20
# A torch archive, a pickle; safetensors begin with a length and a brace.
STARTS = (b"PK\x03\x04", b"\x80")


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def find_problem(path: Path, entry: OfficialNetwork) -> str | None:
    """Return in what a file differs from an official one, None if it is that file as far as the table can tell."""
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"expected {entry.size:,} bytes, got {size:,}{_what_it_is(path)}"
    if entry.sha256 is None:
        return None if _begins_as_weights(path) else f"expected weights of torch, got {_kind(path)} of {size:,} bytes"
    found = checksum(path)
    if found.startswith(entry.sha256):
        return None
    return f"expected sha256 {entry.sha256}, got {found[: len(entry.sha256)]}{_what_it_is(path, found)}"


def _what_it_is(path: Path, sha256: str | None = None) -> str:
    if not _begins_as_weights(path):
        return f" ({_kind(path)})"
    other = find_official(sha256 or checksum(path))
    return f" (it is {other.name}, {other.file})" if other else ""


def _begins_as_weights(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return start.startswith(STARTS) or start[8:] == b"{"


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if not start:
        return "an empty file"
    return "a web page" if start.startswith(b"<") else "a file of another kind"
