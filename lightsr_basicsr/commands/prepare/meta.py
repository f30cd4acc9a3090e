"""``basicsr prepare meta``: lists of images."""

from __future__ import annotations

import argparse
from typing import Any

from lightsr_basicsr.commands.prepare.common import add_kind, add_writing, report, work_of


def add_meta(kinds: Any) -> None:
    """Add ``prepare meta``."""
    parser = add_kind(
        kinds,
        "meta",
        "list images in a text file, as BasicSR's meta_info_file and meta_info",
        _run_meta,
        "  basicsr prepare meta -i DIV2K/HR_sub -o meta_info/DIV2K_sub.txt              for PairedImageDataset\n"
        "  basicsr prepare meta -i DF2K/HR DF2K/multiscale -o meta_info/DF2K.txt        for SecondOrderDataset\n"
        "Lines are `name.png (height,width,channels)`. Every image is decoded once; broken ones are left out. Names\n"
        "must not contain a space, because BasicSR reads up to the first one.",
        rule=False,
    )
    parser.add_argument("-i", "--input", nargs="+", required=True, metavar="DIR", help="folders of images")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the list; not in a folder of images")
    parser.add_argument(
        "--root",
        metavar="ROOT",
        help="folder that paths are relative to, as dataroot_gt (default: DIR; if several, their common parent)",
    )
    add_writing(parser)


def _run_meta(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.meta import prepare_meta

    return report(prepare_meta(args.input, args.output, args.root, work_of(args)))
