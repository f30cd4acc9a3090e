"""The command ``basicsr fetch``: official files by name, into the user's cache folder."""

from __future__ import annotations

import argparse
import json
import sys
from os.path import expanduser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightsr_basicsr.commands.arguments import FORM
from lightsr_basicsr.commands.console import printable, say
from lightsr_basicsr.commands.tables import table
from lightsr_basicsr.errors import UserError, install_command

if TYPE_CHECKING:
    from lightsr_basicsr.weights.fetch import Plan
    from lightsr_basicsr.weights.official import OfficialNetwork

DESCRIPTION = """Put an official file into the cache folder, where commands find it by its name. Address, size, checksum
and licence are shown, and nothing is downloaded before you agree. Size and checksum are compared, as far as they are
known. The file's path is printed."""
EXAMPLES = f"""examples:
  basicsr fetch --list                                  names, licences, sources, and what is in the cache
  basicsr fetch IMDN_x4 --from Downloads/IMDN_x4.pth    a file that you downloaded in a browser
  basicsr fetch IMDN_x4 --from https://...              its address, as the authors' page gives it
  basicsr fetch IMDN_x4 --folder experiments/pretrained_models    where the option files expect it
  basicsr info IMDN_x4                                  the name then serves info, convert, export and benchmark
A download that was interrupted goes on where it ended. The cache is $LIGHTSR_CACHE, or lightsr-basicsr in the system's
folder for caches. Google Drive needs {install_command("fetch")}."""
UNSTATED = "not stated"
IN_PACKAGE = "in the package"


def add_fetch(commands: Any) -> None:
    """Add ``fetch`` to the parser's ``commands``."""
    text = "put an official file into the cache folder, by its name"
    parser = commands.add_parser("fetch", help=text, description=DESCRIPTION, epilog=EXAMPLES, formatter_class=FORM)
    parser.add_argument("name", nargs="?", metavar="NAME", help="such as IMDN_x4; letter case does not matter")
    parser.add_argument("--list", action="store_true", help="print the official files")
    parser.add_argument("--yes", action="store_true", help="agree to the download without being asked")
    parser.add_argument("--folder", metavar="DIR", help="folder for the file (default: the cache folder)")
    parser.add_argument("--from", dest="source", metavar="FILE", help="a file that you downloaded, or its address")
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    parser.set_defaults(run=run_fetch)


def run_fetch(args: argparse.Namespace) -> int:
    """Fetch one file, or list them all; return 2 if it could not be asked for, and 1 if the user does not agree."""
    if args.list:
        return _list(args)
    if not args.name:
        raise UserError("Name an official file, such as `basicsr fetch IMDN_x4`; `basicsr fetch --list` shows all.")
    from lightsr_basicsr.weights.fetch import fetch, plan_fetch

    plan = plan_fetch(args.name, args.folder, args.source)
    if plan.there:
        say(f"{plan.entry.name} is {IN_PACKAGE if plan.entry.packaged else 'there already'}.")
    elif plan.address is not None:
        _show(plan)
        if not args.yes and (status := _ask(plan)):
            return status
    print(fetch(plan, say, progress=True))
    return 0


def _show(plan: Plan) -> None:
    entry = plan.entry
    facts = {
        "address": plan.address,
        "size": f"{entry.size:,} bytes" if entry.size else "not known",
        "sha256": entry.sha256 or "not known: what comes cannot be compared",
        "licence": entry.licence or f"{UNSTATED} by {entry.source}",
        "place": str(plan.place),
        "there now": plan.problem,
    }
    rows = ((f"{name}:", value) for name, value in facts.items() if value)
    text = f"{entry.file}: {entry.title} x{entry.scale}\n{table(rows, indent='  ')}"
    print(printable(text), file=sys.stderr)


def _ask(plan: Plan) -> int:
    """Return 0 if the user agrees, or the exit status."""
    if not sys.stdin or not sys.stdin.isatty():
        say(f"nothing was downloaded. To agree, run: {plan.command} --yes")
        return 2
    print("Download it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return 0
    say("nothing was downloaded.")
    return 1


def _list(args: argparse.Namespace) -> int:
    from lightsr_basicsr.weights.folder import cache_folder
    from lightsr_basicsr.weights.names import files

    folder = Path(expanduser(args.folder)) if args.folder else cache_folder()
    rows = [_row(entry, folder) for entry in files()]
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    header = ("name", "network", "scale", "bytes", "licence", "source", "in the folder" if args.folder else "cached")
    print(table([header, *map(_cells, rows)], "<<>><"))
    say(f"folder: {folder}")
    return 0


def _row(entry: OfficialNetwork, folder: Path) -> dict[str, Any]:
    file = entry.in_package or folder / entry.file
    there = file.is_file() and entry.size in (None, file.stat().st_size)
    keys = ("name", "file", "title", "network", "scale", "size", "sha256", "licence", "source", "place", "address",
            "packaged")  # fmt: skip
    return {**{key: getattr(entry, key) for key in keys}, "path": str(file) if there else None}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    size = f"{row['size']:,}" if row["size"] else "-"
    there = IN_PACKAGE if row["packaged"] else "yes" if row["path"] else "-"
    licence = row["licence"] or UNSTATED
    return row["name"], row["network"], f"x{row['scale']}", size, licence, row["source"], there
