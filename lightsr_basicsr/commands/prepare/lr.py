"""``basicsr prepare lr``: LR images of HR images."""

from __future__ import annotations

import argparse
from typing import Any

from lightsr_basicsr.commands.prepare.common import add_depth, add_kind, add_writing, report, work_of


def add_lr(kinds: Any) -> None:
    """Add ``prepare lr``."""
    parser = add_kind(
        kinds,
        "lr",
        "make LR images from HR images: BI, BD (also called BN) or DN, as MATLAB makes them",
        _run_lr,
        "  basicsr prepare lr -i Set5 -o datasets/Set5\n"
        "  basicsr prepare lr -i Set5 -o datasets/Set5 --scale 3 --degradation dn --seed 0\n"
        "  basicsr prepare lr -i datasets/DF2K/DF2K_train_HR -o datasets/DF2K --layout div2k --scale 2 3 4",
    )
    parser.add_argument("-i", "--input", required=True, metavar="HR", help="folder of HR images")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for HR_x4, LRBI_x4 and so on")
    parser.add_argument(
        "--degradation",
        choices=("bi", "bd", "dn"),
        default="bi",
        help="bi: MATLAB's bicubic; bd: Gaussian 7x7 of sigma 1.6, then the centre pixel of each cell; "
        "dn: bi plus Gaussian noise of level 30 (default: bi)",
    )
    parser.add_argument("--scale", nargs="+", type=int, default=[2, 3, 4], metavar="S", help="default: 2 3 4")
    parser.add_argument(
        "--border",
        choices=("mirror", "replicate"),
        default="mirror",
        help="padding of the image: mirror as current MATLAB (IMDN's test files), replicate as older ones (FDIWN's); "
        "default: mirror",
    )
    parser.add_argument(
        "--layout",
        choices=("benchmark", "div2k"),
        default="benchmark",
        help="benchmark: OUT/HR_x4/NAME.png and OUT/LRBI_x4/NAME.png; "
        "div2k: OUT/DIV2K_train_LR_bicubic/X4/NAMEx4.png (default: benchmark)",
    )
    parser.add_argument(
        "--hr",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="write HR images cropped to multiples of the scale (default: with the layout benchmark)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise of dn (default: 0)")
    add_depth(parser)
    add_writing(parser)


def _run_lr(args: argparse.Namespace) -> int:
    from lightsr_basicsr.data.low_resolution import LowResolution
    from lightsr_basicsr.tools.prepare.lr import prepare_lr

    how = LowResolution(args.degradation, args.border, args.seed)
    return report(prepare_lr(args.input, args.output, how, args.scale, args.layout, args.depth, args.hr, work_of(args)))
