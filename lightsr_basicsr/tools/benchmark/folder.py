"""Whether a benchmark may write into a folder: it replaces its own earlier results, and no other file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lightsr_basicsr.tools.benchmark.plots import MARK
from lightsr_basicsr.tools.benchmark.tables import FORMATS
from lightsr_basicsr.tools.files import START, check_ours

PLOTS = ("latency_*x*.png", "speedup_*x*.png", "sizes.png", "pressure.png")


def _is_csv(start: bytes) -> bool:
    """Return whether remarks come first, and then the column of networks, which may lie behind the start."""
    lines = start.split(b"\n")
    whole = lines[:-1] if len(start) == START else lines
    others = [line for line in whole if not line.startswith(b"# ")]
    return start.startswith(b"# ") and (not others or others[0].startswith(b"network,"))


OURS: dict[str, Callable[[bytes], bool]] = {
    "csv": _is_csv,
    "markdown": lambda start: b" of super-resolution networks\n" in start.partition(b"\n\n")[0] + b"\n",
    "json": lambda start: start.startswith(b'{\n  "machine": {'),
}  # by the first bytes


def check_results(folder: Path, formats: Sequence[str] = tuple(FORMATS), plots: bool = True) -> None:
    """Check that nothing but results of a benchmark would be replaced in a folder, which may be missing.

    Args:
        folder (Path): Of the results.
        formats (Sequence[str]): Of ``FORMATS``, those that will be written. Default: all.
        plots (bool): Whether plots will be written. Default: True.

    Raises:
        TargetError: If another file has the name of one of them.
    """
    files = {folder / FORMATS[name]: OURS[name] for name in formats}
    for pattern in PLOTS if plots else ():
        files |= {path: lambda start: MARK.encode() in start for path in folder.glob(pattern)}
    for path, is_ours in files.items():
        check_ours(path, is_ours, "a result of benchmark", "choose another folder with -o")
