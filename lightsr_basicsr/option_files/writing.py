"""Options as YAML that BasicSR's own parser reads: no anchors, no tags, no ``extends``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

SEQUENCE, NULL = "tag:yaml.org,2002:seq", "tag:yaml.org,2002:null"
WIDTH = 120


class PlainDumper(yaml.SafeDumper):
    """Writes lists of plain values in one line, null as ``~``, and shared sections as often as they are used."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: nothing gets an anchor."""
        return True


PlainDumper.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "~"))
PlainDumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence(SEQUENCE, items, flow_style=_is_plain(items))
)


def to_yaml(options: Mapping[str, Any]) -> str:
    """Return options as YAML, each section of the top level after an empty line.

    >>> print(to_yaml({"name": "a", "train": {"lr": 1e-5, "betas": [0.9, 0.99], "state": None}}), end="")
    name: a
    <BLANKLINE>
    train:
      lr: 1.0e-05
      betas: [0.9, 0.99]
      state: ~
    """
    parts = []
    for key, value in options.items():
        text = yaml.dump({key: value}, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=WIDTH)
        parts.append(f"\n{text}" if isinstance(value, Mapping) and parts else text)
    return "".join(parts)


def _is_plain(items: list) -> bool:
    return not any(isinstance(each, (list, Mapping)) for each in items)
