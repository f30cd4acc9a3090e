"""The command ``basicsr benchmark``: arguments, files and the table; ``tools/benchmark/`` measures."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from os.path import expanduser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr._later import import_basicsr
from lightsr_basicsr.commands.arguments import FORM, add_import
from lightsr_basicsr.commands.console import load_all_plugins, say
from lightsr_basicsr.commands.tables import table
from lightsr_basicsr.errors import UserError, install_command

if TYPE_CHECKING:
    from lightsr_basicsr.tools.benchmark.plan import Plan
    from lightsr_basicsr.tools.benchmark.rows import Row
    from lightsr_basicsr.tools.benchmark.tables import Results

DESCRIPTION = """Measure networks: parameters, multi-adds, activations, latency, peak memory, PSNR if images are given.
Every network runs on each backend in turns with its reference, the eager float32 form as its authors' code computes
it. Speed-ups are ratios within one round, so a varying clock speed hardly matters. Close other programs."""
EXAMPLES = """examples:
  basicsr benchmark                                                   the five networks at x4, all backends
  basicsr benchmark net.pth net_int8.xml --data Set5/LR --gt Set5/HR  your files, with PSNR and SSIM
  basicsr benchmark IMDN:upscale=2 DRN-S --backend torch openvino --precision fp32 bf16 --size 120x160 180x320
  basicsr benchmark net.pth --network train_ecbsr.yml                 a network of BasicSR or another package
  basicsr benchmark IMDN --ntire                                      columns of the NTIRE challenge
  basicsr benchmark IMDN --pressure --limit 10                        ever larger images, until 10 s or memory run out
