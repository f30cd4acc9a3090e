"""``basicsr prepare check``: faults of folders, pairs and LMDBs, as text or JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.commands.console import printable
from lightsr_basicsr.commands.prepare.common import add_kind, print_section
from lightsr_basicsr.commands.tables import table

if TYPE_CHECKING:
    from lightsr_basicsr.tools.prepare.check.files import DatasetFinding
    from lightsr_basicsr.tools.prepare.check.report import CheckReport, Summary


def add_check(kinds: Any) -> None:
    """Add ``prepare check``."""
    parser = add_kind(
        kinds,
        "check",
        "find faults that would stop or spoil training and testing, by decoding every file of a folder or of pairs",
        _run_check,
        "  basicsr prepare check datasets/Set5/HR_x4\n"
        "  basicsr prepare check datasets/Set5/HR_x4 datasets/Set5/LRBI_x4 --scale 4\n"
        "  basicsr prepare check DIV2K_train_HR DIV2K_train_LR_bicubic/X4 --scale 4 --patch 192\n"
        "  basicsr prepare check HR.lmdb LR.lmdb --scale 4\n"
        "It lists each file with damage, gray, alpha, palette or CMYK, 16 bits or floating point, an orientation tag,\n"
        "sizes that do not fit, no partner, a problematic name, a duplicate, or an LR image of something else.\n"
        "Errors would stop training or testing or make it wrong; warnings would not. Nothing is changed.\n"
        "The exit status is 0 without errors, 1 with errors, 2 if the command itself is wrong.",
        rule=False,
    )
    parser.add_argument("hr", metavar="HR", help="folder of images, or an LMDB (its name ends in .lmdb)")
    parser.add_argument("lr", metavar="LR", nargs="?", help="folder or LMDB of its LR images")
    parser.add_argument("--scale", type=int, metavar="S", help="HR side over LR side; needed with LR")
    parser.add_argument(
        "--template",
        metavar="NAME",
        help="name of an LR image, {} being that of the HR image: '{}x4' (default: guessed from the names)",
    )
    parser.add_argument("--patch", type=int, metavar="N", help="side of HR crops in training (gt_size)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run_check(args: argparse.Namespace) -> int:
    from lightsr_basicsr.tools.prepare.check.report import check_images

    report = check_images(args.hr, args.lr, args.scale, args.template, args.patch, args.jobs, progress=not args.quiet)
    if args.json:
        counts = {"errors": len(report.errors), "warnings": len(report.warnings)}
        print(json.dumps({**counts, **asdict(report)}, indent=2))
    else:
        _print_report(report)
    return 1 if report.errors else 0


def _print_report(report: CheckReport) -> None:
    for title, findings in (("warnings", report.warnings), ("errors", report.errors)):
        if findings:
            print(f"{title}:")
            _print_findings(findings)
            print()
    _print_table(report)
    for note in report.notes:
        print(f"note: {note}")
    if report.section:
        print_section(report.section)


def _print_findings(findings: Sequence[DatasetFinding]) -> None:
    for kind in dict.fromkeys(finding.kind for finding in findings):
        of_kind = [finding for finding in findings if finding.kind == kind]
        print(f"  {kind} ({len(of_kind)})")
        for finding in of_kind:
            print(f"    {printable(finding.file)}: {printable(finding.message)}")


def _print_table(report: CheckReport) -> None:
    rows = [*zip(("", "files", "sizes", "channels", "bits"), *map(_column, report.folders), strict=True)]
    if report.pairs is not None:
        rows.append(("pairs", f"{report.pairs}, LR named {report.template}"))
    if report.psnr:
        values = " / ".join(f"{value:.1f}" for value in report.psnr)
        rows.append(("PSNR of LR", f"{values} dB", "against MATLAB's bicubic of HR; 60 is equal"))
    if report.borders:
        counts = ", ".join(f"{border} {count}" for border, count in report.borders.items())
        rows.append(("border of LR", f"{counts}; what `prepare lr --border` makes"))
    rows.append(("errors, warnings", f"{len(report.errors)}, {len(report.warnings)}"))
    print(table(rows))


def _column(summary: Summary) -> tuple[str, ...]:
    sizes = [f"{size[0]}x{size[1]}" for size in (summary.smallest, summary.median, summary.largest) if size]
    return (
        summary.root,
        f"{summary.files}, {summary.readable} readable images",
        " / ".join(sizes) or "none",
        ", ".join(f"{name} {count}" for name, count in summary.channels.items()) or "none",
        ", ".join(f"{bits}: {count}" for bits, count in summary.bits.items()) or "none",
    )
