"""One section for several data sets: ``sigmas`` stands for as many sets, which differ in the blur of their images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.option_files.reading import OptionError

SIGMAS, SIGMA, HOLE = "sigmas", "sigma", "{sigma}"
FOLDER_OF_LR = "dataroot_lq"
MOST_SETS = 1000


def expand_sets(options: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return options in which each section of ``datasets`` with ``sigmas`` has become one section for each of them.

    ``val`` becomes ``val_1``, ``val_2`` ..., and ``test_09`` becomes ``test_09``, ``test_10`` ... ``{sigma}`` in a text
    becomes the number. The key ``sigma`` is set too, unless ``dataroot_lq`` says that LR images are read.

    Args:
        options (Mapping): Content of an option file with all that it extends.
        place (str): The file, for error messages.

    Raises:
        OptionError: If ``sigmas`` is no list of numbers, or the sets would have the same names or keys.
    """
    sets = options.get("datasets")
    if not isinstance(sets, Mapping) or not any(map(_is_several, sets.values())):
        return dict(options)
    found: dict[str, Any] = {}
    for key, section in sets.items():
        where = f"{place}: datasets.{key}"
        parts = _sections(str(key), section, where) if _is_several(section) else {key: section}
        others = {name for name, content in sets.items() if name != key and not _is_several(content)}
        twice = sorted((others | found.keys()) & parts.keys()) if _is_several(section) else []
        if twice:
            raise OptionError(
                f"{where}.{SIGMAS} makes the sections {', '.join(parts)}, but {', '.join(twice)} is there already: "
                "choose other keys, such as test_01 and test_09, which number on from there."
            )
        found.update(parts)
    return {**options, "datasets": found}


def replaced_sets(options: Mapping[str, Any]) -> set[str]:
    """Return the keys of sections with ``sigmas`` that are there no longer once these are expanded."""
    sets = options.get("datasets")
    several = (
        {str(key): value for key, value in sets.items() if _is_several(value)} if isinstance(sets, Mapping) else {}
    )
    return {key for key in several if _numbering(key)[1] is None}


def _is_several(section: Any) -> bool:
    return isinstance(section, Mapping) and SIGMAS in section


def _numbering(key: str) -> tuple[str, str | None]:
    """Return the start of a key and its number, None for none: ``test_09`` is ``test`` and ``09``."""
    found = re.fullmatch(r"(.+)_([0-9]{1,9})", key)
    return (found[1], found[2]) if found else (key, None)


def _sections(key: str, section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the sections that one with ``sigmas`` stands for, by key."""
    numbers = _numbers(key, section, where)
    start, first = _numbering(key)
    width, first = len(first or ""), int(first or 1)
    own = {name: value for name, value in section.items() if name != SIGMAS}
    given = section.get(FOLDER_OF_LR) is None
    return {
        f"{start}_{first + index:0{width}d}": {**_filled(own, str(number)), **({SIGMA: number} if given else {})}
        for index, number in enumerate(numbers)
    }


def _numbers(key: str, section: Mapping[str, Any], where: str) -> list[float]:
    """Return the checked ``sigmas`` of a section."""
    numbers = section[SIGMAS]
    if key.split("_")[0] == "train":
        raise OptionError(f"{where}: {SIGMAS} is for validation and test sets: a training draws `sigma: [MIN, MAX]`.")
    plain = isinstance(numbers, list) and all(type(each) in (int, float) for each in numbers)
    if not plain or not 0 < len(numbers) <= MOST_SETS:
        got = short_message(repr(numbers), 100)
        raise OptionError(f"{where}.{SIGMAS} must be a list of numbers, one for each set, got {got}: write [1.8, 2.0].")
    if SIGMA in section:
        raise OptionError(f"{where} has both {SIGMA} and {SIGMAS}: leave one of them out.")
    name = section.get("name")
    if len(numbers) > 1 and (not isinstance(name, str) or HOLE not in name):
        got = short_message(repr(name), 100)
        raise OptionError(f"{where}.name must hold {HOLE}, so that logs can tell the sets apart, got {got}.")
    return numbers


def _filled(value: Any, number: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(each, number) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, number) for each in value]
    return value.replace(HOLE, number) if isinstance(value, str) else value
