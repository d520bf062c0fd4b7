"""A trader of one release: a client process that sends orders as that release says them, and counts the answers.

    python -m demos.orderbook.trader VERSION NAME SEED FIRST_ORDER RATE ADDRESS...

It trades until standard input ends. The first line there says that version 3 is in force: from then on a trader of
version 3 uses what only that can say. A command that the book refuses is answered; one that has no answer, or one that
nobody understands, has failed.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import Any, Final

import rsm
from demos.orderbook.messages import Counted, Left, say
from demos.orderbook.releases.flow import Flow
from demos.orderbook.releases.v1 import ExchangeV1
from demos.orderbook.releases.v2 import ExchangeV2
from demos.orderbook.releases.v3 import Exchange

RELEASES: Final[dict[int, type[rsm.StateMachine]]] = {1: ExchangeV1, 2: ExchangeV2, 3: Exchange}
# Everybody trades in the same markets, and with one another.
INSTRUMENTS: Final = (1, 2, 3)
IN_FLIGHT: Final = 256
LINE_SECONDS: Final = 0.05
ANSWER_SECONDS_MAX: Final = 60.0
PACE_SECONDS: Final = 0.002


class Trader:
    """One client, and its counts."""

    def __init__(self, version: int, name: str, seed: int, first_order: int, rate: float, addresses: list[str]) -> None:
        self.version = version
        self.rate = rate
        self.is_over = False
        self.has_terms = False
        self.client: Any = rsm.connect(RELEASES[version], addresses, principal=name, timeout_seconds=ANSWER_SECONDS_MAX)
        self._flow = iter(Flow(seed, INSTRUMENTS, first_order, terms=True))
        self._flying: queue.Queue[tuple[float, rsm.Pending[Any]] | None] = queue.Queue(IN_FLIGHT)
        self.sent = self.answered = self.refused = self.failed = 0
        self.failure = ""

    def hear(self) -> None:
        """Take what the show says, until it says no more."""
        if sys.stdin.readline():
            self.has_terms = True
            sys.stdin.readline()
        self.is_over = True

    def send(self) -> None:
        """Send at the rate until it is over."""
        began, number = time.monotonic(), 0
        while not self.is_over:
            intent = next(self._flow)
            if not self.has_terms:
                intent = intent._replace(time_in_force=0, prevention=0)
            for name, _, values in intent.calls(self.version):
                due = began + number / self.rate
                while (now := time.monotonic()) < due:
                    time.sleep(max(PACE_SECONDS, due - now))
                number += 1
                try:
                    pending = getattr(self.client, name).send(*values)
                except rsm.RsmError as error:
                    self._fail(error)
                else:
                    self._flying.put((now, pending))
                self.sent = number
        self._flying.put(None)

    def count(self) -> None:
        """Wait for the answers, and say how many have come."""
        told, microseconds = time.monotonic(), list[int]()
        while (one := self._flying.get()) is not None:
            try:
                one[1].result(ANSWER_SECONDS_MAX)
                self.answered += 1
            except rsm.HandlerFailed as error:
                self._fail(error)
            except rsm.Rejected:
                self.answered += 1
                self.refused += 1
            except (rsm.RsmError, TimeoutError) as error:
                self._fail(error)
            now = time.monotonic()
            microseconds.append(int((now - one[0]) * 1e6))
            if now - told > LINE_SECONDS:
                self._say(microseconds, now)
                told, microseconds = now, []
        self._say(microseconds, time.monotonic())

    def _fail(self, error: BaseException) -> None:
        self.failed += 1
        self.failure = self.failure or f"{type(error).__name__}: {error}"

    def _say(self, microseconds: list[int], now: float) -> None:
        say(Counted(self.sent, self.answered, self.refused, self.failed, self.failure, microseconds, now))


def main(argv: list[str]) -> int:
    """Run the trader; see the module."""
    version, name, seed, first_order, rate, *addresses = argv
    trader = Trader(int(version), name, int(seed), int(first_order), float(rate), addresses)
    with trader.client:
        threading.Thread(target=trader.hear, daemon=True).start()
        sender = threading.Thread(target=trader.send, daemon=True)
        sender.start()
        trader.count()
        stats = trader.client.stats
    say(Left(stats.retries, stats.redirects))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (rsm.RsmError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
