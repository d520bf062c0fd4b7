"""What a bot's process tells whoever started it, a JSON document a line on its standard output.

Times are of the system's monotonic clock, which all processes of a machine share, in seconds.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import msgspec


class Ran(msgspec.Struct, frozen=True, tag=True):
    """A turn ran. `root` of the entry that ran it, `units` alive in the world, `step_ms` of processor time."""

    at: float
    turn: int
    index: int
    root: str
    turn_ms: int
    step_ms: float
    units: int
    behind: int
    is_snapshot: bool = False


class Used(msgspec.Struct, frozen=True, tag=True):
    """The network so far: payload and packets, each way."""

    at: float
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int


class Ordered(msgspec.Struct, frozen=True, tag=True):
    """An order or report was answered: given in turn `stamp`, it runs in `turn` (0: refused, and why)."""

    at: float
    stamp: int
    turn: int
    milliseconds: float
    reason: str = ""


class Differs(msgspec.Struct, frozen=True, tag=True):
    """This client's own desync; see `rsm.Desync`. `seconds` since it was seen first."""

    at: float
    index: int
    verdict: str
    paths: tuple[tuple[str, Any, Any], ...]
    line: str
    command: str
    healed_index: int
    seconds: float
    evidence: str


class Joined(msgspec.Struct, frozen=True, tag=True):
    """It has a seat, and the world as of this turn, `seconds` after it began, with `bytes` on the network for that.

    `page`: where its page is, if it has one.
    """

    at: float
    player: int
    turn: int
    index: int
    seconds: float
    bytes: int
    page: str = ""


class Left(msgspec.Struct, frozen=True, tag=True):
    """It ends. `winner` -1: nobody yet, -2: a draw."""

    winner: int
    turn: int
    root: str
    roots_checked: int
    snapshots: int
    reconnects: int
    skipped: int


Said: TypeAlias = Ran | Used | Ordered | Differs | Joined | Left
_encode = msgspec.json.Encoder().encode


def say(said: Said) -> None:
    """Write one line, at once."""
    sys.stdout.buffer.write(_encode(said) + b"\n")
    sys.stdout.buffer.flush()
