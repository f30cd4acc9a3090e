"""``basicsr prepare`` from images to other files of the same images: crops, smaller sizes, LMDBs, lists."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import Any

from lightsr_basicsr.commands.prepare.common import add_kind, add_writing, report


def add_subimages(kinds: Any) -> None:
    """Add ``prepare subimages``."""
    parser = add_kind(
        kinds,
        "subimages",
        "cut large images into overlapping crops, which load faster; LR images with them",
        _run_subimages,
        "  basicsr prepare subimages -i DIV2K/DIV2K_train_HR -o DIV2K/DIV2K_train_HR_sub\n"
        "  basicsr prepare subimages -i DIV2K/DIV2K_train_HR -o DIV2K/DIV2K_train_HR_sub --scale 4 \\\n"
        "      --lr DIV2K/DIV2K_train_LR_bicubic/X4 --template '{}x4' --lr-output DIV2K/DIV2K_train_LR_bicubic/X4_sub\n"
        "Crops are called NAME_s001.png, NAME_s002.png, ... row by row, those of LR images as those of HR images.",
    )
    parser.add_argument("-i", "--input", required=True, metavar="HR", help="folder of (HR) images")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder of their crops")
    parser.add_argument("--crop", type=int, default=480, metavar="N", help="side of a crop (default: 480)")
    parser.add_argument("--step", type=int, default=240, metavar="N", help="from crop to crop (default: 240)")
    parser.add_argument(
        "--threshold",
        type=int,
        default=0,
        metavar="N",
        help="add a last crop at the edge if more than N pixels would be left over (default: 0)",
    )
    parser.add_argument("--lr", metavar="DIR", help="folder of LR images, to be cropped at the same places")
    parser.add_argument("--lr-output", metavar="OUT2", help="folder of the crops of LR images")
    parser.add_argument("--scale", type=int, metavar="S", help="scale of the LR images; divides crop and step")
    parser.add_argument(
        "--template", default="{}", help="name of an LR image, {} being that of the HR image (default: {})"
    )
    parser.add_argument(
        "--depth", choices=("keep", "8"), default="keep", help="bits per channel of what is written (default: keep)"
    )
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
    return report(prepare_subimages(args.input, args.output, window, low, args.jobs, args.overwrite, not args.quiet))


def add_lmdb(kinds: Any) -> None:
    """Add ``prepare lmdb``."""
    parser = add_kind(
        kinds,
        "lmdb",
        "put the images of a folder into an LMDB, one file instead of many; LR images with them",
        _run_lmdb,
        "  basicsr prepare lmdb -i DIV2K/HR_sub DIV2K/X2_sub DIV2K/X4_sub -o DIV2K      DIV2K/HR_sub.lmdb, ...\n"
        "  basicsr prepare lmdb -i DF2K/HR DF2K/LR_bicubic/X4 -o DF2K --names DF2K_HR DF2K_X4 --template '{}x4'\n"
        "  basicsr prepare lmdb -i FFHQ -o .                                            GT images only\n"
        "Files are stored as they are, so an LMDB is as large as its folder. Every image is decoded once, and left\n"
        "out of all LMDBs if that fails in one. Names must be ASCII and without an inner dot, or BasicSR would not\n"
        "find them. What a stopped run wrote is in a hidden folder .DIR.lmdb.part; the next run goes on with it.",
        rule=False,
    )
    parser.add_argument(
        "-i", "--input", nargs="+", required=True, metavar="DIR", help="folders; if several, HR images first, then LR"
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for DIR.lmdb")
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

    return report(
        prepare_lmdb(args.input, args.output, args.template, args.names, args.jobs, args.overwrite, not args.quiet)
    )


def add_meta(kinds: Any) -> None:
    """Add ``prepare meta``."""
    parser = add_kind(
        kinds,
        "meta",
        "list images in a text file, as BasicSR's meta_info_file and meta_info",
        _run_meta,
        "  basicsr prepare meta -i DIV2K/HR_sub -o meta_info/DIV2K_sub.txt              for PairedImageDataset\n"
        "  basicsr prepare meta -i DF2K/HR DF2K/multiscale -o meta_info/DF2K.txt        for SecondOrderDataset\n"
        "Lines are `name.png (height,width,channels)`. Every image is decoded once, and left out if that fails. Names\n"
        "must hold no space, because BasicSR reads up to the first one.",
        rule=False,
    )
    parser.add_argument("-i", "--input", nargs="+", required=True, metavar="DIR", help="folders of images")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the list; not in a folder of images")
    parser.add_argument(
        "--root",
        metavar="ROOT",
        help="folder from which paths are given, which is dataroot_gt (default: DIR; if several, their common parent)",
    )
    add_writing(parser)


def _run_meta(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.meta import prepare_meta

    return report(prepare_meta(args.input, args.output, args.root, args.jobs, args.overwrite, not args.quiet))


def add_multiscale(kinds: Any) -> None:
    """Add ``prepare multiscale``."""
    parser = add_kind(
        kinds,
        "multiscale",
        "make images smaller in several sizes, as Real-ESRGAN adds them to its training data",
        _run_multiscale,
        "  basicsr prepare multiscale -i DF2K/DF2K_HR -o DF2K/DF2K_multiscale\n"
        "  basicsr prepare multiscale -i photos -o photos_small --scales 1/2 1/4 --shortest 0\n"
        "Files are called NAMET0.png, NAMET1.png, ... in the order of the scales, the one of --shortest last. They\n"
        "have 8 bits per channel; the filter is Pillow's Lanczos.",
    )
    parser.add_argument("-i", "--input", required=True, metavar="DIR", help="folder of images")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="folder of the smaller ones")
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
    return report(prepare_multiscale(args.input, args.output, sizes, args.jobs, args.overwrite, not args.quiet))
