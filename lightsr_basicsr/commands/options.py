"""The command ``basicsr options``: an option file with all that it extends, as one file."""

from __future__ import annotations

import argparse
from os.path import expanduser
from typing import Any

from lightsr_basicsr.commands.arguments import FORM

DESCRIPTION = """Print an option file as runs see it: with all that it extends, a section for each of its `sigmas`, and
overrides applied. BasicSR's own scripts read the printed file too."""
EXAMPLES = """examples:
  basicsr options options/train_imdn_x4.yml
  basicsr options my.yml --force_yml train:total_iter=1000 datasets:val=~ -o short.yml"""


def add_options(commands: Any) -> None:
    """Add ``options`` to the parser's ``commands``."""
    text = "print an option file with all that it extends"
    parser = commands.add_parser("options", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    parser.add_argument("file", metavar="FILE", help="option file (YAML), in the working directory or of the package")
    parser.add_argument(
        "--force_yml", nargs="+", default=[], metavar="KEY=VALUE", help="override options, as in basicsr train"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write it to this file instead")
    parser.add_argument("--overwrite", action="store_true", help="overwrite an existing file")
    parser.set_defaults(run=run_options)


def run_options(args: argparse.Namespace) -> int:
    """Print a resolved option file, or write it."""
    from lightsr_basicsr.tools.options import find_option_file, open_options
    from lightsr_basicsr.whole import write_whole

    text = open_options(find_option_file(args.file)).text(args.force_yml)
    if args.output is None:
        print(text, end="")
        return 0
    write_whole(expanduser(args.output), text.encode(), overwrite=args.overwrite)
    print(f"Written: {args.output}")
    return 0
