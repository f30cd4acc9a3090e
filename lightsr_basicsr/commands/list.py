"""The command ``basicsr list``: the names that an option file can use."""

from __future__ import annotations

import argparse
import json
from typing import Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.arguments import add_import
from lightsr_basicsr.commands.console import load_all_plugins
from lightsr_basicsr.commands.tables import table

KINDS = ("networks", "models", "datasets", "losses", "metrics")


def add_list(commands: Any) -> None:
    """Add ``list`` to the parser's ``commands``."""
    parser = commands.add_parser("list", help="names that option files can use, and their modules")
    parser.add_argument("kind", nargs="?", choices=KINDS, help="one kind only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_import(parser)
    parser.set_defaults(run=run_list)


def run_list(args: argparse.Namespace) -> int:
    """Print the registered names with the module that each comes from."""
    from lightsr_basicsr.plugins import list_registered

    import_basicsr()
    load_all_plugins(args.plugins)
    found = list_registered()
    chosen = {kind: found[kind] for kind in ([args.kind] if args.kind else KINDS)}
    if args.json:
        print(json.dumps({kind: [vars(entry) for entry in entries] for kind, entries in chosen.items()}, indent=2))
        return 0
    for kind, entries in chosen.items():
        print(f"{kind}:")
        print(table(((entry.name, entry.module) for entry in entries), indent="  "))
    return 0
