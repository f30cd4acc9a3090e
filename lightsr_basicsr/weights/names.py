"""Names of official files: what a user may write for one, and which file is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.weights.official import OfficialNetwork, official_networks

KINDS_OF_OPTIONS = ("train_", "test_")
MOST_CHARACTERS = 60  # of what could be a name; a longer text is not compared with names


class WeightsError(UserError):
    """A file of weights cannot be had: its name, its place or its content is wrong. The message says what to do."""


def find_entry(name: str) -> OfficialNetwork:
    """Return the official file of this name; letter case, and which of ``-_. ,()`` or a space stands there, are free.

    It may be the short name (``IMDN_x4``), the file (``DRNS4x.pt``, ``DRNS4x``), or an option file (``kdsr_x4`` of
    ``test_kdsr_x4.yml``).

    Raises:
        WeightsError: If there is none, or several have this name: with similar names.

    >>> find_entry("imdn-X4").file, find_entry("drns4x").name
    ('IMDN_x4.pth', 'DRN_S_x4')
    """
    found = entries_named(name)
    if not found:
        raise WeightsError(
            f"No official file is named {name[:MOST_CHARACTERS]!r}.{similar(name)} "
            "`basicsr fetch --list` shows all names."
        )
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise WeightsError(f"Several official files could be {name!r}: name one of {names}.")
    if found[0].file is None:
        raise WeightsError(
            f"No official file of {found[0].title} x{found[0].scale} is known. `basicsr fetch --list` shows those that "
            "are."
        )
    return found[0]


def entries_named(name: str) -> list[OfficialNetwork]:
    """Return the entries of a name: one, none, or several for an option file that several entries share."""
    if len(name) > MOST_CHARACTERS:
        return []
    wanted = _plain(name)
    for names_of in (_names, _files, _options):
        found = [entry for entry in official_networks() if wanted in map(_plain, names_of(entry))]
        if found:
            return found
    return []


def similar(name: str) -> str:
    """Return a question with names that look like ``name``, '' if none does.

    >>> similar("IMDM_x4")
    ' Did you mean IMDN_x4, IMDN_x3, IMDN_x2?'
    """
    shown = {_plain(word): entry.name for entry in files() for word in (*_options(entry), *_files(entry), entry.name)}
    close = get_close_matches(_plain(name[:MOST_CHARACTERS]), shown, n=3, cutoff=0.7)
    return f" Did you mean {', '.join(dict.fromkeys(shown[each] for each in close))}?" if close else ""


def files() -> list[OfficialNetwork]:
    """Return the entries that have an official file, in the order of the table."""
    return [entry for entry in official_networks() if entry.file]


def _names(entry: OfficialNetwork) -> Iterable[str]:
    return (entry.name,)


def _files(entry: OfficialNetwork) -> Iterable[str]:
    return (entry.file, Path(entry.file).stem) if entry.file else ()


def _options(entry: OfficialNetwork) -> Iterable[str]:
    return [name.removeprefix(kind) for name in entry.options for kind in KINDS_OF_OPTIONS if name.startswith(kind)]


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name).strip("_").casefold()
