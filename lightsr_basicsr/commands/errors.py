"""What the command tells on the error stream, and mistakes that the user can put right."""

from __future__ import annotations

import os
import sys

from lightsr_basicsr import _compat


class UsageError(Exception):
    """Something the user can put right; the message says how."""


def say(text: str) -> None:
    """Print one line on the error stream, from the first process of a run."""
    # One voice is enough: every process of a distributed run meets the same problem.
    if os.environ.get("RANK", "0") == "0":
        print(f"basicsr: {text}", file=sys.stderr, flush=True)


def need_basicsr() -> None:
    """Raise UsageError with the command that helps, if BasicSR is not installed."""
    try:
        _compat.require_basicsr()
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from error


def load_all_plugins() -> None:
    """Import every plugin, and tell of those that cannot be imported."""
    from lightsr_basicsr.tools.plugins import load_plugins

    for plugin in load_plugins():
        if plugin.error:
            say(f"plugin {plugin.name} ({plugin.distribution}) could not be imported: {plugin.error}")
