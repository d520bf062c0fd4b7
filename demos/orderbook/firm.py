"""A trading firm's own process: a client of a cluster that trades a flow through it, and says what it learns.

    python -m demos.orderbook.firm NAME FLOW FIRST_KEY RATE PAUSE ADDRESS...

It connects once, in its own name, and sends the commands of the flow file at RATE a second, at most `IN_FLIGHT` of them
on their way, each under an idempotency key that is its number: FIRST_KEY and up. Before command number PAUSE it waits
for a line on standard input, so that on a slow machine the flow is not over before the show is. What happens to the
nodes meanwhile is no concern of this file: the client finds the leader, and sends again what was not answered.

At the end another client, with another session, sends the last commands once more under the same keys, as a program
would that was started again and does not know how far it came.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

import rsm
from demos.orderbook.desk import Answer
from demos.orderbook.flowgen import Command
from demos.orderbook.machine import OrderBook
from demos.orderbook.messages import Acknowledged, Left, Repeated, Traded, say

# Commands on their way: at the usual rate a few dozen are; after a change of leader there is much to catch up with.
IN_FLIGHT: Final = 512
# Answers told at once, or sooner if this much time has passed since the last line.
ANSWERS_PER_LINE_MAX: Final = 64
LINE_SECONDS_MAX: Final = 0.05
# Commands that the second client sends again.
REPEATED: Final = 500
# A loaded machine, a change of leader and a pause of the supervisor together take less.
ANSWER_SECONDS_MAX: Final = 60.0
# Between two looks at the clock, when the next command is not due yet.
PACE_SECONDS: Final = 0.002

Flying = tuple[float, rsm.Pending[Any]]


class Firm:
    """One firm's commands, and where they are sent."""

    def __init__(
        self, name: str, commands: list[Command], first_key: int, rate: float, pause: int, addresses: list[str]
    ) -> None:
        self.name = name
        self.commands = commands
        self.first_key = first_key
        self.rate = rate
        self.pause = pause
        self.addresses = addresses
        self.sent = 0

    def connect(self) -> OrderBook:
        """A client, with a session of its own."""
        return rsm.connect(OrderBook, self.addresses, principal=self.name, timeout_seconds=ANSWER_SECONDS_MAX)

    def send(self, client: OrderBook, number: int) -> rsm.Pending[Any]:
        """Send a command of the flow under its key."""
        command = self.commands[number]
        once = client.once(f"flow-{self.first_key + number}")
        pending: rsm.Pending[Any] = getattr(once, command.name).send(*command.values)
        return pending

    def trade(self, client: OrderBook) -> None:
        """Send everything at its rate, and say each answer; returns when all have come."""
        # A thread that sends and one that waits: an answer's time is taken when it comes, not when the next is sent.
        flying: queue.Queue[Flying | None] = queue.Queue(IN_FLIGHT)
        sender = threading.Thread(target=self._send_all, args=(client, flying), daemon=True)
        began = told = time.monotonic()
        sender.start()
        first = 0
        answers: list[Answer] = []
        microseconds: list[int] = []
        while (one := flying.get()) is not None:
            sent_at, pending = one
            answers.append(pending.result(ANSWER_SECONDS_MAX))
            now = time.monotonic()
            microseconds.append(int((now - sent_at) * 1e6))
            if len(answers) == ANSWERS_PER_LINE_MAX or now - told > LINE_SECONDS_MAX:
                say(Acknowledged(first, answers, self.sent, microseconds, now))
                first, answers, microseconds, told = first + len(answers), [], [], now
        if answers:
            say(Acknowledged(first, answers, self.sent, microseconds, time.monotonic()))
        say(Traded(len(self.commands), time.monotonic() - began))

    def _send_all(self, client: OrderBook, flying: queue.Queue[Flying | None]) -> None:
        began = time.monotonic()
        try:
            for number in range(len(self.commands)):
                if number == self.pause:
                    sys.stdin.readline()
                due = began + number / self.rate
                while (now := time.monotonic()) < due:
                    time.sleep(max(PACE_SECONDS, due - now))
                flying.put((now, self.send(client, number)))
                self.sent = number + 1
        finally:
            flying.put(None)

    def repeat(self) -> None:
        """Send the last commands again, from another session."""
        with self.connect() as client:
            first = max(0, len(self.commands) - REPEATED)
            again = [self.send(client, number) for number in range(first, len(self.commands))]
            say(Repeated(first, [pending.result(ANSWER_SECONDS_MAX) for pending in again]))


def main(argv: list[str]) -> int:
    """Run the firm; see the module."""
    name, flow, first_key, rate, pause, *addresses = argv
    commands = msgspec.msgpack.decode(Path(flow).read_bytes(), type=list[Command])
    firm = Firm(name, commands, int(first_key), float(rate), int(pause), addresses)
    with firm.connect() as client:
        firm.trade(client)
        stats = client.stats
    firm.repeat()
    say(Left(stats.retries, stats.redirects))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (rsm.RsmError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
