"""Mistakes that the user can put right, told by the command in one line."""

from __future__ import annotations

from lightsr_basicsr import _compat


class UsageError(Exception):
    """Something the user can put right; the message says how."""


def need_basicsr() -> None:
    """Raise UsageError with the command that helps, if BasicSR is not installed."""
    try:
        _compat.require_basicsr()
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from error
