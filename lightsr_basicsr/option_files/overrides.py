"""Overrides of an option file on the command line: ``--force_yml train:total_iter=100 datasets:val_1=~``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import yaml

from lightsr_basicsr.errors import short_message
from lightsr_basicsr.option_files.extending import EXTENDS
from lightsr_basicsr.option_files.reading import OptionError
from lightsr_basicsr.option_files.sets import SIGMAS
from lightsr_basicsr.yaml_loader import EXPONENT_NUMBER, first_problem, load_yaml

# Keys whose values are texts, in which braces stand for a name or a number.
TEXTS = ("name", "suffix", "*tmpl*", "dataroot*", "meta_info*", "pretrain_*", "resume_state")


def split_override(override: str) -> tuple[list[str], str]:
    """Return the keys of an override and the text of its value.

    Raises:
        OptionError: If it is malformed.
    """
    keys, equals, text = override.partition("=")
    parts = [key.strip() for key in keys.split(":")]
    if not equals or not all(parts):
        raise OptionError(f"--force_yml takes key=value or key:subkey=value, got '{override}'.")
    if parts == [EXTENDS]:
        raise OptionError(f"--force_yml {override}: what a file extends stands in the file. Write it there.")
    return parts, text


def of_written_sets(override: str, replaced: set[str]) -> bool:
    """Return whether an override is about sections of ``datasets`` as they are written, with ``sigmas``.

    Args:
        override (str): One of the command line.
        replaced (set[str]): Keys of sections that are there no longer once ``sigmas`` are expanded.
    """
    first, *keys = split_override(override)[0]
    return first == "datasets" and bool(keys) and (keys[0] in replaced or keys[1:] == [SIGMAS])


def apply_override(options: dict[str, Any], override: str) -> None:
    """Change ``options`` as an override says.

    Raises:
        OptionError: If it is malformed, or names a section that does not exist.
    """
    (*parents, last), text = split_override(override)
    targets = [options]
    for depth, key in enumerate(parents):
        found = [(target, name) for target in targets for name in _names(target, key)]
        if not found or not all(isinstance(target.get(name), Mapping) for target, name in found):
            raise _no_section(override, parents[: depth + 1], targets[0])
        targets = [target[name] for target, name in found]
    found = [(target, name) for target in targets for name in _names(target, last)]
    if not found:
        raise _no_section(override, [*parents, last], targets[0])
    for target, name in found:
        value = _value(target, name, text)
        if value is not None:
            target[name] = value
        elif _is_missing_section(target, name):
            raise _no_section(override, [*parents, name], target)
        elif isinstance(target.get(name), Mapping):
            del target[name]
        else:
            target[name] = None


def parse_value(text: str) -> Any:
    """Return the value of ``text`` in YAML, where ``1e-4`` is a number.

    >>> parse_value("1e-4"), parse_value("[1, 2]"), parse_value("false"), parse_value("~"), parse_value("IMDN")
    (0.0001, [1, 2], False, None, 'IMDN')
    >>> parse_value("{}x4")  # not valid YAML, but a template
    '{}x4'

    Raises:
        OptionError: If it is not valid YAML.
    """
    if EXPONENT_NUMBER.fullmatch(text.strip()):
        return float(text)
    if text.strip().startswith("{}") and text.strip() != "{}":
        return text.strip()
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise OptionError(
            f"--force_yml: '{short_message(text, 80)}' is not valid YAML: {first_problem(error)}"
        ) from error


def _names(target: Mapping, key: str) -> list[str]:
    """Return the keys of ``target`` that ``key`` stands for: those of such names if it has a ``*``, else itself."""
    return [name for name in map(str, target) if fnmatchcase(name, key)] if "*" in key else [key]


def _value(target: Mapping, name: str, text: str) -> Any:
    # In YAML braces are a section, but where a text is wanted they stand for a name or a number.
    wanted = isinstance(target.get(name), str) or (
        not isinstance(target.get(name), Mapping) and any(fnmatchcase(name, each) for each in TEXTS)
    )
    return text.strip() if wanted and text.strip().startswith("{") else parse_value(text)


def _is_missing_section(target: Mapping, name: str) -> bool:
    """Return whether a key that is to be removed is missing, and meant is a section, by those beside it."""
    if name in target or not target:
        return False
    sections = [str(key) for key, value in target.items() if isinstance(value, Mapping)]
    return len(sections) == len(target) or bool(get_close_matches(name, sections, n=1, cutoff=0.8))


def _no_section(override: str, keys: Sequence[str], target: Mapping) -> OptionError:
    if keys[-1] in target:
        where = ":".join(keys)
        return OptionError(
            f"--force_yml {override}: '{where}' is no section, so nothing under it can be set: give all of it, "
            f"{where}=VALUE."
        )
    close = get_close_matches(keys[-1], map(str, target), n=3)
    above = f" under '{':'.join(keys[:-1])}'" if keys[:-1] else ""
    near = f" Did you mean '{close[0]}'?" if close else ""
    return OptionError(
        f"--force_yml {override}: there is no section '{keys[-1]}'{above}. Existing: "
        f"{', '.join(close or map(str, target))}.{near}"
    )
