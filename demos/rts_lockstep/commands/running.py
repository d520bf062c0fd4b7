"""What the commands share: where they keep things, how they end."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import rsm
from demos.exits import DemoFailed, exit_code, interruptible, told
from demos.rts_lockstep.machine import SOLDIERS_MAX, UNITS_LEAST
from demos.rts_lockstep.units import MAP_SIZE_MAX, MAP_SIZE_MIN, UNITS_MAX
from demos.scratch import scratch_directory

PORT_MAX: Final = 65_535


@contextlib.contextmanager
def workplace(kept: Path | None) -> Iterator[Path]:
    """The directory given, as an absolute path for processes that begin elsewhere; or one that is gone afterwards."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.absolute()
        return
    with scratch_directory("rsm-lockstep-") as scratch:
        yield scratch


def new_directory(text: str) -> Path:
    """An argument that names a directory which is empty or not there yet."""
    path = Path(text)
    try:
        if path.exists() and any(path.iterdir()):
            raise argparse.ArgumentTypeError(f"{path} is not empty")
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def port_number(text: str) -> int:
    """An argument that names a port; 0 is any free one."""
    if not text.isdecimal() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text} is no port: 0 to {PORT_MAX}")
    return int(text)


def check_world(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends with usage and exit code 2 if the world cannot have this size, or so many units or soldiers."""
    for name, least, most in (
        ("units", UNITS_LEAST, UNITS_MAX),
        ("size", MAP_SIZE_MIN, MAP_SIZE_MAX),
        ("soldiers", 0, SOLDIERS_MAX),
    ):
        if not least <= getattr(options, name) <= most:
            parser.error(f"--{name} must be {least} to {most}")


def guarded(program: str, work: Callable[[], int]) -> int:
    """Do it; what goes wrong is one line on stderr and its exit code, Ctrl-C is 130."""
    try:
        with interruptible():
            return work()
    except KeyboardInterrupt:
        print(f"{program}: interrupted; nothing is left running", file=sys.stderr)
        return 130
    except (DemoFailed, rsm.RsmError, OSError) as error:
        print(f"{program}: {told(error)}", file=sys.stderr)
        return exit_code(error)
