"""The command ``basicsr schema``: what option files may hold, for editors and for readers."""

from __future__ import annotations

import argparse
import json
from typing import Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.arguments import add_import
from lightsr_basicsr.commands.console import load_all_plugins


def add_schema(commands: Any) -> None:
    """Add ``schema`` to the parser's ``commands``."""
    parser = commands.add_parser("schema", help="JSON schema of option files, for completion in editors")
    parser.add_argument(
        "--markdown", action="store_true", help="print the reference page of all options instead, docs/options.md"
    )
    add_import(parser)
    parser.set_defaults(run=run_schema)


def run_schema(args: argparse.Namespace) -> int:
    """Print the JSON schema of option files, with the classes of all plugins; or the reference page."""
    import_basicsr()
    load_all_plugins(args.plugins)
    if args.markdown:
        from lightsr_basicsr.tools.check.reference import reference_page

        print(reference_page(), end="")
        return 0
    from lightsr_basicsr.tools.check.schema import option_schema

    print(json.dumps(option_schema(), indent=2))
    return 0
