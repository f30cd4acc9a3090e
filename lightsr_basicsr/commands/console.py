"""Messages of the command on the error stream."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Print one line on the error stream, from the first process of a run."""
    # Every process of a distributed run meets the same problem.
    if os.environ.get("RANK", "0") == "0":
        print(f"basicsr: {text}", file=sys.stderr, flush=True)


def load_all_plugins() -> None:
    """Import every plugin, and report those that cannot be imported."""
    from lightsr_basicsr.plugins import load_plugins

    for plugin in load_plugins():
        if plugin.error:
            say(f"plugin {plugin.name} ({plugin.distribution}) could not be imported: {plugin.error}")
