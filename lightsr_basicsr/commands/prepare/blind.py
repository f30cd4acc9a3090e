"""``basicsr prepare blind``: test sets of known blur and noise."""

from __future__ import annotations

import argparse
from typing import Any

from lightsr_basicsr.commands.arguments import add_blurs
from lightsr_basicsr.commands.prepare.common import add_depth, add_kind, add_writing, report, work_of


def add_blind(kinds: Any) -> None:
    """Add ``prepare blind``."""
    parser = add_kind(
        kinds,
        "blind",
        "make test sets with known blur and noise, on which blind super-resolution (KDSR) is measured",
        _run_blind,
        "  basicsr prepare blind -i Set5 -o datasets/Set5                    the paper's eight isotropic blurs at x4\n"
        "  basicsr prepare blind -i Set5 -o datasets/Set5 --scale 2\n"
        "  basicsr prepare blind -i Set14 -o datasets/Set14 --kernel 3.5,1.5,30 4,1.5,120 --noise 0 10 20",
    )
    parser.add_argument("-i", "--input", required=True, metavar="HR", help="folder of HR images")
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="folder for HR_x4, LRiso_x4_sig1.8 and so on"
    )
    parser.add_argument("--scale", type=int, default=4, metavar="S", help="default: 4")
    add_blurs(parser, "default: 1.8 to 3.2 at x4, 0.9 to 1.6 at x2", "gray levels of 255; default: 0")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default: 0)")
    add_depth(parser, "HR images")
    add_writing(parser)


def _run_blind(args: argparse.Namespace) -> int:
    from lightsr_basicsr.data.low_resolution import Blur
    from lightsr_basicsr.tools.prepare.blind import prepare_blind

    blurs = [*map(Blur, args.sigma), *(Blur(*kernel) for kernel in args.kernel)]
    return report(
        prepare_blind(args.input, args.output, args.scale, blurs, args.noise, args.seed, args.depth, work_of(args))
    )
