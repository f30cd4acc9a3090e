"""A progress bar over pictures, which also moves within a large one, and one over the frames of a film."""

from __future__ import annotations

import sys

from tqdm import tqdm

FORM = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} [{elapsed}<{remaining}, {rate_fmt}]{postfix}"
FRAMES = "{percentage:3.0f}%|{bar}| {n}/{total} frames [{elapsed}<{remaining}, {rate_fmt}]"
LONGEST = 32  # characters of a name


class Bar:
    """Shows pictures done, rate, time left, and the running picture.

    Args:
        total (int): How many pictures.
        shown (bool): Whether anything is shown. Default: True.
    """

    def __init__(self, total: int, shown: bool = True) -> None:
        self.bar = tqdm(total=total, unit=" pictures", bar_format=FORM, disable=not shown or not total, file=sys.stderr)
        self.done, self.shown = 0, shown
        self.inner: tqdm | None = None

    def begin(self, name: str) -> None:
        """Show the name of the running picture."""
        shown = "".join(each if each.isprintable() else "?" for each in name)
        self.bar.set_postfix_str(shown if len(shown) <= LONGEST else f"...{shown[3 - LONGEST :]}", refresh=False)

    def share(self, part: float) -> None:
        """Show which part of the running picture is done, 0 to 1."""
        self.bar.update(self.done + part - self.bar.n)

    def frames(self, done: int, total: int) -> None:
        """Show how many frames of the running film or animation are done, in a line of their own."""
        if self.inner is None:
            self.inner = tqdm(total=total, initial=done - 1, unit=" frames", leave=False, position=1,
                              bar_format=FRAMES, disable=not self.shown, file=sys.stderr)  # fmt: skip
        self.inner.total = total
        self.inner.update(done - self.inner.n)
        self.share(done / total)

    def end(self) -> None:
        """Show that the running picture is done."""
        self._close_inner()
        self.done += 1
        self.share(0)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.bar.write(f"basicsr: {text}", file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._close_inner()
        self.bar.close()

    def _close_inner(self) -> None:
        if self.inner is not None:
            self.inner.close()
            self.inner = None
