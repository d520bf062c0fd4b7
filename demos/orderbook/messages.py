"""What the show's processes say to it: one line of JSON each, in the order of things.

A line that was cut short was never said. What a process said before it was killed counts, what it did not say does not.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from demos.orderbook.desk import Answer
from demos.orderbook.records import Report
from demos.orderbook.survey import MarketView, Survey

# Acknowledgements told at once.
ACKNOWLEDGED_PER_LINE_MAX: Final = 256
encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, tag=True, frozen=True):
    """Base of what is said."""


class Opened(Message, frozen=True):
    """The machine is open: recovered, if there was anything. `warnings`: what the library's log said meanwhile."""

    seconds: float
    warnings: list[str]
    index: int
    log_bytes: int


class Found(Message, frozen=True):
    """What the machine holds: a survey, and the reports that it still keeps, oldest first."""

    survey: Survey
    reports: list[Report]
    repeated: int  # reports whose identity is not above that of the one before


class Acknowledged(Message, frozen=True):
    """The answers to the commands from number `first` on. `sent`: how many have been sent in all."""

    first: int
    answers: list[Answer]
    sent: int
    microseconds: list[int] = []  # from sending each to having its answer, where that was measured
    at: float = 0.0  # when the last of them came, by the machine's monotonic clock


class Looked(Message, frozen=True):
    """The exchange while it trades."""

    index: int
    root: str
    log_bytes: int
    markets: list[MarketView]


class Traded(Message, frozen=True):
    """The flow has ended, `seconds` after its first command was sent."""

    commands: int
    seconds: float


class Closing(Message, frozen=True):
    """The last words: a snapshot was written at `index`, where the state had this root."""

    index: int
    root: str
    log_bytes: int


class Repeated(Message, frozen=True):
    """The answers to commands from number `first` on, sent again under their keys by another session."""

    first: int
    answers: list[Answer]


class Left(Message, frozen=True):
    """The last words of a client of a cluster: how often it sent something again, or elsewhere."""

    retries: int
    redirects: int


class Counted(Message, frozen=True):
    """How far a trader has come: commands sent, answered (those that the book refused among them), and failed.

    `failure`: what the first failed one came to.
    """

    sent: int
    answered: int
    refused: int
    failed: int
    failure: str
    microseconds: list[int]  # of the commands answered since the last line
    at: float


Said = Opened | Found | Acknowledged | Looked | Traded | Closing | Repeated | Left | Counted


def say(message: Said) -> None:
    """Write one message to standard output: one line."""
    sys.stdout.buffer.write(encode(message) + b"\n")
    sys.stdout.buffer.flush()
