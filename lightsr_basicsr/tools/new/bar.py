"""The progress bars of a preparation, one after the other."""

from __future__ import annotations

from tqdm import tqdm


class Bar:
    """One progress bar for each title; called with a title, how many are done, and of how many."""

    def __init__(self, on: bool) -> None:
        self.on, self.title = on, ""
        self.bar: tqdm | None = None

    def __call__(self, title: str, done: int, total: int) -> None:
        """Show how far it is."""
        if self.bar is None or title != self.title:
            self.close()
            self.title, self.bar = title, tqdm(total=total, desc=title, disable=not self.on)
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        """End the bar."""
        if self.bar is not None:
            self.bar.close()
