"""One option file: where it is, what it holds by itself, and in which line each key stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from os.path import expanduser
from pathlib import Path
from typing import Any

import yaml

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.yaml_loader import MOST_CHARACTERS, first_problem, load_with_places

PACKAGE = Path(__file__).resolve().parents[1]
BASES = "bases"  # folder of bundled files that others extend and nobody runs


class OptionError(UserError):
    """A missing or unreadable option file, or an override that does not fit. The message says what to do."""


@dataclass(frozen=True)
class Layer:
    """An option file by itself: what stands in it, without the files that it extends."""

    path: Path
    content: dict[str, Any]
    places: Mapping[tuple[str, ...], tuple[int, int]]  # line and column of a key, by the keys that lead to it

    def place(self, *keys: str) -> str:
        """Return the file, and the line of a key where it is known, in words."""
        found = self.places.get(keys)
        return f"{self.path}, line {found[0]}" if found else str(self.path)


def bundled_folder() -> Path:
    """Return the folder of the package's option files (the checkout's own when run from one)."""
    installed = PACKAGE / "options"
    return installed if installed.is_dir() else PACKAGE.parent / "options"


def bundled(path: Path) -> Path | None:
    """Return the bundled file that ``path`` names, as ``NAME.yml`` or ``options/NAME.yml``; None for none."""
    inner = Path(*path.parts[1:]) if path.parts[:1] == ("options",) else path
    found = bundled_folder() / inner
    return found if inner.parts and inner.parts[:-1] in ((), (BASES,)) and is_file(found) else None


def exists(path: Path) -> bool:
    """Return whether there is anything at ``path``, False for a name that nothing can have."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a null byte
        return False


def is_file(path: Path) -> bool:
    """Return whether there is a file at ``path``, False for a name that no file can have."""
    return exists(path) and path.is_file()


def find_option_file(name: str) -> Path:
    """Return the option file ``name``: as a path from the working directory, else the bundled file of that name.

    Raises:
        OptionError: With the bundled files of similar name.
    """
    path = Path(expanduser(name))
    if is_file(path):
        return path
    if found := bundled(path):
        return found
    names = sorted(file.name for file in bundled_folder().glob("*.yml"))
    close = get_close_matches(path.name, names, n=3) or names
    raise OptionError(
        f"There is no option file {name} in {Path.cwd()}, nor a bundled one. Bundled: {', '.join(close)}."
    )


def read_layer(path: Path) -> Layer:
    """Return the content of one option file.

    Args:
        path (Path): YAML, UTF-8.

    Raises:
        OptionError: If the file is not UTF-8 or not a YAML mapping.
    """
    try:
        if path.stat().st_size > 4 * MOST_CHARACTERS:  # a checkpoint, perhaps
            raise OptionError(f"{path} has {path.stat().st_size:,} bytes: it is no option file.")
        content, places = load_with_places(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise OptionError(f"{path} is not valid YAML: {first_problem(error)}") from error
    if not isinstance(content, dict):
        raise OptionError(f"{path} must hold a mapping of options, got {type(content).__name__}.")
    return Layer(path, content, places)
