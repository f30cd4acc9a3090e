"""The command ``basicsr prepare``; ``tools/prepare`` does the work."""

from __future__ import annotations

from typing import Any

from lightsr_basicsr.commands.arguments import FORM
from lightsr_basicsr.commands.prepare.check import add_check
from lightsr_basicsr.commands.prepare.demo import add_demo
from lightsr_basicsr.commands.prepare.make import (
    add_blind,
    add_lmdb,
    add_lr,
    add_meta,
    add_multiscale,
    add_pairs,
    add_subimages,
)

EXAMPLES = """examples:
  basicsr prepare demo                                                        all of it, on scikit-image's test images
  basicsr prepare lr -i Set5 -o datasets/Set5 --scale 2 3 4                   HR_x4, LRBI_x4, ... as test sets have them
  basicsr prepare lr -i datasets/DIV2K/DIV2K_train_HR -o datasets/DIV2K --layout div2k --scale 4
  basicsr prepare lr -i Set5 -o datasets/Set5 --scale 3 --degradation bd      blurred and subsampled; dn: with noise
  basicsr prepare blind -i Set5 -o datasets/Set5                              KDSR's eight blurs
  basicsr prepare pairs -i DIV2KRK/gt DIV2KRK/lr_x4 -o datasets/DIV2KRK --names 'img_{}_gt' 'im_{}'
  basicsr prepare check datasets/Set5/HR_x4 datasets/Set5/LRBI_x4 --scale 4   broken files, sizes, pairs, duplicates
All sub-commands use all cores, resume after an interruption when run again, and overwrite nothing without --overwrite.
See `basicsr prepare lr --help` and so on."""


def add_prepare(commands: Any) -> None:
    """Add ``prepare`` and its sub-commands to the parser's ``commands``."""
    text = "make training and test data from images"
    prepare = commands.add_parser("prepare", help=text, description=text, epilog=EXAMPLES, formatter_class=FORM)
    prepare.set_defaults(run=lambda args: prepare.print_help() or 1)
    kinds = prepare.add_subparsers(title="sub-commands", metavar="WHAT")
    for add in (add_lr, add_blind, add_pairs, add_subimages, add_multiscale, add_lmdb, add_meta, add_check, add_demo):
        add(kinds)
