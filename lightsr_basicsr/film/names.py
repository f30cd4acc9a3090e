"""Which files are films, what they are written as, and the library that reads them. Imports nothing heavy."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from lightsr_basicsr.errors import UserError, install_command

READ = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".mts", ".m2ts")
# What is written, in FFmpeg's words. Others hold no exact times, or no sound of most kinds.
WRITTEN = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
OTHERS = ".mkv"  # holds nearly every kind of sound
MISSING = f"films need PyAV, which is not installed: {install_command('video')}"


class FilmError(UserError):
    """A film cannot be read, enlarged or written; the message names the file and the reason."""


def is_film(path: Path) -> bool:
    """Return whether a file is a film by its name.

    >>> is_film(Path("a.MP4")), is_film(Path("a.png"))
    (True, False)
    """
    return path.suffix.lower() in READ


def ending_of_result(path: Path) -> str:
    """Return the ending of an enlarged film: its own, or another one where that is not written.

    >>> ending_of_result(Path("a.MOV")), ending_of_result(Path("a.avi"))
    ('.MOV', '.mkv')
    """
    return path.suffix if path.suffix.lower() in WRITTEN else OTHERS


def container_of(path: Path) -> str:
    """Return the format that a result's name asks for, in FFmpeg's words.

    Raises:
        FilmError: If films are not written so.
    """
    found = WRITTEN.get(path.suffix.lower())
    if found is None:
        raise FilmError(f"{path}: the ending decides the format of a film and must be {', '.join(WRITTEN)}: rename it.")
    return found


def is_installed() -> bool:
    """Return whether the library is there."""
    return find_spec("av") is not None


def require_av() -> ModuleType:
    """Return PyAV.

    Raises:
        FilmError: If it is missing or cannot be imported, with the command that installs it.
    """
    try:
        import av
    except Exception as error:  # a library for another system raises any type
        if not is_installed():
            raise FilmError(f"{MISSING}.") from error
        raise FilmError(
            f"PyAV is installed, but cannot be imported ({error}): {install_command('video', '--force-reinstall')}."
        ) from error
    return av
