"""Exit codes, and the one line that an error becomes.

An exit code says whose turn it is: 1 means that what was looked at is damaged, 2 that the call (or its input) has to
change, 3 that nothing can be said. The text of an error is one line on standard error, with what went wrong and where;
with --json it is a document on standard output, too.
"""

from __future__ import annotations

from typing import Final

import click

from rsm.errors import BadBytes, Busy, Closed, DivergenceError, NotLeader, RsmError, UnknownFormat, Unreachable

__all__ = ["FINE", "FOUND", "INTERRUPTED", "UNCHECKED", "WRONG", "Unreadable", "exit_code", "line", "message"]

FINE: Final = 0
FOUND: Final = 1  # corruption, a torn tail, a desync, a failed check
WRONG: Final = 2  # wrong usage, or input that is not what the command reads
UNCHECKED: Final = 3
INTERRUPTED: Final = 130  # as shells report an interrupt


class Unreadable(Exception):
    """The input is not what the command reads, or does not hold what was asked for."""


def exit_code(error: BaseException) -> int:
    """The exit code that an error stands for."""
    if isinstance(error, BadBytes | DivergenceError):
        return FOUND
    if isinstance(error, UnknownFormat | Unreachable | NotLeader | Busy | Closed):
        return UNCHECKED
    if isinstance(error, RsmError | click.ClickException | Unreadable | OSError):
        return WRONG
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return INTERRUPTED
    return UNCHECKED


def line(error: BaseException, program: str) -> str:
    """What standard error says about an error: one line."""
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else program
        return f"{path}: {message(error)} See {path} --help."
    return f"{program}: {message(error)}"


def message(error: BaseException) -> str:
    """What went wrong, and where, without line breaks."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        text = "interrupted"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        text = f"{where}{error.strerror or error}"
    elif isinstance(error, RsmError | Unreadable):
        text = str(error)
    else:
        text = f"internal error: {type(error).__name__}: {error} (--debug shows where)"
    return " ".join(text.split())
