"""``basicsr prepare multiscale``: smaller copies of images."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import Any

from lightsr_basicsr.commands.prepare.common import add_kind, add_writing, report, work_of


def add_multiscale(kinds: Any) -> None:
    """Add ``prepare multiscale``."""
    parser = add_kind(
        kinds,
        "multiscale",
        "downscale images to several sizes, as Real-ESRGAN adds them to its training data",
        _run_multiscale,
        "  basicsr prepare multiscale -i DF2K/DF2K_HR -o DF2K/DF2K_multiscale\n"
        "  basicsr prepare multiscale -i photos -o photos_small --scales 1/2 1/4 --shortest 0\n"
        "Files are named NAMET0.png, NAMET1.png, ... in the order of the scales, the one of --shortest last. They\n"
        "have 8 bits per channel; the filter is Pillow's Lanczos.",
    )
    parser.add_argument("-i", "--input", required=True, metavar="DIR", help="folder of images")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the downscaled images")
    parser.add_argument(
        "--scales",
        nargs="*",
        type=_ratio,
        metavar="S",
        help="numbers or fractions between 0 and 1 (default: 0.75 0.5 1/3)",
    )
    parser.add_argument(
        "--shortest",
        type=int,
        default=400,
        metavar="N",
        help="one more image with a shorter side of N pixels; 0: none (default: 400)",
    )
    add_writing(parser)


def _ratio(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"expected a number or a fraction such as 1/3, got {text!r}") from error


def _run_multiscale(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.multiscale import SCALES, Sizes, prepare_multiscale

    sizes = Sizes(SCALES if args.scales is None else tuple(args.scales), args.shortest)
    return report(prepare_multiscale(args.input, args.output, sizes, work_of(args)))
