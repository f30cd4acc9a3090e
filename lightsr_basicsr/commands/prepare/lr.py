"""The command ``basicsr prepare``: wiring and printing; the work is done in ``tools/prepare``."""

from __future__ import annotations

import argparse
from typing import Any

from lightsr_basicsr.commands.arguments import FORM, add_blurs
from lightsr_basicsr.commands.prepare.check import add_check
from lightsr_basicsr.commands.prepare.common import add_kind, add_writing, report
from lightsr_basicsr.commands.prepare.demo import add_demo
from lightsr_basicsr.commands.prepare.files import add_lmdb, add_meta, add_multiscale, add_subimages

EXAMPLES = """examples:
  basicsr prepare demo                                                        all of it, on photographs that are there
  basicsr prepare lr -i Set5 -o datasets/Set5 --scale 2 3 4                   HR_x4, LRBI_x4, ... as test sets have them
  basicsr prepare lr -i datasets/DIV2K/DIV2K_train_HR -o datasets/DIV2K --layout div2k --scale 4
  basicsr prepare lr -i Set5 -o datasets/Set5 --scale 3 --degradation bd      blurred and subsampled; dn: with noise
  basicsr prepare blind -i Set5 -o datasets/Set5                              KDSR's eight blurs
  basicsr prepare check datasets/Set5/HR_x4 datasets/Set5/LRBI_x4 --scale 4   broken files, sizes, partners, twins
All sub-commands use all cores, go on where they were stopped when run again, and overwrite nothing without --overwrite.
`basicsr prepare lr --help` and so on tell more."""


def add_prepare(commands: Any) -> None:
    """Add ``prepare`` and its sub-commands to the parser's ``commands``."""
    text = "make training and test data from images"
    prepare = commands.add_parser("prepare", help=text, description=text, epilog=EXAMPLES, formatter_class=FORM)
    prepare.set_defaults(run=lambda args: prepare.print_help() or 1)
    kinds = prepare.add_subparsers(title="sub-commands", metavar="WHAT")
    for add in (_add_lr, _add_blind, add_subimages, add_multiscale, add_lmdb, add_meta, add_check, add_demo):
        add(kinds)


def _add_lr(kinds: Any) -> None:
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
        help="beyond the image: mirror as current MATLAB (IMDN's test files), replicate as older ones (FDIWN's); "
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
    parser.add_argument("--seed", type=int, default=0, help="of the noise of dn; default: 0")
    parser.add_argument(
        "--depth", choices=("keep", "8"), default="keep", help="bits per channel of what is written (default: keep)"
    )
    add_writing(parser)


def _run_lr(args: argparse.Namespace) -> int:
    from lightsr_basicsr.data.low_resolution import LowResolution
    from lightsr_basicsr.tools.prepare.lr import prepare_lr

    how = LowResolution(args.degradation, args.border, args.seed)
    return report(
        prepare_lr(
            args.input,
            args.output,
            how,
            args.scale,
            args.layout,
            args.depth,
            args.hr,
            args.jobs,
            args.overwrite,
            not args.quiet,
        )
    )


def _add_blind(kinds: Any) -> None:
    parser = add_kind(
        kinds,
        "blind",
        "make test sets with known blur and noise, as blind super-resolution (KDSR) is measured on",
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
    add_blurs(parser, "default: 1.8 to 3.2 at x4, 0.9 to 1.6 at x2", "grey levels of 255; default: 0")
    parser.add_argument("--seed", type=int, default=0, help="of the noise; default: 0")
    parser.add_argument(
        "--depth", choices=("keep", "8"), default="keep", help="bits per channel of HR images (default: keep)"
    )
    add_writing(parser)


def _run_blind(args: argparse.Namespace) -> int:
    from lightsr_basicsr.data.low_resolution import Blur
    from lightsr_basicsr.tools.prepare.blind import prepare_blind

    blurs = [*map(Blur, args.sigma), *(Blur(*kernel) for kernel in args.kernel)]
    return report(
        prepare_blind(
            args.input,
            args.output,
            args.scale,
            blurs,
            args.noise,
            args.seed,
            args.depth,
            args.jobs,
            args.overwrite,
            not args.quiet,
        )
    )
