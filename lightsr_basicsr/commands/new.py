"""The command ``basicsr new``: arguments and what is printed; ``tools/new`` does the work."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.commands.arguments import FORM, add_import
from lightsr_basicsr.commands.console import load_all_plugins, say
from lightsr_basicsr.commands.console import printable as shown
from lightsr_basicsr.commands.tables import table
from lightsr_basicsr.errors import UserError, install_command, message_of
from lightsr_basicsr.tools.new.recipes import RECIPES

if TYPE_CHECKING:
    from lightsr_basicsr.tools.new.options import Project
    from lightsr_basicsr.tools.new.photographs import Photograph
    from lightsr_basicsr.tools.new.run import Made

DESCRIPTION = """Make a training project of your own photographs, 20 or more: looks at each, holds out a tenth by name
for validation, cuts HR crops, measures how fast this machine trains, and writes option files in which every key is
explained. Then prints the commands that train, test and export. Nothing is written among the photographs; LR images are
made from them while training. A command that was interrupted goes on when it is run again."""
NETWORKS = table(
    [(each.title, f"x{' x'.join(map(str, each.scales))}", each.about) for each in RECIPES], indent="  "
)  # fmt: skip
EXAMPLES = f"""networks, their scales, and what they are:
{NETWORKS}
  and others of `basicsr list networks` that map one LR image to one SR image

examples:
  basicsr new --network IMDN --scale 4 --data PHOTOS -o mine
  basicsr new --network KDSR --scale 4 --data PHOTOS -o mine --minutes 120
  basicsr new --init IMDN_x4 --data PHOTOS -o mine        go on from official weights
  basicsr new --init TinySR_x4 --data PHOTOS -o mine      from those of the small network in this package
  basicsr new --init net_g_latest.pth --data MORE -o again
  basicsr new --network IMDN --data PHOTOS -o mine --overwrite    after new photographs: what was held out stays so
