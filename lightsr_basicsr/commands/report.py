"""The command ``basicsr report``: arguments and what is printed; ``tools/report`` does the work."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.commands.arguments import FORM
from lightsr_basicsr.commands.console import printable as shown
from lightsr_basicsr.commands.console import say
from lightsr_basicsr.commands.tables import table

if TYPE_CHECKING:
    from lightsr_basicsr.tools.report.run import Report
    from lightsr_basicsr.tools.report.runs import Run

DESCRIPTION = """Show what training runs have logged as a page to look at (one file, no network): curves of losses,
metrics and learning rates over stages and resumes, validation pictures over time, best checkpoints, and the options in
which runs differ. Reads the logs in the folders of the runs, which may be going on."""
EXAMPLES = """examples:
  basicsr report experiments/demo_train_imdn_x4            experiments/demo_train_imdn_x4/report.html
  basicsr report demo_train_imdn_x4 --watch                written again every 30 s until the run ends
  basicsr report lr1=experiments/a lr2=experiments/b -o lr.html      several runs in each chart, with titles
  basicsr report experiments/*_seed? --csv curves.csv      all points, one a line
Exit status: 0, 1 if one of several runs is missing or empty (the page shows the others), 2 if no page could be written,
130 after Ctrl-C."""


def add_report(commands: Any) -> None:
    """Add ``report`` to the parser's ``commands``."""
    text = "training runs as a page: curves, pictures, checkpoints, options"
    parser = commands.add_parser("report", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    add = parser.add_argument
    add(
        "runs", nargs="+", metavar="RUN", help="folder of a run, its name in experiments, or a file in it; TITLE=RUN "
        "gives a title",
    )  # fmt: skip
    add(
        "-o",
        "--output",
        metavar="FILE",
        help=f"the page (default: {'report.html'} in the folder of the run, or beside several)",
    )
    add("--csv", metavar="FILE", help="write all points of all curves, too")
    add(
        "--watch",
        action="store_true",
        help="write the page again and again until no run goes on; it loads itself; waits for the first lines "
        "of a run that has just begun",
    )
    add("--every", type=float, default=30, metavar="S", help="seconds between two looks with --watch (default: 30)")
    add("--pictures", type=int, default=8, metavar="N", help="how many validation pictures are shown (default: 8)")
    add("--page-size", type=float, default=20, metavar="MB", help="how large the page may be (default: 20)")
    add("--quiet", action="store_true", help="no words on what went well")
    parser.set_defaults(run=run_report)


def run_report(args: argparse.Namespace) -> int:
    """Write the page, print what is in it, and return the exit status."""
    from lightsr_basicsr.tools.report.run import Settings, report

    settings = Settings(args.pictures, args.page_size, args.every)
    tell = (lambda text: None) if args.quiet else say
    try:
        made = report(args.runs, args.output, csv=args.csv, settings=settings, watch=args.watch, say=tell)
    except KeyboardInterrupt:
        say("stopped; a page that was written stays as it is.")
        return 130
    for reason in made.left_out:
        say(reason)
    if not args.quiet:
        _print(made)
    return 1 if made.left_out else 0


def _print(made: Report) -> None:
    rows = [("run", "state", "iteration", "trained for", "best"), *(_row(run) for run in made.runs)]
    print(shown(table(rows, "<<><<")))
    for run in made.runs:
        for note in run.notes:
            print(shown(f"{run.title}: {note}"))
    written = f"{made.page}" if made.csv is None else f"{made.page}; all points are in {made.csv}"
    print(shown(f"\nLook at {written}"))


def _row(run: Run) -> tuple[str, ...]:
    from datetime import timedelta

    from lightsr_basicsr.tools.report.runs import best_of_run

    best = best_of_run(run)
    stage = run.spans[-1].stage if run.spans else ""
    texts = [f"{each.set} {each.metric} {each.value:.4f} @ {each.iteration:,}" for each in best if each.stage == stage]
    reached = f"{run.last:,}" if run.total is None else f"{run.last:,} of {run.total:,}"
    return run.title, run.state, reached, str(timedelta(seconds=round(run.seconds))), texts[0] if texts else ""
