"""How a command of a demo ends when it is interrupted, or something goes wrong: one line, and the exit code of `rsm`.

1 says that something is damaged, differs or has gone down, 2 that the call or its input has to change, 3 that nothing
can be said: nobody answered, or what there is could not be checked.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Final

import rsm

FINE: Final = 0
FOUND: Final = 1
WRONG: Final = 2
UNCHECKED: Final = 3


class DemoFailed(Exception):
    """What a demo is made of did not start, or went down; `exit_code` if that is not `FOUND`."""

    def __init__(self, message: str, exit_code: int = FOUND) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def exit_code(error: Exception) -> int:
    """The exit code that an error stands for."""
    if isinstance(error, DemoFailed):
        return error.exit_code
    if isinstance(error, rsm.BadBytes | rsm.DivergenceError):
        return FOUND
    if isinstance(error, rsm.UnknownFormat | rsm.Unreachable | rsm.NotLeader | rsm.Busy | rsm.Closed | TimeoutError):
        return UNCHECKED
    return WRONG if isinstance(error, rsm.RsmError | OSError) else UNCHECKED


def told(error: Exception) -> str:
    """An error in one line: a system's without its number, with the file it is about."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does: what was started is stopped."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # no signals there
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
