"""The sub-commands of ``basicsr prepare`` that write files: LR images, crops, smaller copies, LMDBs, lists."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from os.path import expanduser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.commands.arguments import add_blurs
from lightsr_basicsr.commands.console import printable
from lightsr_basicsr.commands.prepare.common import add_kind, print_section

if TYPE_CHECKING:
    from lightsr_basicsr.tools.prepare.jobs import Prepared, Work


def add_lr(kinds: Any) -> None:
    """Add ``prepare lr``, which makes LR images of HR images."""
    parser = add_kind(
        kinds,
        "lr",
        "make LR images from HR images: BI, BD (also called BN) or DN, as MATLAB makes them",
        _run_lr,
        "  basicsr prepare lr -i Set5 -o datasets/Set5\n"
        "  basicsr prepare lr -i Set5 -o datasets/Set5 --scale 3 --degradation dn --seed 0\n"
        "  basicsr prepare lr -i datasets/DF2K/DF2K_train_HR -o datasets/DF2K --layout div2k --scale 2 3 4",
    )
    _add_files(parser, ("HR", "folder of HR images"), ("OUT", "folder for HR_x4, LRBI_x4 and so on"))
    _add_choice(
        parser,
        "--degradation",
        ("bi", "bd", "dn"),
        "bi: MATLAB's bicubic; bd: Gaussian 7x7 of sigma 1.6, then the centre pixel of each cell; "
        "dn: bi plus Gaussian noise of level 30",
    )
    _add_choice(
        parser,
        "--border",
        ("mirror", "replicate"),
        "padding of the image, which changes the outer two pixels: replicate as the public benchmark sets have it "
        "(all of 357 files), for numbers to compare with papers'; mirror as current MATLAB, and IMDN's test files. "
        "`prepare check HR LR` says which one a set has",
    )
    _add_choice(
        parser,
        "--layout",
        ("benchmark", "div2k"),
        "benchmark: OUT/HR_x4/NAME.png and OUT/LRBI_x4/NAME.png; div2k: OUT/DIV2K_train_LR_bicubic/X4/NAMEx4.png",
    )
    _add_choice(parser, "--depth", ("keep", "8"), "bits per channel of output files")
    parser.add_argument("--scale", nargs="+", type=int, default=[2, 3, 4], metavar="S", help="default: 2 3 4")
    text = "write HR images cropped to multiples of the scale (default: with the layout benchmark)"
    parser.add_argument("--hr", action=argparse.BooleanOptionalAction, default=None, help=text)
    _add_number(parser, "--seed", "seed of the noise of dn", 0, None)


def _run_lr(args: argparse.Namespace) -> int:
    from lightsr_basicsr.data.low_resolution import LowResolution
    from lightsr_basicsr.tools.prepare.lr import prepare_lr

    how = LowResolution(args.degradation, args.border, args.seed)
    return _report(
        prepare_lr(args.input, args.output, how, args.scale, args.layout, args.depth, args.hr, _work_of(args))
    )


def add_blind(kinds: Any) -> None:
    """Add ``prepare blind``, which makes test sets of known blur and noise."""
    parser = add_kind(
        kinds,
        "blind",
        "make test sets with known blur and noise, on which blind super-resolution (KDSR) is measured",
        _run_blind,
        "  basicsr prepare blind -i Set5 -o datasets/Set5                    the paper's eight isotropic blurs at x4\n"
        "  basicsr prepare blind -i Set5 -o datasets/Set5 --scale 2\n"
        "  basicsr prepare blind -i Set14 -o datasets/Set14 --kernel 3.5,1.5,30 4,1.5,120 --noise 0 10 20",
    )
    _add_files(parser, ("HR", "folder of HR images"), ("OUT", "folder for HR_x4, LRiso_x4_sig1.8 and so on"))
    parser.add_argument("--scale", type=int, default=4, metavar="S", help="default: 4")
    add_blurs(parser, "default: 1.8 to 3.2 at x4, 0.9 to 1.6 at x2", "gray levels of 255; default: 0")
    _add_number(parser, "--seed", "seed of the noise", 0, None)
    _add_choice(parser, "--depth", ("keep", "8"), "bits per channel of HR images")


def _run_blind(args: argparse.Namespace) -> int:
    from lightsr_basicsr.data.low_resolution import Blur
    from lightsr_basicsr.tools.prepare.blind import prepare_blind

    blurs = [*map(Blur, args.sigma), *(Blur(*kernel) for kernel in args.kernel)]
    return _report(
        prepare_blind(args.input, args.output, args.scale, blurs, args.noise, args.seed, args.depth, _work_of(args))
    )


def add_pairs(kinds: Any) -> None:
    """Add ``prepare pairs``, which gives the pairs of a test set equal names."""
    parser = add_kind(
        kinds,
        "pairs",
        "give HR and LR images of a downloaded test set equal names, as BasicSR pairs them",
        _run_pairs,
        "  basicsr prepare pairs -i DIV2KRK/gt DIV2KRK/lr_x4 -o datasets/DIV2KRK --names 'img_{}_gt' 'im_{}'\n"
        "  basicsr prepare pairs -i Canon/Test/4 Canon/Test/4 -o datasets/RealSR --names '{}_HR' '{}_LR4'",
    )
    _add_files(parser, ("DIR", "folder of HR images, folder of LR images"), ("OUT", "folder for HR_x4, LR_x4"), nargs=2)
    parser.add_argument("--scale", type=int, default=4, metavar="S", help="default: 4")
    text = "names of HR and LR images without suffix, {} being what they share (default: {} {})"
    parser.add_argument("--names", nargs=2, default=["{}", "{}"], metavar=("HR", "LR"), help=text)


def _run_pairs(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.pairs import prepare_pairs

    return _report(prepare_pairs(*args.input, args.output, args.scale, args.names, _work_of(args)))


def add_subimages(kinds: Any) -> None:
    """Add ``prepare subimages``, which cuts overlapping crops of large images."""
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
    _add_files(parser, ("HR", "folder of (HR) images"), ("OUT", "folder for their crops"))
    _add_number(parser, "--crop", "side of a crop", 480)
    _add_number(parser, "--step", "stride between crops", 240)
    _add_number(parser, "--threshold", "add a last crop at the edge if more than N pixels would remain", 0)
    parser.add_argument("--lr", metavar="DIR", help="folder of LR images, which are cropped at the same positions")
    parser.add_argument("--lr-output", metavar="OUT2", help="folder for the crops of LR images")
    parser.add_argument("--scale", type=int, metavar="S", help="scale of the LR images; divides crop and step")
    parser.add_argument(
        "--template", default="{}", help="name of an LR image, {} being that of the HR image (default: {})"
    )
    _add_choice(parser, "--depth", ("keep", "8"), "bits per channel of output files")


def _run_subimages(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.jobs import PrepareError
    from lightsr_basicsr.tools.prepare.subimages import LowPartners, Window, prepare_subimages

    given = [args.lr, args.lr_output, args.scale]
    if any(each is not None for each in given) and None in given:
        raise PrepareError("pairs need --lr, --lr-output and --scale, all three.")
    low = None
    if args.lr:
        low = LowPartners(Path(expanduser(args.lr)), Path(expanduser(args.lr_output)), args.scale, args.template)
    window = Window(args.crop, args.step, args.threshold, args.depth)
    return _report(prepare_subimages(args.input, args.output, window, low, _work_of(args)))


def add_multiscale(kinds: Any) -> None:
    """Add ``prepare multiscale``, which makes smaller copies of images."""
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
    _add_files(parser, ("DIR", "folder of images"), ("OUT", "folder for the downscaled images"))
    text = "numbers or fractions between 0 and 1 (default: 0.75 0.5 1/3)"
    parser.add_argument("--scales", nargs="*", type=_ratio, metavar="S", help=text)
    _add_number(parser, "--shortest", "one more image with a shorter side of N pixels; 0: none", 400)


def _ratio(text: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"expected a number or a fraction such as 1/3, got {text!r}") from error


def _run_multiscale(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.multiscale import SCALES, Sizes, prepare_multiscale

    sizes = Sizes(SCALES if args.scales is None else tuple(args.scales), args.shortest)
    return _report(prepare_multiscale(args.input, args.output, sizes, _work_of(args)))


def add_lmdb(kinds: Any) -> None:
    """Add ``prepare lmdb``, which makes LMDBs of folders."""
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
    out = "folder for DIR.lmdb; of a single DIR also OUT.lmdb itself"
    _add_files(parser, ("DIR", "folders; if several, HR images first, then LR"), ("OUT", out), nargs="+")
    parser.add_argument("--names", nargs="+", default=[], metavar="NAME", help="names of the LMDBs (default: DIR)")
    parser.add_argument(
        "--template",
        action="append",
        default=[],
        help="name of an LR image, {} being that of the HR image; once for each folder, or each but the first "
        "(default: {})",
    )


def _run_lmdb(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.lmdb import prepare_lmdb

    return _report(prepare_lmdb(args.input, args.output, args.template, args.names, _work_of(args)))


def add_meta(kinds: Any) -> None:
    """Add ``prepare meta``, which lists images in a file."""
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
    _add_files(parser, ("DIR", "folders of images"), ("FILE", "the list; not in a folder of images"), nargs="+")
    text = "folder that paths are relative to, as dataroot_gt (default: DIR; if several, their common parent)"
    parser.add_argument("--root", metavar="ROOT", help=text)


def _run_meta(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.meta import prepare_meta

    return _report(prepare_meta(args.input, args.output, args.root, _work_of(args)))


def _add_files(
    parser: argparse.ArgumentParser, source: tuple[str, str], out: tuple[str, str], nargs: str | int | None = None
) -> None:
    """Add ``-i``, ``-o``, each by its metavar and its help, and ``--overwrite``."""
    parser.add_argument("-i", "--input", nargs=nargs, required=True, metavar=source[0], help=source[1])
    parser.add_argument("-o", "--output", required=True, metavar=out[0], help=out[1])
    parser.add_argument("--overwrite", action="store_true", help="recreate existing files")


def _add_choice(parser: argparse.ArgumentParser, flag: str, choices: Sequence[str], text: str) -> None:
    parser.add_argument(flag, choices=choices, default=choices[0], help=f"{text} (default: {choices[0]})")


def _add_number(parser: argparse.ArgumentParser, flag: str, text: str, default: int, metavar: str | None = "N") -> None:
    parser.add_argument(flag, type=int, default=default, metavar=metavar, help=f"{text} (default: {default})")


def _work_of(args: argparse.Namespace) -> Work:
    from lightsr_basicsr.tools.prepare.jobs import Work

    return Work(args.jobs, args.overwrite, not args.quiet)


def _report(done: Prepared) -> int:
    """Print the counts, the notes and a section for an option file; return 1 if files failed, else 0."""
    folders = ", ".join(str(folder) for folder in done.folders)
    print(f"{done.made} files made, {done.kept} existing files kept: {folders}")
    for note in done.notes:
        print(f"note: {printable(note)}")
    if done.failed:
        lines = "".join(f"\n  {printable(line)}" for line in done.failed)
        print(f"basicsr: {len(done.failed)} files could not be used:{lines}", file=sys.stderr)
    if done.made + done.kept:
        tests = {scale: section for scale, section in done.others.items() if "test_1" in section}
        for scale, section in tests.items():  # no run takes sections of both kinds
            print_section({"train": section["train"]}, f"To train on these images at x{scale}:", scale=scale)
        for scale, section in done.others.items():
            print_section({"test_1": section["test_1"]} if scale in tests else section, scale=scale)
        if done.section and not done.others:
            print_section(done.section)
    return 1 if done.failed else 0
