"""The log of a run on a full disk: told once, and not by a traceback for each line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def steady_log() -> Iterator[None]:
    """Report a log file of BasicSR that cannot be written once within the block; the run itself goes on."""
    original, told = logging.StreamHandler.handleError, set()

    def handle(self: logging.StreamHandler, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) or self not in logging.getLogger("basicsr").handlers:
            original(self, record)
        elif isinstance(self, logging.FileHandler) and self not in told:
            told.add(self)
            with suppress(OSError):
                text = f"{self.baseFilename}: {error.strerror or error}. The run goes on, and the log lacks lines."
                sys.stderr.write(f"basicsr: {text}\n")

    logging.StreamHandler.handleError = handle  # type: ignore[method-assign]
    try:
        yield
    finally:
        logging.StreamHandler.handleError = original  # type: ignore[method-assign]
