"""What the sub-commands of ``basicsr prepare`` share: arguments, errors, the report at the end."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.commands.arguments import FORM
from lightsr_basicsr.errors import UserError, message_of

if TYPE_CHECKING:
    from lightsr_basicsr.tools.prepare.jobs import Prepared

RULE = (
    "Images may be PNG, BMP, JPEG, TIFF or WebP with 8 or 16 bits. Gray becomes three equal channels and alpha is\n"
    "dropped, as BasicSR reads them. What is written is PNG."
)


def add_kind(kinds: Any, name: str, text: str, run: Any, examples: str, rule: bool = True) -> argparse.ArgumentParser:
    """Add a sub-command with the arguments that all share."""
    description = f"{text[0].upper()}{text[1:]}." + (f"\n{RULE}" if rule else "")
    parser = kinds.add_parser(
        name, help=text, description=description, epilog=f"examples:\n{examples}", formatter_class=FORM
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="files at a time; default: one per core")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=lambda args: _run(run, args))
    return parser


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of sub-commands that write files."""
    parser.add_argument("--overwrite", action="store_true", help="make files again that are there")


def _run(function: Any, args: argparse.Namespace) -> int:
    if args.jobs is not None and args.jobs < 1:
        raise UserError(f"--jobs must be at least 1, got {args.jobs}.")
    try:
        return function(args)
    except OSError as error:
        raise UserError(f"{message_of(error)} Finished files are kept; run the command again to continue.") from error
    except KeyboardInterrupt:
        again = "again without --overwrite" if getattr(args, "overwrite", False) else "again"
        print(f"\nstopped; whole files are kept. Run the same command {again} to go on.", file=sys.stderr)
        return 130


def report(done: Prepared) -> int:
    """Print what was done and the section for an option file; return 1 if files failed."""
    import yaml

    folders = ", ".join(str(folder) for folder in done.folders)
    print(f"{done.made} files made, {done.kept} were there already: {folders}")
    for note in done.notes:
        print(f"note: {note}")
    if done.failed:
        lines = "".join(f"\n  {line}" for line in done.failed)
        print(f"basicsr: {len(done.failed)} files could not be used:{lines}", file=sys.stderr)
    if done.made + done.kept:
        texts = [{"scale": scale, "datasets": section} for scale, section in done.others.items()]
        for text in texts or ([{"datasets": done.section}] if done.section else []):
            print("\nFor an option file:\n")
            print(yaml.safe_dump(text, sort_keys=False), end="")
    return 1 if done.failed else 0
