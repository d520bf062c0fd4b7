"""The market of the face: traders of the generated flow, sent at a steady rate until standard input ends.

    python -m demos.orderbook.face.trading SEED COMMANDS_PER_SECOND ADDRESS...

Each trader has a session of its own. Who comes to an exchange that has traded before takes out what it left there, and
numbers its orders behind all that can have been used.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from typing import Any, Final

import rsm
from demos.orderbook.flowgen import TRADERS, Flow
from demos.orderbook.machine import OrderBook
from demos.orderbook.records import MASS_CANCEL_ORDERS_MAX

# The flow has no end of its own.
COMMANDS_MAX: Final = 2**31
IN_FLIGHT: Final = 512
TIMEOUT_SECONDS: Final = 60.0
PACE_SECONDS: Final = 0.005
# Order ids of this run begin at the log's index times this; no entry has so many commands.
ORDERS_PER_ENTRY: Final = 1 << 20


class Market:
    """All traders, in one process."""

    def __init__(self, seed: int, commands_per_second: float, addresses: list[str]) -> None:
        self.rate = commands_per_second
        self.is_over = threading.Event()
        self._clients: list[Any] = [
            rsm.connect(OrderBook, addresses, principal=name, timeout_seconds=TIMEOUT_SECONDS) for name in TRADERS
        ]
        for client in self._clients[1:]:
            while client.mass_cancel() == MASS_CANCEL_ORDERS_MAX:
                pass
        self._clients[0].counts()
        before = self._clients[0].stats.read_index * ORDERS_PER_ENTRY
        self._flow = Flow(seed, orders=before)

    def trade(self) -> None:
        """Send until it is over."""
        flying: deque[rsm.Pending[Any]] = deque()
        began = time.monotonic()
        for number, step in enumerate(self._flow.steps(COMMANDS_MAX)):
            ahead = began + number / self.rate - time.monotonic()
            if self.is_over.wait(max(ahead, 0.0) if ahead > PACE_SECONDS else 0.0):
                break
            command = step.command
            flying.append(getattr(self._clients[command.trader], command.name).send(*command.values))
            while len(flying) > IN_FLIGHT or (flying and flying[0].done()):
                answer(flying.popleft())
            self._flow.desk.reports.clear()  # nobody compares them with anything here
        while flying:
            answer(flying.popleft())

    def close(self) -> None:
        """End all sessions."""
        for client in self._clients:
            client.close()


def answer(pending: rsm.Pending[Any]) -> None:
    """Wait for an answer; a refusal is one."""
    with contextlib.suppress(rsm.Rejected):
        pending.result(TIMEOUT_SECONDS)


def main(argv: list[str]) -> int:
    """Run the market; see the module."""
    seed, rate, *addresses = argv
    market = Market(int(seed), float(rate), addresses)

    def listen() -> None:
        while sys.stdin.readline():
            pass
        market.is_over.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        market.trade()
    finally:
        market.close()
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (rsm.RsmError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
