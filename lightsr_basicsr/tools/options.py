"""Option files: find them in the working directory or the package, read them as UTF-8, apply overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from os.path import expanduser
from pathlib import Path
from typing import Any

import yaml

from lightsr_basicsr.errors import UserError, short_message
from lightsr_basicsr.yaml_loader import EXPONENT_NUMBER, MOST_CHARACTERS, first_problem, load_yaml

PACKAGE = Path(__file__).resolve().parents[1]
TEMPLATE = "tmpl"  # in the name of every key that takes a template: filename_tmpl


class OptionError(UserError):
    """A missing or unreadable option file, or an override that does not fit. The message says what to do."""


def bundled_folder() -> Path:
    """Return the folder of the package's option files (the checkout's own when run from one)."""
    installed = PACKAGE / "options"
    return installed if installed.is_dir() else PACKAGE.parent / "options"


def find_option_file(name: str) -> Path:
    """Return the option file ``name``: as a path from the working directory, else the bundled file of that name.

    Raises:
        OptionError: With the bundled files of similar name.
    """
    path = Path(expanduser(name))
    if path.is_file():
        return path
    bundled = bundled_folder() / path.name
    if bundled.is_file() and path.parent in (Path("options"), Path()):
        return bundled
    names = sorted(file.name for file in bundled_folder().glob("*.yml"))
    close = get_close_matches(path.name, names, n=3) or names
    raise OptionError(
        f"There is no option file {name} in {Path.cwd()}, nor a bundled one. Bundled: {', '.join(close)}."
    )


def read_options(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read an option file and apply ``overrides``.

    Args:
        path (Path): YAML, UTF-8.
        overrides (Sequence[str]): ``'train:total_iter=100'`` each; the value is parsed as YAML. All but the last part
            of a key must exist. ``'datasets:val_1=~'`` removes a section; ``val_*`` stands for all keys of such names.

    Raises:
        OptionError: If the file is not UTF-8 or not a YAML mapping, or an override is malformed.
    """
    try:
        if path.stat().st_size > 4 * MOST_CHARACTERS:  # a checkpoint, perhaps
            raise OptionError(f"{path} has {path.stat().st_size:,} bytes: it is no option file.")
        options = load_yaml(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise OptionError(f"{path} is not valid YAML: {first_problem(error)}") from error
    if not isinstance(options, dict):
        raise OptionError(f"{path} must hold a mapping of options, got {type(options).__name__}.")
    for override in overrides:
        _apply(options, override)
    return options


def _apply(options: dict, override: str) -> None:
    keys, equals, text = override.partition("=")
    if not equals or not keys.strip():
        raise OptionError(f"--force_yml takes key=value or key:subkey=value, got '{override}'.")
    *parents, last = (key.strip() for key in keys.split(":"))
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
        _set(target, name, text)


def _names(target: Mapping, key: str) -> list[str]:
    """Return the keys of ``target`` that ``key`` stands for: those of such names if it has a ``*``, else itself."""
    return [name for name in map(str, target) if fnmatchcase(name, key)] if "*" in key else [key]


def _no_section(override: str, keys: Sequence[str], target: Mapping) -> OptionError:
    if keys[-1] in target:
        where = ":".join(keys)
        return OptionError(
            f"--force_yml {override}: '{where}' is no section, so nothing under it can be set: give all of it, "
            f"{where}=VALUE."
        )
    close = get_close_matches(keys[-1], map(str, target), n=3) or list(map(str, target))
    above = f" under '{':'.join(keys[:-1])}'" if keys[:-1] else ""
    return OptionError(
        f"--force_yml {override}: there is no section '{keys[-1]}'{above}. Existing: {', '.join(close)}."
    )


def _set(target: dict, name: str, text: str) -> None:
    """Set a value, or remove a section if the value is None."""
    # A template names files with {}, which is an empty section in YAML.
    is_template = text.strip() == "{}" and (TEMPLATE in name or isinstance(target.get(name), str))
    value = "{}" if is_template else parse_value(text)
    if value is None and isinstance(target.get(name), Mapping):
        del target[name]
    else:
        target[name] = value


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
