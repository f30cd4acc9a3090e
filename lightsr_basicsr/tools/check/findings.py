"""Findings on an option file, and its sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing found in an option file: where (a dotted path), what, and whether it stops the run."""

    where: str
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {'' if self.fatal else '(warning) '}{self.message}"


def section_of(options: Mapping, *keys: str) -> Mapping:
    """Return the section under ``keys``, empty if it is missing or not a section."""
    for key in keys:
        options = options[key] if isinstance(options.get(key), Mapping) else {}
    return options
