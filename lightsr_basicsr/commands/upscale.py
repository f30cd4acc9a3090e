"""The command ``basicsr upscale``: arguments and what is printed; ``tools/upscale`` and ``upscale`` do the work."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.arguments import FORM, add_import, add_running, network_section
from lightsr_basicsr.commands.console import printable as shown
from lightsr_basicsr.commands.console import say
from lightsr_basicsr.commands.tables import table
from lightsr_basicsr.errors import UserError

if TYPE_CHECKING:
    from lightsr_basicsr.tools.upscale.jobs import Plan
    from lightsr_basicsr.tools.upscale.run import Done
    from lightsr_basicsr.upscale.upscaler import Upscaler

DESCRIPTION = """Enlarge pictures and films with a network: PNG, JPEG, WebP, BMP, TIFF, animated GIF, WebP and PNG, and
with the extra `video` MP4, MKV, MOV, WebM, AVI and others. Gray, transparency, 16 bits and floating point, color
profile, Exif tags and resolution are kept as far as the format of the result can hold them, of films sound and times.
Finished results are skipped, a film that was interrupted goes on, and a bad file never stops the others."""
EXAMPLES = """examples:
  basicsr upscale photo.jpg                                 results/photo.jpg, four times as large
  basicsr upscale photo.jpg -s 2                            twice as large
  basicsr upscale photo.jpg -n IMDN_x4                      better and slower, once `basicsr fetch IMDN_x4` was run
  basicsr upscale photo.jpg -n IMDN_x4 -o large.png         into this file
  basicsr upscale -i photos -o large --model net_g_latest.pth --recursive   a tree of folders
  basicsr upscale -i 'scans/*.tif' -o large -n IMDN_x4 -s 3     enlarged by x4, then resized to x3
  basicsr upscale -i photos -o photos -n IMDN_x4 --suffix x4    beside the pictures, as NAME_x4.jpg
  basicsr upscale -i photos -n IMDN_x4 --self-ensemble      eight times as long, a little better
  basicsr upscale poster.png --model IMDN_x4.onnx -t 256    an exported file, in tiles
  basicsr upscale -i photos -n IMDN_x4 --backend fastest    measures what runs it fastest, once for this machine
  basicsr upscale -i film.mp4 -o large.mp4 -n IMDN_RTC_x2   a film, with its sound
