"""The command ``basicsr benchmark``: arguments, files and the table; the work is done in ``tools/benchmark.py``."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.commands.arguments import FORM
from lightsr_basicsr.commands.console import load_all_plugins, say
from lightsr_basicsr.errors import UserError

if TYPE_CHECKING:
    from lightsr_basicsr.tools.benchmark.plan import Plan
    from lightsr_basicsr.tools.benchmark.rows import Row
    from lightsr_basicsr.tools.benchmark.tables import Results

DESCRIPTION = """Measure networks: parameters, multi-adds, activations, latency, peak memory, PSNR if images are given.
Every network runs on each back end in turns with its reference, the eager float32 form as its authors' code computes
it; what is told is the ratio of neighbours, which holds also on a machine whose clock moves. Close other programs."""
EXAMPLES = """examples:
  basicsr benchmark                                                   the five networks at x4, all back ends
  basicsr benchmark net.pth net_int8.xml --data Set5/LR --gt Set5/HR  your files, with PSNR and SSIM
  basicsr benchmark IMDN:upscale=2 DRN-S --backend torch openvino --precision fp32 bf16 --size 120x160 180x320
  basicsr benchmark net.pth --network train_ecbsr.yml                 a network of BasicSR or another package
  basicsr benchmark IMDN --ntire                                      columns of the NTIRE challenge
  basicsr benchmark IMDN --pressure --limit 10                        ever larger images, until 10 s or memory are full
Networks that are named and not read from a file have random weights: their speed means something, their images do not.
Writes results.json, results.csv, results.md and, with matplotlib, plots into the folder of -o."""

BACKENDS = ("torch", "onnxruntime", "openvino")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
FORMATS = ("csv", "markdown", "json")


def add_benchmark(commands: Any) -> None:
    """Add ``benchmark`` to the parser's ``commands``."""
    text = "speed, memory and PSNR of networks on torch, ONNX Runtime and OpenVINO"
    parser = commands.add_parser("benchmark", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    parser.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="checkpoint, exported file (.onnx, .xml, .ts), option file, or "
        "name of a network, with arguments as in IMDN:upscale=4 (default: the five networks in the papers' sizes)",
    )  # fmt: skip
    parser.add_argument(
        "--network", metavar="NAME|FILE", help="what a checkpoint holds that does not tell it: IMDN:num_feat=48, or "
        "the option file it was trained with",
    )  # fmt: skip
    _add_variants(parser)
    _add_measures(parser)
    parser.add_argument(
        "-o", "--output", default="benchmark", metavar="FOLDER", help="made if it is not there; earlier results in it "
        "are replaced (default: benchmark)",
    )  # fmt: skip
    parser.add_argument(
        "--format", nargs="+", choices=FORMATS, default=FORMATS, help="which tables to write (default: all)"
    )
    parser.add_argument("--no-plots", action="store_true", help="write tables alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="do not tell what is done at the moment")
    parser.set_defaults(run=run_benchmark)


def _add_variants(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backend",
        nargs="+",
        choices=(*BACKENDS, "all"),
        default=["all"],
        help="what runs the networks (default: all)",
    )
    parser.add_argument(
        "--precision", nargs="+", choices=(*PRECISIONS, "all"), default=["fp32"],
        help="what it computes with; an exported file has a precision of its own (default: fp32)",
    )  # fmt: skip
    parser.add_argument(
        "--size", nargs="+", type=size, default=[(180, 320)], metavar="HxW", help="height and width of the LR image in "
        "pixels (default: 180x320, at x4 an output of 1280x720)",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: as many as torch takes)")


def _add_measures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds", type=int, default=9, metavar="N", help="that count, after two that warm up (default: 9)"
    )
    parser.add_argument("--data", metavar="LR", help="folder of LR images, for PSNR and SSIM; needs --gt")
    parser.add_argument("--gt", metavar="HR", help="folder of their HR images")
    parser.add_argument(
        "--no-memory", action="store_true", help="skip peak memory, which needs a new process for each row"
    )
    parser.add_argument("--ntire", action="store_true", help="also the columns of NTIRE's report tables, LR 256x256")
    parser.add_argument(
        "--pressure", action="store_true", help="square LR images of side 60, 120, 180 and so on, until memory or "
        "--limit is exceeded",
    )  # fmt: skip
    parser.add_argument("--limit", type=float, metavar="S", help="with --pressure: seconds for one image (default: 20)")


def size(text: str) -> tuple[int, int]:
    """Parse height and width, ``HxW``, for argparse."""
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 180x320, got '{text}'")
    return int(found[1]), int(found[2])


