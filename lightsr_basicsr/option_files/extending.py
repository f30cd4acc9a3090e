"""The key ``extends``: an option file that starts from another one and says what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from os.path import expanduser
from pathlib import Path
from typing import Any

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.option_files.reading import Layer, OptionError, bundled, exists, is_file, read_layer
from lightsr_basicsr.yaml_loader import MOST_NODES

EXTENDS = "extends"
MOST_FILES = 10  # in a chain; ours have three
NAMED = 5


def read_layers(path: Path) -> list[Layer]:
    """Return an option file, the file that it extends, the one that this extends, and so on.

    Raises:
        OptionError: If one of them cannot be read, is missing, or extends itself in the end; with file and line.
    """
    layers = [read_layer(path)]
    while EXTENDS in layers[-1].content:
        base = _base_of(layers[-1])
        if any(base.samefile(layer.path) for layer in layers):
            shown = " -> ".join(str(each) for each in (*(layer.path for layer in layers), base))
            raise OptionError(
                f"{layers[-1].place(EXTENDS)}: a file cannot extend itself: {shown}. Remove one `extends`."
            )
        if len(layers) == MOST_FILES:
            raise OptionError(
                f"{layers[-1].place(EXTENDS)}: at most {MOST_FILES} files can extend each other, and {path} is the end "
                "of a longer chain: write some of them as one. `basicsr options FILE` prints a file with all that it "
                "extends."
            )
        layers.append(_read_base(base, layers[-1]))
    return layers


def merge(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return what a file and the files that it extends say together.

    Sections are merged key by key, anything else replaces what is inherited, and ``~`` removes an inherited key. Keys
    have the order of the last base; new ones follow.

    Args:
        layers (Sequence[Layer]): As :func:`read_layers` returns them.

    Raises:
        OptionError: If there is too much of it.
    """
    content: dict[str, Any] = {}
    for layer in reversed(layers):
        own = {key: value for key, value in layer.content.items() if key != EXTENDS}
        content = _merged(content, own)
    if len(layers) > 1:
        check_size(content, layers[0].path)
    return content


def check_size(content: Any, path: Path) -> None:
    """Raise OptionError if options that were put together hold more values than one file may."""
    if _count(content) > MOST_NODES:
        raise OptionError(
            f"{path} becomes more than {MOST_NODES:,} values with all that it extends: it is no option file."
        )


def origin(layers: Sequence[Layer], where: str) -> str:
    """Return file and line of a dotted key that a file inherits, '' for one that stands in the file itself.

    Args:
        layers (Sequence[Layer]): As :func:`read_layers` returns them.
        where (str): ``'train.optim_g.lr'``; what follows a blank or a bracket does not matter.
    """
    keys = tuple(where.split(" ")[0].split("[")[0].split("."))
    layer = next((layer for layer in layers if keys in layer.places), None)
    return "" if layer in (None, layers[0]) else layer.place(*keys)


def _base_of(layer: Layer) -> Path:
    """Return the file that ``layer`` extends: a path from its own folder, else the bundled file of that name."""
    name, place = layer.content[EXTENDS], layer.place(EXTENDS)
    if not isinstance(name, str) or not name.strip():
        kind = "nothing" if name is None or name == "" else f"{type(name).__name__} {short_message(repr(name), 100)}"
        raise OptionError(
            f"{place}: extends must be the name of one option file, got {kind}. That file may extend another one; for "
            "a file that stands alone leave the line out."
        )
    path = layer.path.parent / expanduser(name)
    if is_file(path):
        return path
    if exists(path):
        raise _no_file(path, name, place)
    found = bundled(Path(name))
    if found is None or found.samefile(layer.path):
        raise OptionError(
            f"{place}: extends {short_message(name, 200)}, but there is no such file{_near(path, layer.path)}"
        )
    return found


def _no_file(path: Path, name: str, place: str) -> OptionError:
    if not path.is_dir():
        return OptionError(f"{place}: extends must name a file, got {name}, which is a device or a pipe: name a file.")
    files = sorted(file.name for file in path.glob("*.yml"))
    inner = f" in it, such as {', '.join(files[:NAMED])}" if files else ""
    return OptionError(f"{place}: extends must name a file, got the folder {name}: name an option file{inner}.")


def _near(path: Path, own: Path) -> str:
    """Return where a base was looked for, and similar names there."""
    folder = path.parent
    files = [file.name for file in sorted(folder.glob("*.yml")) if file != own] if exists(folder) else []
    close = get_close_matches(path.name, files, n=3, cutoff=0.7)
    text = f" in {folder.resolve()}, nor a bundled one of that name: "
    return text + (f"did you mean {', '.join(close)}?" if close else "give its path from the file that extends it.")


def _read_base(base: Path, layer: Layer) -> Layer:
    try:
        return read_layer(base)
    except OptionError as error:
        raise OptionError(f"{error} It is what {layer.place(EXTENDS)}, extends.") from error


def _merged(inherited: Any, own: Any) -> Any:
    """Return ``own`` on top of what is inherited; the result shares no section with them."""
    if not isinstance(own, Mapping):
        return [_merged(None, value) for value in own] if isinstance(own, list) else own
    inherited = inherited if isinstance(inherited, Mapping) else {}
    removed = {key for key, value in own.items() if value is None and key in inherited}
    kept = {key: value for key, value in inherited.items() if key not in removed}
    return {**kept, **{key: _merged(kept.get(key), value) for key, value in own.items() if key not in removed}}


def _count(content: Any) -> int:
    inner = content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ()
    return 1 + sum(map(_count, inner))
