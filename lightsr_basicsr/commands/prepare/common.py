"""Shared by the sub-commands of ``basicsr prepare``: arguments, errors, sections for an option file."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

from lightsr_basicsr.commands.arguments import FORM
from lightsr_basicsr.errors import UserError, message_of

RULE = (
    "Images may be PNG, BMP, JPEG, TIFF or WebP with 8 or 16 bits. Gray becomes three equal channels and alpha is\n"
    "dropped, as BasicSR reads them. Output files are PNG."
)


def add_kind(kinds: Any, name: str, text: str, run: Any, examples: str, rule: bool = True) -> argparse.ArgumentParser:
    """Add the sub-command ``name`` with the arguments that all sub-commands share, and return its parser."""
    description = f"{text[0].upper()}{text[1:]}." + (f"\n{RULE}" if rule else "")
    parser = kinds.add_parser(
        name, help=text, description=description, epilog=f"examples:\n{examples}", formatter_class=FORM
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="files at a time (default: one per core)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=partial(_run, run))
    return parser


def _run(function: Any, args: argparse.Namespace) -> int:
    if args.jobs is not None and args.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {args.jobs}.")
    left = "nothing was changed."
    if hasattr(args, "overwrite"):  # it writes files
        again = "again without --overwrite" if args.overwrite else "again"
        left = f"finished files are kept. Run the same command {again} to continue."
    try:
        return function(args)
    except OSError as error:
        raise UserError(f"{message_of(error)} {left[0].upper()}{left[1:]}") from error
    except KeyboardInterrupt:
        print(f"\nstopped; {left}", file=sys.stderr)
        return 130


def print_section(section: dict[str, Any], title: str = "For an option file:", **others: Any) -> None:
    """Print a title and the ``datasets`` of an option file, after its ``others``."""
    import yaml

    print(f"\n{title}\n")
    print(yaml.safe_dump({**others, "datasets": section}, sort_keys=False), end="")