Exit status: 0, 1 if a file failed, 2 if nothing could be started, 130 after Ctrl-C."""
ENDINGS = ("auto", "png", "jpg", "webp", "tif", "bmp", "gif", "mp4", "mkv", "mov", "webm")
NOTED = 3  # files named beside a note


def add_upscale(commands: Any) -> None:
    """Add ``upscale`` to the parser's ``commands``."""
    text = "enlarge pictures and films: files, folders, 16 bits and transparency kept"
    parser = commands.add_parser("upscale", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    _add_files(parser)
    _add_network(parser)
    _add_tiles(parser)
    _add_film(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and no words on what went well")
    parser.set_defaults(run=run_upscale, network=None, backend="auto")


def _add_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("inputs", nargs="*", metavar="IN", help="files, folders, or patterns such as 'photos/*.jpg'")
    add("-i", "--input", nargs="+", default=[], metavar="IN", help="the same")
    add("-o", "--output", default="results", metavar="OUT", help="folder, or for one picture a file (default: results)")
    add("--suffix", default="", help="added to names, after an underscore (default: none)")
    add(
        "--ext", choices=ENDINGS, default="auto", help="format of the results, of pictures or of films (default: that "
        "of each input; PNG or MKV for those that cannot be written)",
    )  # fmt: skip
    add("--recursive", action="store_true", help="look into sub-folders, and keep them")
    add("--overwrite", action="store_true", help="make results again that exist")


def _add_network(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "-n", "--model_name", metavar="NAME", help="an official file by name, such as IMDN_x4: see `basicsr fetch` "
        "(default: TinySR_x4, or up to -s 2 TinySR_x2, small networks that come with this package)",
    )  # fmt: skip
    add("--model", "--model_path", metavar="FILE", help="checkpoint or exported file (.onnx, .xml, .ts, .param)")
    add("--opt", metavar="FILE", help="option file it was trained with; only for networks that are not identified")
    add_import(parser)
    add("-s", "--outscale", type=float, metavar="S", help="scale of the results (default: that of the network)")
    add_running(parser, "the fastest here")
    add("--fp32", action="store_true", help="the same as --precision fp32")
    add("-g", "--gpu-id", type=_whole, metavar="N", help="the same as --device cuda:N")
    add("--self-ensemble", action="store_true", help="mean over eight mirrored and turned forms")


def _add_tiles(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "-t", "--tile", type=_whole, metavar="N", help="side of tiles in pixels of the picture, 0 for none (default: "
        "the whole picture, and tiles where it does not fit into memory)",
    )  # fmt: skip
    add("--tile_pad", "--tile-pad", type=_whole, metavar="N", help="what tiles see beyond (default: the network's own)")
    add(
        "--tile-passes", "--tile_passes", type=_whole, metavar="N", help="passes that collect statistics of the whole "
        "picture before the last one (default: the network's own)",
    )  # fmt: skip


def _add_film(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--codec", choices=("h264", "hevc", "vp9", "av1"), help="of films (default: h264, and vp9 in WebM)")
    add(
        "--crf", type=_whole, metavar="N", help="quality of films, 0 is best (default: 18 of h264, 20 of hevc, else 24)"
    )


def _whole(text: str) -> int:
    """Return a number of 0 or more, as a type for argparse."""
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"expected a whole number of 0 or more, got '{text}'")
    return int(text)


def run_upscale(args: argparse.Namespace) -> int:
    """Enlarge all inputs, print what came of it, and return the exit status."""
    _check(args)
    from lightsr_basicsr.tools.upscale.jobs import make_writable, plan_jobs

    names = [*args.inputs, *args.input]
    plan = plan_jobs(
        names, args.output, suffix=args.suffix, ext=args.ext, recursive=args.recursive, overwrite=args.overwrite
    )
    model = _find_model(args)
    if not plan.jobs:
        return _report(args, plan, None)
    new = make_writable(plan)
    try:
        return _run(args, plan, model)
    finally:
        if new and not any(plan.folder.iterdir()):
            plan.folder.rmdir()


def _check(args: argparse.Namespace) -> None:
    """Raise UserError for arguments that contradict each other or are missing, before anything heavy is imported."""
    if not args.inputs and not args.input:
        raise UserError("Name a picture, a film or a folder, such as `basicsr upscale photo.jpg`.")
    if args.opt and not args.model and not args.model_name:
        raise UserError("--opt describes the network of a file: name that with --model, or leave --opt out.")
    if args.model and args.model_name:
        raise UserError("-n and --model both name a network: leave one out.")
    if args.fp32 and args.precision not in (None, "fp32"):
        raise UserError(f"--fp32 and --precision {args.precision} contradict each other: leave one out.")
    if args.gpu_id is not None and args.device not in (None, f"cuda:{args.gpu_id}"):
        raise UserError(f"-g {args.gpu_id} and --device {args.device} contradict each other: leave one out.")
    from lightsr_basicsr.upscale.resizing import check_outscale

    check_outscale(args.outscale)
    from lightsr_basicsr.film.encoding import check_crf

    check_crf(args.crf, args.codec)


def _find_model(args: argparse.Namespace) -> Path:
    from lightsr_basicsr.weights.find import default_name, find_weights

    return find_weights(args.model or args.model_name or default_name(args.outscale))


def _run(args: argparse.Namespace, plan: Plan, model: Path) -> int:
    _let_threads_rest()
    import_basicsr()
    section = network_section(args)
    from lightsr_basicsr.film.enlarging import Wishes
    from lightsr_basicsr.tools.upscale.bar import Bar
    from lightsr_basicsr.tools.upscale.run import Done, upscale_files

    wishes = Wishes(args.codec, args.crf)
    upscaler = _open(args, model, section)
    done, bar = Done(), Bar(len(plan.jobs), shown=not args.quiet)
    if not args.quiet:
        upscaler.report = bar.say
    try:
        upscale_files(plan.jobs, upscaler, done, args.overwrite, bar, wishes)
    except KeyboardInterrupt:
        bar.close()
        _report(args, plan, done)
        say("interrupted; to go on, run the command again." if plan.jobs else "interrupted.")
        return 130
    bar.close()
    return _report(args, plan, done)


def _let_threads_rest() -> None:
    """Let threads of torch that wait for one another leave their cores to those that decode and encode pictures.

    By default they spin for milliseconds. Measured on two busy cores with 100 pictures of 160x120 and a tiny network:
    0.8 instead of 2 to 5 s, and one picture of 320x180 by IMDN 0.6 instead of 0.8 s. Read once, when torch is imported.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = "1000"


def _open(args: argparse.Namespace, model: Path, section: dict[str, Any] | None) -> Upscaler:
    """Return what enlarges, and say what it is; ``section`` describes the network, None where the file does."""
    from lightsr_basicsr.upscale.upscaler import Upscaler

    source: Any = model
    if section is not None:
        from lightsr_basicsr.tools.networks import open_checkpoint

        source = open_checkpoint(model, None, section)[0].ours
    upscaler = Upscaler(
        source,
        precision="fp32" if args.fp32 else args.precision,
        device=args.device if args.gpu_id is None else f"cuda:{args.gpu_id}",
        **{name: getattr(args, name) for name in ("backend", "trust", "tile", "tile_pad", "tile_passes", "outscale")},
        self_ensemble=args.self_ensemble,
    )
    if not args.quiet:
        say(f"{model.name}, x{upscaler.scale}, run by {upscaler.runtime.explained}.")
        if upscaler.outscale != upscaler.scale:
            say(f"the network makes x{upscaler.scale}, which is then resized to x{upscaler.outscale:g}.")
    return upscaler


def _report(args: argparse.Namespace, plan: Plan, done: Done | None) -> int:
    """Print what was written, changed, skipped and failed, and return the exit status."""
    failed = [*plan.failed, *(done.failed if done else [])]
    written = len(done.written) if done else 0
    if not args.quiet and done:
        for note, files in done.notes.items():
            names = ", ".join(path.name for path in files[:NOTED])
            more = f" and {len(files) - NOTED} more" if len(files) > NOTED else ""
            say(f"{names}{more}: {note}")
    if not args.quiet:
        counts = [f"{written} written to {args.output}"]
        counts += [f"{plan.skipped} skipped, which exist already (--overwrite makes them again)"] * bool(plan.skipped)
        counts += [f"{plan.others} other files left out"] * bool(plan.others)
        counts += [f"{len(failed)} failed"] * bool(failed)
        print(shown(f"{'; '.join(counts)}."))
    if failed:
        rows = [("failed", "reason"), *((shown(_text(each.path)), shown(each.reason)) for each in failed)]
        print(table(rows), file=sys.stderr)
    if done and done.full:
        untried = len(plan.jobs) - written - len(done.failed)
        say(f"the disk is full, and {untried} were not tried: make room, then run the command again.")
    return 1 if failed else 0


def _text(path: Path) -> str:
    from lightsr_basicsr.pictures.reading import printable

    return printable(path)
