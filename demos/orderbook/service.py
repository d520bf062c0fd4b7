"""The exchange's own process: opens the machine, trades a flow through it, and says what it learns as it learns it.

    python -m demos.orderbook.service DIRECTORY FLOW FIRST

It sends the commands of the flow file from number FIRST on, `IN_FLIGHT` of them on their way at any time, each trader's
in a session of its own and each under an idempotency key that is its number in the flow. A command is *acknowledged*
when its answer has come back, which is after its batch was synced and applied; only then is a line about it written.

The process that reads its messages may kill this one at any time. That is the point of it.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

import msgspec

import rsm
from demos.orderbook.desk import Answer
from demos.orderbook.flowgen import INSTRUMENTS, TRADERS, Command
from demos.orderbook.machine import OrderBook
from demos.orderbook.messages import (
    ACKNOWLEDGED_PER_LINE_MAX,
    Acknowledged,
    Closing,
    Found,
    Looked,
    Opened,
    Traded,
    say,
)
from demos.orderbook.records import Report
from demos.orderbook.survey import survey, view

# Commands on their way: enough to fill batches, few enough that a kill leaves a handful of batches in doubt.
IN_FLIGHT: Final = 512
# How often the books are looked at for drawing, and how deep.
LOOK_SECONDS: Final = 0.12
LOOK_LEVELS: Final = 24


class Warnings(logging.Handler):
    """Keeps what the library warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.lines.append(record.getMessage())


class Service:
    """A machine, its clients, and the line to whoever reads."""

    def __init__(self, directory: Path) -> None:
        warnings = Warnings()
        log = logging.getLogger("rsm")
        log.addHandler(warnings)
        log.propagate = False
        before = time.perf_counter()
        self.client = rsm.open(OrderBook, directory)
        seconds = time.perf_counter() - before
        # The operator has the session that came with the machine; every trader opens one in its own name.
        self.sessions = [self.client, *(self.client.session(principal=name) for name in TRADERS[1:])]
        status = self.client.status()
        say(Opened(seconds, warnings.lines, status.index, status.log_bytes))

    def find(self) -> None:
        """Say what the machine holds."""
        reports: list[Report] = []
        repeated = 0
        last = (0, 0, 0, 0)
        for event in self._kept_events():
            repeated += event.identity <= last
            last = event.identity
            reports.append(event.value)
        say(Found(survey(self.client), reports, repeated))

    def _kept_events(self) -> list[rsm.Event]:
        return list(self.client.events())

    def trade(self, commands: list[Command], first: int) -> None:
        """Send the commands from number `first` on, and say each answer; returns when all have come."""
        flying: deque[rsm.Pending[Any]] = deque()
        answers: list[Answer] = []
        told = first
        began = looked = time.perf_counter()
        for number in range(first, len(commands) + IN_FLIGHT):
            if number < len(commands):
                command = commands[number]
                session = self.sessions[command.trader].once(f"flow-{number}")
                flying.append(getattr(session, command.name).send(*command.values))
            elif not flying:
                break
            if len(flying) < IN_FLIGHT and number < len(commands):
                continue
            answers.append(flying.popleft().result())
            if len(answers) == ACKNOWLEDGED_PER_LINE_MAX or not flying:
                say(Acknowledged(told, answers, min(number + 1, len(commands))))
                told += len(answers)
                answers = []
                now = time.perf_counter()
                if now - looked > LOOK_SECONDS:
                    self.look()
                    looked = time.perf_counter()
        say(Traded(len(commands) - first, time.perf_counter() - began))
        self.look()

    def look(self) -> None:
        """Say how the books stand."""
        status = self.client.status()
        markets = [view(self.client, instrument.number, LOOK_LEVELS) for instrument in INSTRUMENTS]
        say(Looked(status.index, status.root, status.log_bytes, markets))

    def close(self) -> None:
        """Write a snapshot, say its root, and end."""
        index = self.client.snapshot()
        status = self.client.status()
        say(Closing(index, status.root, status.log_bytes))
        for session in reversed(self.sessions):
            session.close()


def main(argv: list[str]) -> int:
    """Run the service; see the module."""
    directory, flow, first = argv
    commands = msgspec.msgpack.decode(Path(flow).read_bytes(), type=list[Command])
    service = Service(Path(directory))
    if int(first):
        service.find()
    if int(first) < len(commands):
        service.trade(commands, int(first))
        service.find()
    service.close()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (rsm.RsmError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
