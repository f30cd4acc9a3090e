"""The networks that a page offers, by title; one is opened when it is first used."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lightsr_basicsr.errors import UserError
from lightsr_basicsr.runtimes.metadata import SUFFIXES as EXPORTED
from lightsr_basicsr.upscale.upscaler import Upscaler
from lightsr_basicsr.weights.find import find_weights
from lightsr_basicsr.weights.folder import cache_folder
from lightsr_basicsr.weights.names import WeightsError, entries_named, files

KEPT = 2  # networks that stay open, since some take a gigabyte


class ServeError(UserError):
    """A page cannot be served so; the message says what to do."""


class How(NamedTuple):
    """How networks are run; see :class:`Upscaler`."""

    backend: str = "auto"
    precision: str | None = None
    device: str | None = None
    trust: bool = False
    tile: int | None = None


def find_networks(names: Sequence[str] = (), models: Sequence[str] = ()) -> dict[str, Path]:
    """Return files by title: those that are named, else those of this package and of the cache.

    Args:
        names (Sequence[str]): Of official files, such as ``IMDN_x4``.
        models (Sequence[str]): Checkpoints and exported files.

    Raises:
        WeightsError: If one is missing.
        ServeError: If two would have one title.
    """
    if not names and not models:
        return _installed()
    found = [(entries_named(name)[0].name if entries_named(name) else name, find_weights(name)) for name in names]
    found += [(_title(find_weights(model)), find_weights(model)) for model in models]
    twice = [title for title, count in Counter(title for title, _ in found).items() if count > 1]
    if twice:
        raise ServeError(f"Expected networks of different names, got {twice[0]} twice: rename one of the files.")
    return dict(found)


def _title(path: Path) -> str:
    return path.name if path.suffix.lower() in EXPORTED else path.stem


def _installed() -> dict[str, Path]:
    try:
        folder = cache_folder()
    except WeightsError:  # a user without a home folder has no cache
        folder = None
    found = {}
    for entry in files():
        place = entry.in_package or (folder and folder / entry.file)
        if place and place.is_file():
            found[entry.name] = place
    # The largest scale of the package first: what `basicsr upscale` takes.
    ours = sorted((entry for entry in files() if entry.packaged), key=lambda entry: -entry.scale)
    return {entry.name: found[entry.name] for entry in ours if entry.name in found} | found


class Networks:
    """Opens networks by title and keeps the last ones open. Not for several threads at once.

    Args:
        places (Mapping[str, Path]): Files by title.
        how (How): How they are run.
    """

    def __init__(self, places: Mapping[str, Path], how: How = How()) -> None:  # noqa: B008  it cannot be changed
        self.places, self.how = dict(places), how
        self.opened: OrderedDict[str, Upscaler] = OrderedDict()

    @property
    def titles(self) -> list[str]:
        """All titles, in order."""
        return list(self.places)

    def open(self, title: str) -> Upscaler:
        """Return what enlarges by this network.

        Raises:
            ServeError: If none has this title.
            UserError: If it cannot be opened.
        """
        if title not in self.places:
            raise ServeError(f"Expected one of {', '.join(self.places)}, got {title!r}: choose one of these.")
        if title not in self.opened:
            while len(self.opened) >= KEPT:
                self.opened.popitem(last=False)
            self.opened[title] = Upscaler(self.places[title], **self.how._asdict())
        self.opened.move_to_end(title)
        return self.opened[title]
