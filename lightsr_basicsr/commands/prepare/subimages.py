"""``basicsr prepare subimages``: overlapping crops of large images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lightsr_basicsr.commands.prepare.common import add_depth, add_kind, add_writing, report, work_of


def add_subimages(kinds: Any) -> None:
    """Add ``prepare subimages``."""
    parser = add_kind(
        kinds,
        "subimages",
        "cut large images into overlapping crops, which load faster; optionally their LR images too",
        _run_subimages,
        "  basicsr prepare subimages -i DIV2K/DIV2K_train_HR -o DIV2K/DIV2K_train_HR_sub\n"
        "  basicsr prepare subimages -i DIV2K/DIV2K_train_HR -o DIV2K/DIV2K_train_HR_sub --scale 4 \\\n"
        "      --lr DIV2K/DIV2K_train_LR_bicubic/X4 --template '{}x4' --lr-output DIV2K/DIV2K_train_LR_bicubic/X4_sub\n"
        "Crops are named NAME_s001.png, NAME_s002.png, ... row by row; LR crops have the names of the HR crops.",
    )
    parser.add_argument("-i", "--input", required=True, metavar="HR", help="folder of (HR) images")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for their crops")
    parser.add_argument("--crop", type=int, default=480, metavar="N", help="side of a crop (default: 480)")
    parser.add_argument("--step", type=int, default=240, metavar="N", help="stride between crops (default: 240)")
    parser.add_argument(
        "--threshold",
        type=int,
        default=0,
        metavar="N",
        help="add a last crop at the edge if more than N pixels would remain (default: 0)",
    )
    parser.add_argument("--lr", metavar="DIR", help="folder of LR images, which are cropped at the same positions")
    parser.add_argument("--lr-output", metavar="OUT2", help="folder for the crops of LR images")
    parser.add_argument("--scale", type=int, metavar="S", help="scale of the LR images; divides crop and step")
    parser.add_argument(
        "--template", default="{}", help="name of an LR image, {} being that of the HR image (default: {})"
    )
    add_depth(parser)
    add_writing(parser)


def _run_subimages(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.jobs import PrepareError
    from lightsr_basicsr.tools.prepare.subimages import LowPartners, Window, prepare_subimages

    given = [args.lr, args.lr_output, args.scale]
    if any(each is not None for each in given) and None in given:
        raise PrepareError("pairs need --lr, --lr-output and --scale, all three.")
    low = None
    if args.lr:
        low = LowPartners(Path(args.lr).expanduser(), Path(args.lr_output).expanduser(), args.scale, args.template)
    window = Window(args.crop, args.step, args.threshold, args.depth)
    return report(prepare_subimages(args.input, args.output, window, low, work_of(args)))
