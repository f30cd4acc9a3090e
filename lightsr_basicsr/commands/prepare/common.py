"""Shared by the sub-commands of ``basicsr prepare``: arguments, errors, the final report."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.commands.arguments import FORM
from lightsr_basicsr.errors import UserError, message_of

if TYPE_CHECKING:
    from lightsr_basicsr.tools.prepare.jobs import Prepared, Work

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


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Add the argument of sub-commands that write files; those continue where they were stopped."""
    parser.add_argument("--overwrite", action="store_true", help="recreate existing files")


def add_depth(parser: argparse.ArgumentParser, of: str = "output files") -> None:
    """Add ``--depth``; ``of`` says which images it concerns."""
    parser.add_argument(
        "--depth", choices=("keep", "8"), default="keep", help=f"bits per channel of {of} (default: keep)"
    )


def work_of(args: argparse.Namespace) -> Work:
    """Return how to work through the files, from the shared arguments."""
    from lightsr_basicsr.tools.prepare.jobs import Work

    return Work(args.jobs, args.overwrite, not args.quiet)


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


def report(done: Prepared) -> int:
    """Print the counts, the notes and a section for an option file; return 1 if files failed, else 0."""
    import yaml

    folders = ", ".join(str(folder) for folder in done.folders)
    print(f"{done.made} files made, {done.kept} existing files kept: {folders}")
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
