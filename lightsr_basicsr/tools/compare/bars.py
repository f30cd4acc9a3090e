"""Progress bars of a comparison, one after the other."""

from __future__ import annotations

import sys

from tqdm import tqdm

FORM = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}<{remaining}]{postfix}"
LONGEST = 32  # characters of a name beside a bar


class Bars:
    """Shows pictures done and the time left, stage by stage.

    Args:
        shown (bool): Whether anything is shown. Default: True.
    """

    def __init__(self, shown: bool = True) -> None:
        self.shown, self.stage = shown, ""
        self.bar: tqdm | None = None

    def __call__(self, stage: str, done: float, total: int, name: str) -> None:
        """Show how many pictures of a stage are done, and the name of the running one."""
        if stage != self.stage:
            self.close()
            self.bar = tqdm(total=total, desc=stage, bar_format=FORM, disable=not self.shown, file=sys.stderr)
            self.stage = stage
        name = _printable(name)
        self.bar.set_postfix_str(name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}", refresh=False)
        self.bar.update(done - self.bar.n)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.shown:
            tqdm.write(f"basicsr: {_printable(text)}", file=sys.stderr)

    def close(self) -> None:
        """Leave the running bar as it is."""
        if self.bar is not None:
            self.bar.close()
        self.bar, self.stage = None, ""


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)
