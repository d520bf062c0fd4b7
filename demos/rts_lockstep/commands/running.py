"""What the commands share: how they are interrupted, where they keep things, how they end."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import rsm
from demos.rts_lockstep.staging.match import MatchFailed
from demos.rts_lockstep.staging.nodes import NodesFailed


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


@contextlib.contextmanager
def workplace(kept: Path | None) -> Iterator[Path]:
    """The directory given, as an absolute path for processes that begin elsewhere; or one that is gone afterwards."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="rsm-lockstep-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def new_directory(text: str) -> Path:
    """An argument that names a directory which is empty or not there yet."""
    path = Path(text)
    try:
        if path.exists() and any(path.iterdir()):
            raise argparse.ArgumentTypeError(f"{path} is not empty")
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def guarded(program: str, work: Callable[[], int]) -> int:
    """Do it; what goes wrong is one line on stderr and exit code 1, Ctrl-C is 130."""
    try:
        with interruptible():
            return work()
    except KeyboardInterrupt:
        print(f"{program}: interrupted; nothing is left running", file=sys.stderr)
        return 130
    except (MatchFailed, NodesFailed, rsm.RsmError, TimeoutError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
