"""The resolved content of our option files; ``python -m tests.recorded_options`` writes ``tests/data/options.json``.

Recorded before they extended each other; a file that is changed on purpose is recorded again.
"""

from __future__ import annotations

import argparse
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from lightsr_basicsr.tools.options import read_options

FOLDER = Path(__file__).resolve().parents[1] / "options"
FILE = Path(__file__).parent / "data" / "options.json"
LINES = 7496  # of the files in the recording, when each of them was complete by itself


def digest(options: dict[str, Any]) -> str:
    """Return the SHA-256 of options; order matters among data sets and among metrics, which logs have in turn."""
    metrics = (options.get("val") or {}).get("metrics") or {}
    content = [options, list(options["datasets"]), list(metrics)]
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def recorded() -> dict[str, str]:
    """Return the digest of each recorded option file by its name."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def main() -> None:
    """Record all option files, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="file names, without .yml (default: all)")
    names = parser.parse_args().names
    before = recorded() if names else {}
    found = {
        name: digest(read_options(FOLDER / f"{name}.yml")) for name in names or (p.stem for p in FOLDER.glob("*.yml"))
    }
    FILE.write_text(json.dumps(dict(sorted({**before, **found}.items())), indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
