"""The face itself: it follows one observer of the log and keeps what its servers show.

**One loop.** Updates are applied, messages made and readers woken in the event loop's thread, so everything that is
read between two updates is of one index of the log: a GLIMPSE snapshot, the feed's next number, a channel's levels.

**Whoever starts** from a snapshot of the log knows the number of its last event, and with it the sequence number of the
next message (`story`). Nothing else about the session is kept anywhere: another process, or this one after a restart,
goes on with the same numbers and the same messages.

**While its state is in doubt** (`halt`: the observer's root is not the cluster's) nothing is served of it: the session
is unknown, whoever reads it is cut, and nothing that was said of late is said again. With the state that is right,
books begin again, and the session behind the next event, so that everybody who heard something wrong sees a gap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from demos.orderbook.face.candles import MarketTape, Print
from demos.orderbook.face.resting import RestingBook, resting_orders
from demos.orderbook.face.scales import decimals_of, pair_of
from demos.orderbook.face.session import Session
from demos.orderbook.face.soup import sequenced
from demos.orderbook.face.stamps import Stamp
from demos.orderbook.face.story import sequence_of, translate
from demos.orderbook.formats import itch
from demos.orderbook.records import Report, Traded

log = logging.getLogger(__name__)

SESSION_NAME: Final = "ORDERBOOK"


class ListedMarket:
    """A market as it is written outside, and what was traded in it since this face began."""

    def __init__(self, instrument: int, symbol: str) -> None:
        self.instrument = instrument
        self.symbol = symbol
        self.pair = pair_of(symbol)
        self.decimals = decimals_of(symbol)
        self.tape = MarketTape()


class ExchangeFace:
    """What is shown of the exchange, as of log `index`. `number` is that of the log's last event.

    `on_entry` is called after each entry with the markets whose levels have changed and the trades by market; after a
    snapshot with None: everything may have changed; and so when `trouble`, why nothing is served, comes.
    """

    def __init__(self, session: Session | None = None) -> None:
        self.session = Session(SESSION_NAME) if session is None else session
        self.book = RestingBook()
        self.markets: dict[int, ListedMarket] = {}
        self.index = self.number = self.log_time = 0
        self.trouble = ""
        self.on_entry: Callable[[set[int] | None, dict[int, list[Print]]], None] = lambda touched, prints: None
        self._phases: dict[int, int] = {}
        self._machine: Any = None
        self._is_begun = False
        self._snapshot: tuple[int, bytes] = (-1, b"")

    def load(self, machine: Any, number: int, index: int, log_time: int) -> None:
        """Take the state of a machine as it is: at the beginning, and where the log has a gap for us."""
        is_next = self._is_begun and number == self.number
        self._machine = machine
        self._snapshot = -1, b""
        self.trouble = ""
        self.index, self.number, self.log_time = index, number, log_time
        self._phases = {instrument: market.phase for instrument, market in machine.markets.items()}
        for instrument in self._phases:
            self._list(instrument)
        self.book.load(machine, self._phases)
        if not is_next:
            self._is_begun = True
            self.session.begin(sequence_of(number) + 1)
        self.on_entry(None, {})

    def halt(self, trouble: str) -> None:
        """Serve nothing more until the next `load`, and say why."""
        self.trouble = trouble
        self.session.begin(0)
        for market in self.markets.values():
            market.tape = MarketTape()
        self.on_entry(None, {})

    def apply(self, machine: Any, reports: Sequence[Report], number: int, index: int, log_time: int) -> None:
        """Take one entry: `machine` after it, what it reported, and the number of the last report."""
        if self.trouble:
            return
        first = number - len(reports)
        is_unknown = bool(reports) and not self.session.next  # it was halted, and begins with this event
        if not self._is_begun or machine is not self._machine or first != self.number or is_unknown:
            log.info("the face begins at event %d, log index %d", number, index)
            self.load(machine, number, index, log_time)
            return
        self.index, self.number, self.log_time = index, number, log_time
        if not reports:
            return
        messages, after = translate(self.book.orders, self._phases, machine, reports, first, log_time)
        touched = self.book.settle(after.items())
        for instrument in self._phases.keys() - self.markets.keys():
            self._list(instrument)
            touched.add(instrument)
        self.session.append([itch.encode(message) for message in messages])
        prints: dict[int, list[Print]] = {}
        for place, report in enumerate(reports, first + 1):
            if isinstance(report, Traded):
                trade = Print(place, log_time, report.price, report.quantity, report.side)
                self.markets[report.instrument].tape.add(trade)
                prints.setdefault(report.instrument, []).append(trade)
        self.on_entry(touched, prints)

    def _list(self, instrument: int) -> None:
        market = self._machine.market(instrument)
        if instrument not in self.markets or self.markets[instrument].symbol != market.symbol:
            self.markets[instrument] = ListedMarket(instrument, market.symbol)

    def find(self, pair: str) -> ListedMarket | None:
        """The market of a pair."""
        return next((market for market in self.markets.values() if market.pair == pair), None)

    def glimpse(self) -> tuple[bytes, int] | None:
        """The book as GLIMPSE packets, and the number of the message to go on with; None before there is one.

        Markets by number: the listing, the phase, then all orders by side, best price first, then first come. At the
        end G, with the number in twenty characters.
        """
        if not self.session.next:
            return None
        following = sequence_of(self.number) + 1
        if self._snapshot[0] != following:
            stamp = Stamp(self._machine, self.log_time)
            messages: list[itch.Message] = []
            for instrument in sorted(self._phases):
                messages += stamp.market(instrument, self._phases[instrument], is_new=True)
                messages += (
                    stamp.add(order_id, order)
                    for order_id, order in resting_orders(self._machine, (instrument,))
                    if stamp.shares(order)
                )
            packets = [sequenced(itch.encode(message)) for message in messages]
            packets.append(sequenced(b"G" + str(following).rjust(20).encode("ascii")))
            self._snapshot = following, b"".join(packets)
        return self._snapshot[1], following
