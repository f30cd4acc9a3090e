"""Option files: find them in the working directory or the package, read them as UTF-8, apply overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from lightsr_basicsr.errors import UserError

PACKAGE = Path(__file__).resolve().parents[1]
# `1e-4` is text in YAML 1.1, which PyYAML implements; nobody means text by it.
EXPONENT_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


class OptionError(UserError):
    """A missing or unreadable option file, or an override that does not fit. The message says what to do."""


class _Loader(yaml.SafeLoader):
    """Safe YAML loader that refuses duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Construct one mapping."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(
                    problem=f"'{key_node.value}' is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


def bundled_folder() -> Path:
    """Return the folder of the package's option files (the checkout's own when run from one)."""
    installed = PACKAGE / "options"
    return installed if installed.is_dir() else PACKAGE.parent / "options"


def find_option_file(name: str) -> Path:
    """Return the option file ``name``: as a path from the working directory, else the bundled file of that name.

    Raises:
        OptionError: With the bundled files of similar name.
    """
    path = Path(name).expanduser()
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
            of a key must exist.

    Raises:
        OptionError: If the file is not UTF-8 or not a YAML mapping, or an override is malformed.
    """
    try:
        options = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise OptionError(f"{path} is not valid YAML: {_first_problem(error)}") from error
    if not isinstance(options, dict):
        raise OptionError(f"{path} must hold a mapping of options, got {type(options).__name__}.")
    for override in overrides:
        _apply(options, override)
    return options


def _first_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    return f"{getattr(error, 'problem', None) or error}{where}"


def _apply(options: dict, override: str) -> None:
    keys, equals, text = override.partition("=")
    if not equals or not keys.strip():
        raise OptionError(f"--force_yml takes key=value or key:subkey=value, got '{override}'.")
    *parents, last = (key.strip() for key in keys.split(":"))
    target = options
    for depth, key in enumerate(parents):
        if not isinstance(target.get(key), Mapping):
            close = get_close_matches(key, map(str, target), n=3) or list(map(str, target))
            above = f" under '{':'.join(parents[:depth])}'" if depth else ""
            raise OptionError(
                f"--force_yml {override}: there is no section '{key}'{above}. Existing: {', '.join(close)}."
            )
        target = target[key]
    target[last] = parse_value(text)


def parse_value(text: str) -> Any:
    """Return the value of ``text`` in YAML, where ``1e-4`` is a number.

    >>> parse_value("1e-4"), parse_value("[1, 2]"), parse_value("false"), parse_value("~"), parse_value("IMDN")
    (0.0001, [1, 2], False, None, 'IMDN')

    Raises:
        OptionError: If it is not valid YAML.
    """
    if EXPONENT_NUMBER.fullmatch(text.strip()):
        return float(text)
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise OptionError(f"--force_yml: '{text}' is not valid YAML: {_first_problem(error)}") from error
