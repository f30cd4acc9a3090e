"""Finished parts of a film, in a hidden folder beside the result, from which a killed run goes on."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lightsr_basicsr.film.encoding import Packed
from lightsr_basicsr.film.names import FilmError
from lightsr_basicsr.whole import write_whole

SETTINGS, ENDING, FOLDER = "settings.json", ".segment", ".segments"


class Times(NamedTuple):
    """What the head of a segment says.

    Args:
        pts (list[int]): Time stamps in the order of decoding, in ticks.
        keys (list[bool]): Which frames need no other one.
        sizes (list[int]): Bytes of each.
        duration (int): How long the last frame is shown, in ticks.
        last (bool): Whether the film ends with it.
        check (int): Checksum of the bytes.
    """

    pts: list[int]
    keys: list[bool]
    sizes: list[int]
    duration: int
    last: bool
    check: int


class Segments:
    """The parts of one film.

    Args:
        target (Path): The film to be written.
        settings (dict[str, Any]): Everything that decides its frames; JSON.
    """

    def __init__(self, target: Path, settings: dict[str, Any]) -> None:
        self.folder = folder_of(target)
        self.settings = json.loads(json.dumps(settings))

    def begin(self) -> tuple[int, bool, str]:
        """Make the folder; return how many segments it holds already, whether that is all, and a word on it, or ''.

        Segments of other settings or another film are removed.

        Raises:
            FilmError: If it cannot be written.
        """
        found = self._settings()
        word = ""
        if found is not None and found != self.settings:
            changed = [name for name in self.settings if self.settings[name] != found.get(name)] or ["its form"]
            word = f"what an earlier run left was made otherwise ({', '.join(changed)}): starts over."
            self.remove()
        elif found is None and self.folder.exists():
            self.remove()
        count, is_all = self._finished()
        if not count:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FilmError(f"{self.folder} cannot be made: {error.strerror or error}.") from error
            write_whole(self.folder / SETTINGS, json.dumps(self.settings, indent=1).encode(), error=FilmError)
        return count, is_all, word

    def write(self, number: int, packets: list[Packed], duration: int, last: bool) -> None:
        """Write a segment, whole or not at all.

        Raises:
            FilmError: If it cannot be written.
        """
        data = b"".join(packet.data for packet in packets)
        times = Times(
            [packet.pts for packet in packets], [packet.is_key for packet in packets],
            [len(packet.data) for packet in packets], duration, last, zlib.crc32(data),
        )  # fmt: skip
        head = json.dumps(times._asdict()).encode() + b"\n"
        write_whole(self._path(number), head + data, error=FilmError)

    def times(self) -> list[Times]:
        """Return the heads of all segments."""
        return [self._head(path) for path in self._paths()]

    def packets(self) -> Iterator[Packed]:
        """Yield all packets, one segment in memory at a time."""
        for path in self._paths():
            head, _, data = path.read_bytes().partition(b"\n")
            times, place = Times(**json.loads(head)), 0
            for pts, key, size in zip(times.pts, times.keys, times.sizes, strict=True):
                yield Packed(pts, key, data[place : place + size])
                place += size

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_if_empty(self) -> None:
        """Remove the folder if no segment was finished."""
        if not self._path(0).exists():
            self.remove()

    def _settings(self) -> Any:
        try:
            return json.loads((self.folder / SETTINGS).read_bytes())
        except (OSError, ValueError):
            return None

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}{ENDING}"

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{ENDING}"))

    def _finished(self) -> tuple[int, bool]:
        """Return how many segments are whole, from the first on, and whether the film ends with them."""
        count = 0
        while self._path(count).is_file():
            head, _, data = self._path(count).read_bytes().partition(b"\n")
            try:
                times = Times(**json.loads(head))
            except (ValueError, TypeError):
                break
            if times.check != zlib.crc32(data):
                break
            count += 1
            if times.last:
                return count, True
        return count, False

    @staticmethod
    def _head(path: Path) -> Times:
        with path.open("rb") as file:
            return Times(**json.loads(file.readline()))


def folder_of(target: Path) -> Path:
    """Return the folder of a film's segments.

    >>> folder_of(Path("large/film.mp4")).name
    '.film.mp4.segments'
    """
    return target.with_name(f".{target.name[:40]}{FOLDER}")