def run_benchmark(args: argparse.Namespace) -> int:
    """Measure, write files, print the table, and return the exit status."""
    load_all_plugins()
    _check_arguments(args)
    keeper = _Keeper(args)
    try:
        keeper.open()
        keeper.measure()
    except KeyboardInterrupt:
        keeper.tell()
        say("interrupted; what was measured until then is kept." if keeper.written else "interrupted.")
        return 130
    finally:
        keeper.leave()
    keeper.tell()
    if any(row.timing is not None for row in keeper.results.rows):
        return 0
    say("nothing could be run; the lines above say why.")
    return 2


def _check_arguments(args: argparse.Namespace) -> None:
    if args.limit is not None and not args.pressure:
        raise UserError("--limit is for --pressure, which was not asked for.")
    if args.pressure and (args.ntire or args.data or args.gt):
        raise UserError("--pressure measures latency and memory alone: leave --ntire, --data and --gt away.")


class _Keeper:
    """Has what was measured, and writes it each time there is more."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, Path(args.output).expanduser()
        self.results: Results
        self.written: list[Path] = []
        self.made = False  # whether the folder was not there before
        self.plan = _plan(args)

    def open(self) -> None:
        """Make the folder and look at the machine."""
        from lightsr_basicsr.tools.benchmark.machine import busy, describe_machine
        from lightsr_basicsr.tools.benchmark.tables import Results

        self.plan.check()
        self.made = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        _try_to_write(self.folder)
        warning = busy()
        if warning:
            say(warning)
        machine = describe_machine(self.plan.num_threads, self.plan.device)
        self.results = Results(machine, [], self.args.pressure, (f"note: {warning}",) if warning else ())

    def leave(self) -> None:
        """Take the folder away again if it was made here and nothing came into it."""
        if self.made and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def measure(self) -> None:
        """Measure all, and write tables on the way."""
        given: dict[str, Any] = {
            "network": self.args.network,
            "plan": self.plan,
            "report": self._report(),
            "save": self.keep,
        }
        if self.args.pressure:
            from lightsr_basicsr.tools.benchmark.pressure import LIMIT, pressure

            pressure(self.args.sources, limit=LIMIT if self.args.limit is None else self.args.limit, **given)
        else:
            from lightsr_basicsr.tools.benchmark.run import benchmark

            benchmark(self.args.sources, **given)

    def _report(self) -> Callable[[str], None]:
        return (lambda line: None) if self.args.quiet else say

    def keep(self, rows: list[Row]) -> None:
        """Write the tables of all rows so far."""
        from lightsr_basicsr.tools.benchmark.tables import write_results

        self.results.rows[:] = rows
        self.written = write_results(self.results, self.folder, self.args.format)

    def tell(self) -> None:
        """Draw, and print what is in the tables and where they are."""
        from lightsr_basicsr.tools.benchmark import tables

        rows = getattr(self, "results", None) and self.results.rows
        if not rows:
            return
        plots = [] if self.args.no_plots else self._draw()
        for line in tables.problem_lines(rows):
            say(line)
        if self.args.json:
            sys.stdout.write(tables.json_text(self.results))
            return
        parts = ["\n".join(self.results.heading[: len(self.results.machine)]), tables.text_table(rows)]
        if any(row.ntire for row in rows):
            parts.append(tables.ntire_text(rows))
        print("\n\n".join(parts))
        print(f"\nWritten: {', '.join(map(str, [*self.written, *plots]))}")

    def _draw(self) -> list[Path]:
        from lightsr_basicsr.tools.benchmark.plots import draw_all

        try:
            return draw_all(self.results, self.folder)
        except ImportError:
            say('no plots: they need matplotlib: pip install "lightsr-basicsr[benchmark]"')
            return []


def _try_to_write(folder: Path) -> None:
    """Raise UserError if no file can be written, before minutes are spent on what should be in it."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}): choose another with -o.") from error


def _plan(args: argparse.Namespace) -> Plan:
    from lightsr_basicsr.tools.benchmark.plan import Plan

    return Plan(
        backends=BACKENDS if "all" in args.backend else tuple(dict.fromkeys(args.backend)),
        precisions=PRECISIONS if "all" in args.precision else tuple(dict.fromkeys(args.precision)),
        sizes=tuple(dict.fromkeys(args.size)),
        rounds=args.rounds,
        threads=args.threads,
        device=args.device,
        data=args.data,
        gt=args.gt,
        memory=not args.no_memory,
        ntire=args.ntire,
    )
