"""The base of every error that a user can correct, and its text."""

from __future__ import annotations


class UserError(ValueError):
    """An error that the user can correct: the message says what was expected, what was found and what to do."""


def message_of(error: UserError | OSError) -> str:
    """Return the text of an error for the user; that of the operating system begins with the file, where known."""
    if isinstance(error, UserError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}."