Networks given by name have random weights: their speed is meaningful, their images are not.
Writes results.json, results.csv, results.md and, with matplotlib, plots to the folder of -o."""

BACKENDS = ("torch", "onnxruntime", "openvino", "ncnn")
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
FORMATS = ("csv", "markdown", "json")


def add_benchmark(commands: Any) -> None:
    """Add ``benchmark`` to the parser's ``commands``."""
    text = "speed, memory and PSNR of networks on torch, ONNX Runtime, OpenVINO and ncnn"
    parser = commands.add_parser("benchmark", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    _add_networks(parser)
    _add_measures(parser)
    add = parser.add_argument
    add(
        "-o", "--output", default="benchmark", metavar="FOLDER", help="created if missing; earlier results in it are "
        "replaced, no other files (default: benchmark)",
    )  # fmt: skip
    add("--format", nargs="+", choices=FORMATS, default=FORMATS, help="which tables to write (default: all)")
    add("--no-plots", action="store_true", help="write only the tables")
    add("--json", action="store_true", help="print JSON")
    add("--quiet", action="store_true", help="no progress messages")
    parser.set_defaults(run=run_benchmark)


def _add_networks(parser: argparse.ArgumentParser) -> None:
    add, backends = parser.add_argument, (*BACKENDS, "all")
    add(
        "sources", nargs="*", metavar="SOURCE", help="checkpoint, exported file (.onnx, .xml, .ts, .param), option "
        "file, or name of a network, such as IMDN:upscale=4 (default: the five networks in the papers' sizes)",
    )  # fmt: skip
    add(
        "--network", metavar="NAME|FILE", help="network of a checkpoint that cannot be identified: IMDN:num_feat=48, "
        "or the option file it was trained with",
    )  # fmt: skip
    add_import(parser)
    add("--backend", nargs="+", choices=backends, default=["all"], help="what runs the networks (default: all)")
    add(
        "--precision", nargs="+", choices=(*PRECISIONS, "all"), default=["fp32"],
        help="number format of the computation; an exported file has its own (default: fp32)",
    )  # fmt: skip
    add(
        "--size", nargs="+", type=size, default=[(180, 320)], metavar="HxW", help="height and width of the LR image in "
        "pixels (default: 180x320, at x4 an output of 1280x720)",
    )  # fmt: skip
    add("--device", default="cpu", help="cpu or cuda (default: cpu)")
    add("--trust", action="store_true", help="run TorchScript files (.ts), which are programs with all rights of yours")
    add("--threads", type=int, metavar="N", help="CPU threads (default: those of torch)")


def _add_measures(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--rounds", type=int, default=9, metavar="N", help="measured rounds, after two to warm up (default: 9)")
    add("--data", metavar="LR", help="folder of LR images, for PSNR and SSIM; needs --gt")
    add("--gt", metavar="HR", help="folder of their HR images")
    add("--no-memory", action="store_true", help="skip peak memory, which takes a new process for each row")
    add("--ntire", action="store_true", help="add the columns of NTIRE's report tables, LR 256x256")
    add(
        "--pressure", action="store_true", help="square LR images of side 60, 120, 180 and so on, until memory or "
        "--limit is exceeded, with time and memory per pixel",
    )  # fmt: skip
    add("--limit", type=float, metavar="S", help="with --pressure: seconds for one image (default: 20)")


def size(text: str) -> tuple[int, int]:
    """Return height and width of ``HxW``, as a type for argparse.

    >>> size("180x320")
    (180, 320)
    """
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 180x320, got '{text}'")
    return int(found[1]), int(found[2])


def run_benchmark(args: argparse.Namespace) -> int:
    """Measure, write files, print the table, and return the exit status."""
    import_basicsr()
    load_all_plugins(args.plugins)
    if args.limit is not None and not args.pressure:
        raise UserError("--limit needs --pressure: add it, or omit --limit.")
    if args.pressure and (args.ntire or args.data or args.gt):
        raise UserError("--pressure measures only latency and memory: omit --ntire, --data and --gt.")
    session = _Session(args)
    try:
        session.open()
        session.measure()
    except KeyboardInterrupt:
        session.report()
        say("interrupted; the results so far are kept." if session.written else "interrupted.")
        return 130
    finally:
        session.close()
    session.report()
    if any(row.timing is not None for row in session.rows):
        return 0
    say("nothing could be run; see the lines above.")
    return 2


class _Session:
    """Collects rows and rewrites the result files after each one."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, Path(expanduser(args.output))
        self.plan = _plan(args)
        self.results: Results | None = None
        self.written: list[Path] = []
        self.created = False

    @property
    def rows(self) -> list[Row]:
        """The rows so far."""
        return self.results.rows if self.results else []

    def open(self) -> None:
        """Create the folder and describe the machine."""
        from lightsr_basicsr.tools.benchmark.folder import check_results
        from lightsr_basicsr.tools.benchmark.machine import busy, describe_machine
        from lightsr_basicsr.tools.benchmark.tables import Results
        from lightsr_basicsr.tools.files import no_folder

        self.plan.check()
        check_results(self.folder, self.args.format, not self.args.no_plots)
        self.created = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Before minutes are spent on the content.
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({no_folder(self.folder, error)}): choose another with -o."
            ) from error
        warning = busy()
        if warning:
            say(warning)
        machine = describe_machine(self.plan.num_threads, self.plan.device)
        self.results = Results(machine, [], self.args.pressure, (f"note: {warning}",) if warning else ())

    def close(self) -> None:
        """Remove the folder if this session created it and it is still empty."""
        if self.created and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def measure(self) -> None:
        """Measure everything, saving after each step."""
        common: dict[str, Any] = {
            "network": self.args.network,
            "plan": self.plan,
            "report": (lambda line: None) if self.args.quiet else say,
            "save": self.save,
        }
        if self.args.pressure:
            from lightsr_basicsr.tools.benchmark.pressure import LIMIT, pressure

            pressure(self.args.sources, limit=LIMIT if self.args.limit is None else self.args.limit, **common)
        else:
            from lightsr_basicsr.tools.benchmark.run import benchmark

            benchmark(self.args.sources, **common)

    def save(self, rows: list[Row]) -> None:
        """Write the tables of all rows so far."""
        from lightsr_basicsr.tools.benchmark.tables import write_results

        self.rows[:] = rows
        self.written = write_results(self.results, self.folder, self.args.format)

    def report(self) -> None:
        """Draw the plots, print the tables, and say where the files are."""
        from lightsr_basicsr.tools.benchmark.tables import (
            growth_table,
            json_text,
            main_table,
            ntire_table,
            problem_lines,
        )

        if not self.rows:
            return
        plots = [] if self.args.no_plots else self._draw()
        for line in problem_lines(self.rows):
            say(line)
        if self.args.json:
            sys.stdout.write(json_text(self.results))
            return
        shown = table(main_table(self.rows, self.results.pressure))
        parts = ["\n".join(self.results.heading[: len(self.results.machine)]), shown]
        if self.results.pressure and len(growth := growth_table(self.rows)) > 1:
            parts.append(f"From the smallest image to the largest:\n{table(growth)}")
        if any(row.ntire for row in self.rows):
            parts.append(table(ntire_table(self.rows)))
        print("\n\n".join(parts))
        print(f"\nWritten: {', '.join(map(str, [*self.written, *plots]))}")

    def _draw(self) -> list[Path]:
        from lightsr_basicsr.tools.benchmark.plots import draw_all

        try:
            return draw_all(self.results, self.folder)
        except ImportError:
            say(f"no plots: they need matplotlib: {install_command('benchmark')}")
            return []


def _plan(args: argparse.Namespace) -> Plan:
    from lightsr_basicsr.tools.benchmark.plan import Plan

    return Plan(
        backends=BACKENDS if "all" in args.backend else tuple(dict.fromkeys(args.backend)),
        precisions=PRECISIONS if "all" in args.precision else tuple(dict.fromkeys(args.precision)),
        sizes=tuple(dict.fromkeys(args.size)),
        memory=not args.no_memory,
        **{name: getattr(args, name) for name in ("rounds", "threads", "device", "data", "gt", "ntire", "trust")},
    )
