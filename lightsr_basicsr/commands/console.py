"""Messages of the command on the error stream."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from lightsr_basicsr.registry import PluginWarning


def say(text: str) -> None:
    """Print one line on the error stream, from the first process of a run."""
    # Every process of a distributed run meets the same problem.
    if os.environ.get("RANK", "0") == "0":
        try:
            print(f"basicsr: {printable(text)}", file=sys.stderr, flush=True)
        except BrokenPipeError:
            raise
        except OSError:  # the stream is a file on a full disk, and the run may not need that disk
            pass


def printable(text: str) -> str:
    r"""Return a text with what a terminal would obey or cannot show written out; line feeds stay.

    >>> printable("caf\udce9\x1b[2J\nb")
    'caf\\udce9\\x1b[2J\nb'
    """
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


def load_all_plugins(*named: Any) -> None:
    """Import every plugin, and report names that two have and those that cannot be imported.

    Args:
        *named (Any): Lists of further packages, None for none.

    Raises:
        PluginError: If one of these cannot be imported.
    """
    from lightsr_basicsr.plugins import import_plugins, load_plugins

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PluginWarning)
        try:
            found = load_plugins()
            for names in named:
                import_plugins(names)
        finally:
            _tell(caught)
    for plugin in found:
        if plugin.error:
            say(f"plugin {plugin.name} ({plugin.distribution}) could not be imported: {plugin.error}")


def _tell(caught: list[warnings.WarningMessage]) -> None:
    for each in caught:
        if issubclass(each.category, PluginWarning):
            say(str(each.message))
        else:
            warnings.showwarning(each.message, each.category, each.filename, each.lineno)
