"""``basicsr prepare lmdb``: LMDBs of folders."""

from __future__ import annotations

import argparse
from typing import Any

from lightsr_basicsr.commands.prepare.common import add_kind, add_writing, report, work_of


def add_lmdb(kinds: Any) -> None:
    """Add ``prepare lmdb``."""
    parser = add_kind(
        kinds,
        "lmdb",
        "put the images of a folder into an LMDB, one file instead of many; optionally their LR images too",
        _run_lmdb,
        "  basicsr prepare lmdb -i DIV2K/HR_sub DIV2K/X2_sub DIV2K/X4_sub -o DIV2K      DIV2K/HR_sub.lmdb, ...\n"
        "  basicsr prepare lmdb -i DF2K/HR DF2K/LR_bicubic/X4 -o DF2K --names DF2K_HR DF2K_X4 --template '{}x4'\n"
        "  basicsr prepare lmdb -i FFHQ -o FFHQ.lmdb                                    GT images only\n"
        "Files are stored unchanged, so an LMDB is as large as its folder. Every image is decoded once; one that is\n"
        "broken is left out of all LMDBs. Names must be ASCII and without an inner dot, or BasicSR would not find\n"
        "them. An interrupted run leaves a hidden folder .DIR.lmdb.part, from which the next run continues.",
        rule=False,
    )
    parser.add_argument(
        "-i", "--input", nargs="+", required=True, metavar="DIR", help="folders; if several, HR images first, then LR"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="folder for DIR.lmdb; of a single DIR also OUT.lmdb itself"
    )
    parser.add_argument("--names", nargs="+", default=[], metavar="NAME", help="names of the LMDBs (default: DIR)")
    parser.add_argument(
        "--template",
        action="append",
        default=[],
        help="name of an LR image, {} being that of the HR image; once for each folder, or each but the first "
        "(default: {})",
    )
    add_writing(parser)


def _run_lmdb(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.lmdb import prepare_lmdb

    return report(prepare_lmdb(args.input, args.output, args.template, args.names, work_of(args)))
