"""The command ``basicsr compare``: arguments and what is printed; ``tools/compare`` does the work."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.arguments import FORM, add_import, add_running, network_section
from lightsr_basicsr.commands.console import load_all_plugins, say
from lightsr_basicsr.commands.console import printable as shown
from lightsr_basicsr.commands.tables import table
from lightsr_basicsr.errors import UserError

if TYPE_CHECKING:
    from lightsr_basicsr.tools.compare.results import Comparison
    from lightsr_basicsr.tools.compare.run import Settings

DESCRIPTION = """Compare networks on sets of pictures. Writes a page to look at (index.html: one file, no network),
figures as in papers (PNG and PDF), tables (CSV, JSON, LaTeX) and all SR pictures. What is done is kept: the same
command again does only the rest, and a broken picture never stops the others."""
EXAMPLES = """examples:
  basicsr compare IMDN_x4 FDIWN_x4 bicubic -i Set5/LR_x4 --gt Set5/HR
  basicsr compare mine=net_g_latest.pth IMDN_x4 -i Set5=data/Set5/LR Set14=data/Set14/LR --gt data/Set5/HR data/Set14/HR
  basicsr compare IMDN_x4 net_int8.xml bicubic -i photos          without HR images: NIQE, and pictures to look at
  basicsr compare IMDN_x4 bicubic -i LR --gt HR --metrics psnr ssim lpips dists
  basicsr compare IMDN_x4 bicubic -i LR --gt HR --sheet butterfly --crop 120,40,64,64
Exit status: 0, 1 if a picture failed, 2 if nothing could be started, 130 after Ctrl-C."""
METRICS = ("psnr", "ssim", "lpips", "dists", "niqe")


def add_compare(commands: Any) -> None:
    """Add ``compare`` to the parser's ``commands``."""
    text = "networks side by side: a page to look at, figures and tables for papers"
    parser = commands.add_parser("compare", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    add = parser.add_argument
    add(
        "models", nargs="+", metavar="MODEL", help="checkpoint, exported file (.onnx, .xml, .ts, .param), name of an "
        "official file, or bicubic; TITLE=MODEL gives a title",
    )  # fmt: skip
    add("-i", "--input", nargs="+", required=True, metavar="LR", help="folders of LR images; TITLE=LR gives a title")
    add("--gt", nargs="+", default=[], metavar="HR", help="as many folders of HR images, in the same order")
    add(
        "-o",
        "--output",
        default="comparison",
        metavar="FOLDER",
        help="where to write: new, empty, or of an earlier comparison (default: comparison)",
    )
    add("-s", "--scale", type=int, metavar="S", help="only for bicubic alone")
    add_running(parser, "torch, whose numbers are those of `basicsr test`; for exported files the fastest")
    add("--opt", metavar="FILE", help="option file of checkpoints that are not identified")
    add_import(parser)
    add("-t", "--tile", type=int, metavar="N", help="side of tiles, 0 for none (default: where memory needs them)")
    add("--self-ensemble", action="store_true", help="mean over eight mirrored and turned forms")
    _add_results(parser)
    parser.set_defaults(run=run_compare, network=None)


def _add_results(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--metrics", nargs="+", choices=METRICS, default=[], help="what to measure (default: psnr ssim, without HR "
        "images niqe); lpips and dists need the extra iqa",
    )  # fmt: skip
    add("--crop-border", type=int, metavar="N", help="pixels cut off for PSNR, SSIM and NIQE (default: the scale)")
    add("--rgb", action="store_true", help="PSNR and SSIM on RGB (default: on luma, Y)")
    add("--no-latency", action="store_true", help="do not measure how long networks take")
    add("--crop", metavar="x,y,w,h", help="part of HR to zoom into, in pixels (default: where methods differ most)")
    add(
        "--sheet", nargs="*", metavar="NAME", help="pictures to draw figures of, none for none (default: the 8 where "
        "methods differ most)",
    )  # fmt: skip
    add("--page-size", type=float, default=50, metavar="MB", help="how large the page may be (default: 50)")
    add("--quiet", action="store_true", help="no progress bar, and no words on what went well")


def run_compare(args: argparse.Namespace) -> int:
    """Compare, print what came of it, and return the exit status."""
    import_basicsr()
    load_all_plugins(args.plugins)
    section = network_section(args)
    settings = _settings(args)
    from lightsr_basicsr.tools.compare.bars import Bars
    from lightsr_basicsr.tools.compare.methods import How
    from lightsr_basicsr.tools.compare.run import compare

    how = How(args.backend, args.precision, args.device, args.tile, args.self_ensemble, args.trust)
    bars = Bars(not args.quiet)
    try:
        found = compare(
            args.models, args.input, args.gt, args.output, settings=settings, how=how, scale=args.scale,
            section=section, report=bars.say, progress=bars,
        )  # fmt: skip
    except KeyboardInterrupt:
        bars.close()
        say("interrupted; to go on, run the command again.")
        return 130
    finally:
        bars.close()
    return _report(args, found)


def _settings(args: argparse.Namespace) -> Settings:
    from lightsr_basicsr.tools.compare.crops import parse_crop
    from lightsr_basicsr.tools.compare.run import Settings

    if args.tile is not None and args.tile < 0:
        raise UserError(f"Expected 0 or more pixels as the side of tiles, got {args.tile}: correct --tile.")
    return Settings(
        args.metrics,
        args.crop_border,
        not args.rgb,
        not args.no_latency,
        None if args.crop is None else parse_crop(args.crop),
        args.sheet,
        args.page_size,
    )


def _report(args: argparse.Namespace, found: Comparison) -> int:
    """Print the table, where the files are, and what failed; return the exit status."""
    from lightsr_basicsr.pictures.reading import printable
    from lightsr_basicsr.tools.compare.tables import main_table

    if found.pictures and not args.quiet:
        counts = f"{len(found.pictures)} picture{'s'[: len(found.pictures) != 1]} of {', '.join(found.sets)}"
        print(shown(f"x{found.scale}, {counts}. {found.protocol.text}."))
        print(shown(table(main_table(found), "<>")))
        first, *others = found.written
        print(shown(f"\nLook at {first}; also written: {_others(others)}"))
    if found.failed:
        rows = [("failed", "reason"), *((shown(printable(each.path)), shown(each.reason)) for each in found.failed)]
        print(table(rows), file=sys.stderr)
    if found.full:
        say("the disk is full, and the rest was not tried: make room, then run the command again.")
    return 1 if found.failed else 0


def _others(paths: list[Any]) -> str:
    """Return names of files, those of sheets as one."""
    sheets = [path for path in paths if path.parent.name == "sheets"]
    names = [path.name for path in paths if path not in sheets]
    return ", ".join([*names, *([f"sheets/ ({len(sheets)} files)"] if sheets else []), "pictures/"])
