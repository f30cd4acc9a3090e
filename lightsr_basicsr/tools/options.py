"""The one door to option files: found in the working directory or the package, resolved, with overrides applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightsr_basicsr.option_files.extending import check_size, merge, origin, read_layers
from lightsr_basicsr.option_files.overrides import apply_override, of_written_sets, parse_value
from lightsr_basicsr.option_files.reading import Layer, OptionError, bundled_folder, find_option_file
from lightsr_basicsr.option_files.sets import expand_sets, replaced_sets
from lightsr_basicsr.option_files.writing import to_yaml

__all__ = ["OptionError", "OptionFile", "bundled_folder", "find_option_file", "open_options", "parse_value",
           "read_options"]  # fmt: skip


@dataclass(frozen=True)
class OptionFile:
    """An option file with the files that it extends."""

    layers: Sequence[Layer]  # itself, the file that it extends, and so on

    @property
    def path(self) -> Path:
        """The file itself."""
        return self.layers[0].path

    @property
    def stands_alone(self) -> bool:
        """Whether BasicSR's own parser would read the same options in it."""
        written = merge(self.layers)
        return len(self.layers) == 1 and expand_sets(written, str(self.path)) == written

    def options(self, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """Return its content: bases merged, ``sigmas`` expanded, ``overrides`` applied.

        Raises:
            OptionError: If something in it or an override does not fit.
        """
        written = merge(self.layers)
        replaced = replaced_sets(written)
        early = [override for override in overrides if of_written_sets(override, replaced)]
        for override in early:
            apply_override(written, override)
        options = expand_sets(written, str(self.path))
        check_size(options, self.path)
        for override in overrides:
            if override not in early:
                apply_override(options, override)
        return options

    def text(self, overrides: Sequence[str] = ()) -> str:
        """Return its resolved content as YAML that BasicSR's own parser reads, after a comment with its files."""
        bases = [f"# It extends {layer.path}" for layer in self.layers[1:]]
        return "\n".join([f"# Resolved from {self.path}", *bases, to_yaml(self.options(overrides))])

    def origin(self, where: str) -> str:
        """Return file and line of a dotted key that is inherited, '' for any other."""
        return origin(self.layers, where)


def open_options(path: Path) -> OptionFile:
    """Read an option file and the files that it extends.

    Raises:
        OptionError: If one of them is missing, not UTF-8 or not a YAML mapping.
    """
    return OptionFile(read_layers(path))


def read_options(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read an option file with all that it extends, and apply ``overrides``.

    Args:
        path (Path): YAML, UTF-8.
        overrides (Sequence[str]): ``'train:total_iter=100'`` each; the value is parsed as YAML. All but the last part
            of a key must exist. ``'datasets:val_1=~'`` removes a section; ``val_*`` stands for all keys of such names.

    Raises:
        OptionError: If a file is not UTF-8 or not a YAML mapping, or an override is malformed.
    """
    return open_options(path).options(overrides)