Exit status: 0, 2 if nothing could be made, 130 after Ctrl-C."""
NAMED = 20  # photographs that are left out and named


def add_new(commands: Any) -> None:
    """Add ``new`` to the parser's ``commands``."""
    text = "a training project of your own photographs: data, option files, the commands to go on"
    parser = commands.add_parser("new", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    add = parser.add_argument
    add("-n", "--network", metavar="NAME", help="see below (default: that of --init)")
    add("-s", "--scale", type=int, metavar="S", help="HR side over LR side (default: that of --init, or 4)")
    add("--data", required=True, metavar="PHOTOS", help="folder of photographs, with its sub-folders")
    add("-o", "--output", required=True, metavar="FOLDER", help="the project's; it names the run")
    add("--minutes", type=float, default=30, metavar="M", help="how long the training may take (default: 30)")
    add("--init", metavar="FILE", help="weights to start from: a checkpoint, or a name that `basicsr fetch` knows")
    add(
        "--size", choices=("auto", "small", "full"), default="auto", help="of the network: full as in its paper, or "
        "small (default: full with a GPU, small without)",
    )  # fmt: skip
    add_import(parser)
    add("--patch", type=int, metavar="N", help="side of the HR patches in pixels (default: the network's)")
    add("--device", choices=("cpu", "cuda"), help="to measure on (default: a GPU if there is one)")
    add("--jobs", type=int, metavar="N", help="photographs at a time (default: one per core)")
    add("--overwrite", action="store_true", help="make a finished project of ours again; its data are completed")
    add("--quiet", action="store_true", help="no progress bar, and no words on what went well")
    parser.set_defaults(run=run_new)


def run_new(args: argparse.Namespace) -> int:
    """Make the project, print what was made and how to go on, and return the exit status."""
    load_all_plugins(args.plugins)
    from lightsr_basicsr.tools.new.bar import Bar
    from lightsr_basicsr.tools.new.run import Wishes, make

    wishes = Wishes(
        args.network, args.scale, args.minutes, args.size, args.patch, args.init, args.overwrite, args.device,
        args.jobs, tuple(args.plugins or ()),
    )  # fmt: skip
    bar = Bar(not args.quiet)
    try:
        made = make(args.data, args.output, wishes, bar)
    except KeyboardInterrupt:
        bar.close()
        say("interrupted; to go on, run the command again.")
        return 130
    except OSError as error:
        raise UserError(f"{message_of(error)} What is finished is kept: run the command again to go on.") from error
    finally:
        bar.close()
    _report(made, args.quiet)
    return 0


def _report(made: Made, quiet: bool) -> None:
    project, data = made.project, made.project.data
    if data.left_out:
        print(_left_out(data.left_out), file=sys.stderr)
    for note in made.notes:
        say(note)
    if made.has_run:
        say(f"experiments/{project.name} holds an earlier run of this project: the first command below starts anew and "
            "moves that run aside. With --auto_resume it would go on with the earlier run, which may have seen what is "
            "held out now.")  # fmt: skip
    exports = _can_export()
    if not quiet:
        print(shown(table(_facts(made))))
        print(
            f"\nTo train, test{', export' if exports else ''} and enlarge, from this folder ({shown(str(Path.cwd()))}):"
        )
    print(shown("\n".join(f"  {line}" for line in _commands(made, exports))))
    if quiet:
        return
    if not exports and (export := _export(made)):
        print(f"\nTo export it for other programs, after what that needs:\n  {install_command('onnx')}")
        print(shown(f"  {shlex.join(['basicsr', *export])}"))
    print(f"\nEvery key of {shown(project.path('train.yml'))} is explained there. A training that was interrupted "
          f"goes on with --auto_resume{', once it has started anew' if made.has_run else ''}.")  # fmt: skip


def _can_export() -> bool:
    """Return whether what an export to ONNX and its comparison need can be imported."""
    from lightsr_basicsr.runtimes.base import BackendError, require

    try:
        for library in ("onnx", "onnxruntime"):
            require(library, "onnx")
    except BackendError:
        return False
    return True


def _left_out(photographs: list[Photograph]) -> str:
    rows = [("left out", "reason"), *((shown(each.name), shown(each.problem)) for each in photographs[:NAMED])]
    more = len(photographs) - NAMED
    return table(rows) + (f"\nand {more} more: data/photographs.json lists all" if more > 0 else "")


def _facts(made: Made) -> list[tuple[str, str]]:
    project, data = made.project, made.project.data
    names = ", ".join(data.held_out[:4]) + (f" and {len(data.held_out) - 4} more" if len(data.held_out) > 4 else "")
    alike = f"; {len(data.alike)} of them for resembling another one" if data.alike else ""
    others = f", {data.others} other file{'s'[: data.others != 1]}" if data.others else ""
    start = f", from {project.start}" if project.start else ""
    size = " (small size)" if project.is_small else ""
    seconds, trained = project.total * made.pace.step, len(data.used) - len(data.held_out)
    takes = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
    bicubic = " / ".join(f"{each:.2f}" for each in project.bicubic)
    return [
        ("network", f"{project.recipe.title} x{project.scale}{size}{start}"),
        ("photographs", f"{len(data.used)} used, {len(data.left_out)} left out{others}"),
        ("held out", f"{len(data.held_out)} by name: {names}{alike}"),
        ("to train on", f"{data.crops} crop{'s'[: data.crops != 1]} of {trained} photograph{'s'[: trained != 1]}"),
        ("steps", f"{project.total:,} of {project.batch} patches {project.patch}x{project.patch}: {made.pace.step:.3g} "
         f"s each were measured here, so {takes}"),
        ("validation", f"every {project.interval:,} step{'s'[: project.interval != 1]}, first after about "
         f"{made.first_validation:.0f} s"),
        ("to exceed", f"{bicubic} dB, the PSNR of bicubic interpolation there; first validations may be below"),
    ]  # fmt: skip


def _commands(made: Made, exports: bool) -> list[str]:
    """Return the commands to go on, quoted for a shell; all of them work with what is installed."""
    project, export = made.project, _export(made) if exports else []
    weights, how = _weights(project), [*_known(made), "--backend", "torch"]  # other backends run exported graphs
    if export:
        weights, how = export[-1], []
    enlarge = ["-i", project.path("data", "held_out"), "--model", weights, *how, "-o", project.path("enlarged")]
    return [
        shlex.join(["basicsr", *each])
        for each in (
            ["train", "-opt", project.path("train.yml")],
            ["test", "-opt", project.path("test.yml")],
            *([export] if export else []),
            ["upscale", *enlarge],
        )
    ]


def _export(made: Made) -> list[str]:
    """Return the words of the export, [] for a network of which no graph holds for all sizes of images."""
    project, more = made.project, made.project.recipe.exported
    exported = project.path(f"{project.name}.onnx")
    return [] if more is None else ["export", _weights(project), *_known(made), *more, "-o", exported]


def _weights(project: Project) -> str:
    return f"experiments/{project.name}/models/net_g_latest.pth"


def _known(made: Made) -> list[str]:
    """Return the words that name a network which our commands do not know by its file alone."""
    return [] if made.is_identified else ["--opt", made.project.path("train.yml")]
