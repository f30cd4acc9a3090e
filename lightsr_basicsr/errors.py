"""The base of every error that a user can correct, and the texts of errors."""

from __future__ import annotations

import errno
import importlib.util
import re
import sys
from pathlib import Path

# No space, no more of it for this user, or no longer file allowed.
FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)}
LATEST = re.compile(r"(net_\w+)_latest((?:_deploy)?\.pth)")  # what BasicSR saves at the end of a training


class UserError(ValueError):
    """An error that the user can correct: the message says what was expected, what was found, what to do."""


class OtherProcessError(UserError):
    """Another process of a distributed run cannot go on; the message says why."""


def message_of(error: UserError | OSError) -> str:
    """Return the text of an error for the user; an OSError's starts with the file, where known.

    >>> message_of(UserError("upscale must be 2, 3 or 4, got 5."))
    'upscale must be 2, 3 or 4, got 5.'
    >>> message_of(FileNotFoundError(2, "No such file or directory", "net.pth"))
    'net.pth: No such file or directory.'
    >>> message_of(OSError(28, "No space left on device", "my.yml", None, "experiments/x4/my.yml"))
    'experiments/x4/my.yml: No space left on device. Make room, then run the command again.'
    """
    if isinstance(error, UserError):
        return str(error)
    full = error.errno in FULL
    file = (error.filename2 if full else None) or error.filename  # a copy fails where it is written
    text = f"{file}: {error.strerror or error}." if file else f"{error.strerror or error}."
    return f"{text} Make room, then run the command again." if full else text


def short_message(error: BaseException | str, most: int = 500) -> str:
    """Return the text of any error in one line of at most ``most`` characters.

    The type comes first, unless it is a ValueError or a TypeError, whose texts can be understood without it.

    >>> short_message(KeyError("weight"))
    "KeyError: 'weight'"
    >>> short_message(UserError("no such"), most=6)
    'no ...'
    """
    text = " ".join(str(error).split())
    if not isinstance(error, (str, ValueError, TypeError)) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= most else f"{text[: most - 3]}..."


def is_full(error: BaseException | None) -> bool:
    """Return whether an error, or what it was raised from, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__
    return False


def reason_of(error: BaseException, advice: str, *names: str) -> str:
    """Return why a file failed, for a table that has its name beside.

    Args:
        error (BaseException): Of any type.
        advice (str): What to do where memory ran out.
        names (str): Of the file; the text does not start with one.

    >>> reason_of(UserError("a.png: empty file."), "crop it", "a.png")
    'empty file'
    """
    if isinstance(error, MemoryError):
        return f"needs more memory than there is ({short_message(error, 100)}): close other programs, or {advice}"
    text = message_of(error) if isinstance(error, (UserError, OSError)) else short_message(error, 300)
    for name in names:
        text = text.removeprefix(f"{name}: ")
    return text.rstrip(".")


def install_command(extra: str, flags: str = "") -> str:
    """Return the command that installs what an extra of this package names, whatever the working directory is.

    An installed package is known to pip by its name, and needs no index for itself. A checkout is named by its folder:
    pip would otherwise look into what was written when it was installed, which may be older than the extra.

    >>> install_command("web", "-U").endswith('[web]"')
    True
    """
    root = Path(__file__).resolve().parents[1]
    checkout = (root / "setup.cfg").is_file()
    words = ["pip install", flags, "-e" if checkout else "", f'"{root if checkout else "lightsr-basicsr"}[{extra}]"']
    return " ".join(filter(None, words))


def unfinished_hint(missing: str | Path) -> str:
    """Return a sentence on a file that a training writes at its end, where it is missing; '' for any other file.

    >>> unfinished_hint("net.pth"), unfinished_hint("experiments/gone/models/net_g_latest.pth")
    ('', ' A training writes it at its end: train first (basicsr train -opt FILE).')
    """
    file = Path(missing)
    match = LATEST.fullmatch(file.name)
    if not match or file.parent.name != "models":
        return ""
    saved = re.compile(rf"{match[1]}_([0-9]+){match[2]}")
    try:
        found = [(int(hit[1]), each) for each in file.parent.iterdir() if (hit := saved.fullmatch(each.name))]
    except OSError:
        found = []
    if not found:
        return " A training writes it at its end: train first (basicsr train -opt FILE)."
    return (
        " A training writes it at its end, and this one has not come to it: go on with `basicsr train -opt FILE "
        f"--auto_resume`, or take the newest checkpoint that is there, {max(found)[1]}."
    )


def require_basicsr() -> None:
    """Raise ModuleNotFoundError with the command that installs it, if torch or BasicSR is missing."""
    # BasicSR first, because its installation brings torch too.
    helps = {"basicsr": "python -m lightsr_basicsr.bootstrap", "torch": "pip install torch torchvision"}
    for name, command in helps.items():
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(
                f"The package {name} is not installed in {sys.prefix}. Install it with: {command}", name=name
            )
