"""A day at a small exchange, made from a seed: who enters, moves and cancels what, in integers, alike on every machine.

Four markets of different activity, price and tick size, and six traders of different habits. Each market has a fair
price of its own, which walks a tick at a time and runs in one direction while a burst lasts. Makers quote around it,
follow it with modifications and cancel what it leaves behind; takers cross the spread; a fund shows the tips of
icebergs; private traders leave stops. The day begins with an opening auction in every market.

The generator keeps the book that its own flow makes, on plain containers, because a trader knows what became of its
orders: it cancels and moves orders that are live, save for the few that were filled a moment ago. So every step comes
with the answer that an undisturbed exchange gives to it, and the reports of the whole day are the generator's `desk`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import rsm
from demos.orderbook.desk import Answer, Desk
from demos.orderbook.records import BUY, CANCEL_NEWEST, CLOSED, FOK, IOC, MARKET, POST_ONLY, SELL


class Instrument(NamedTuple):
    """A market. Prices are in units of 10**-decimals and multiples of `tick`."""

    number: int
    symbol: str
    decimals: int
    tick: int
    start: int  # the fair price at the opening, in ticks
    lot: int
    weight: int  # its share of the flow
    resting: int  # live orders at which two commands in five cancel one; takers keep the book below that


INSTRUMENTS: Final = (
    Instrument(1, "ACME", decimals=2, tick=1, start=18_420, lot=100, weight=44, resting=900),
    Instrument(2, "ORBIT", decimals=2, tick=25, start=9_726, lot=5, weight=26, resting=600),
    Instrument(3, "FERN", decimals=4, tick=5, start=1_487, lot=1_000, weight=19, resting=450),
    Instrument(4, "KELP", decimals=3, tick=10, start=4_212, lot=50, weight=11, resting=300),
)

# Principals by number; 0 is the operator, who trades for nobody.
TRADERS: Final = ("", "alder", "birch", "cedar", "dogwood", "elm", "fir")
MAKERS: Final = (1, 2)
FUND: Final = 3
TAKER: Final = 4
PRIVATE: Final = (5, 6)

# Filled or cancelled orders that somebody may still try to cancel: the message that crosses the fill on the wire.
GONE_MAX: Final = 64
# The collar: how far from the opening price orders may be, and where the walk turns back before it gets there.
COLLAR_PERCENT: Final = 10
WALK_PERCENT: Final = 8


class Command(NamedTuple):
    """One command: the trader's number in TRADERS, the command's name, its positional values."""

    trader: int
    name: str
    values: tuple[Any, ...]


class Step(NamedTuple):
    """A command, and what an undisturbed exchange answers to it."""

    command: Command
    answer: Answer


class Flow:
    """The flow of one seed. `desk` is the exchange that it was made against, as the last step left it.

    `instruments`: the markets that it trades. `traders`: principals in the places of TRADERS; a firm that sends all of
    a flow stands in each of them. `orders`: the number before that of its first order.
    """

    def __init__(
        self,
        seed: int,
        instruments: Sequence[Instrument] = INSTRUMENTS,
        traders: Sequence[str] = TRADERS,
        orders: int = 0,
    ) -> None:
        self.desk = Desk()
        self.instruments = tuple(instruments)
        self.traders = tuple(traders)
        self._weights = sum(instrument.weight for instrument in instruments)
        self._random = rsm.Random.named("orderbook", seed)
        self._fair = {instrument.number: instrument.start for instrument in instruments}
        self._live: dict[int, list[tuple[int, int]]] = {instrument.number: [] for instrument in instruments}
        self._gone: deque[tuple[int, int]] = deque(maxlen=GONE_MAX)
        self._orders = orders
        self._burst: Instrument = instruments[0]
        self._burst_left = 0
        self._burst_side = BUY

    def steps(self, count: int) -> Iterator[Step]:
        """The first `count` commands of the day, in order."""
        # Lazily: each command depends on what became of the ones before.
        for command in islice(self._commands(count), count):
            answer = self.desk.run(self.traders[command.trader], command.name, command.values)
            if command.name == "place":
                self._note(command)
            yield Step(command, answer)

    def _note(self, command: Command) -> None:
        order_id, instrument = command.values[:2]
        if order_id in self.desk.book.orders:
            self._live[instrument].append((order_id, command.trader))

    def _commands(self, count: int) -> Iterator[Command]:
        for instrument in self.instruments:
            low, high = (
                instrument.start * percent // 100 * instrument.tick
                for percent in (100 - COLLAR_PERCENT, 100 + COLLAR_PERCENT)
            )
            yield Command(0, "list_instrument", (instrument.number, instrument.symbol, CLOSED))
            yield Command(0, "set_collar", (instrument.number, low, high))
            yield Command(0, "start_auction", (instrument.number,))
        for instrument in self.instruments:
            for _ in range(min(instrument.resting // 2, count // 40)):
                yield self._gather(instrument)
            yield Command(0, "uncross", (instrument.number,))
        while True:
            yield self._next()

    # What happens next

    def _next(self) -> Command:
        random = self._random
        instrument = self._pick()
        live = self._live[instrument.number]
        roll = random.below(1_000)
        # The fuller a book, the more is cancelled: in the long run as much leaves as enters.
        cancelled = min(400 * len(live) // instrument.resting, 700)
        if live and roll < cancelled:
            return self._cancel(instrument)
        if live and roll < cancelled + 90:
            return self._modify(instrument)
        # For one trader alone that would be the whole book.
        if not random.below(2_000) and len(set(self.traders)) > 1:
            return Command(random.choice(MAKERS), "mass_cancel", (instrument.number,))
        kind = random.below(1_000)
        if kind < 130 or (self._burst_left and kind < 330):
            return self._take(instrument)
        if kind > 984:
            return self._stop(instrument)
        return self._quote(instrument)

    def _pick(self) -> Instrument:
        """The market of the next command: one by its weight, or the one that a burst is in. Its fair price moves."""
        random = self._random
        if self._burst_left:
            self._burst_left -= 1
            instrument = self._burst
            if not random.below(6):
                self._move(instrument, 1 if self._burst_side == BUY else -1)
            return instrument
        draw = random.below(self._weights)
        for instrument in self.instruments:
            draw -= instrument.weight
            if draw < 0:
                break
        if not random.below(150):
            self._burst, self._burst_left, self._burst_side = instrument, random.between(20, 140), random.below(2)
        if not random.below(10):
            self._move(instrument, random.between(-1, 1))
        return instrument

    def _move(self, instrument: Instrument, ticks: int) -> None:
        fair = self._fair[instrument.number] + ticks
        far = instrument.start * WALK_PERCENT // 100
        self._fair[instrument.number] = max(instrument.start - far, min(instrument.start + far, fair))

    # Orders

    def _place(self, trader: int, instrument: Instrument, side: int, quantity: int, ticks: int, *terms: int) -> Command:
        """A new order at a price in ticks (0: at any price)."""
        self._orders += 1
        price = ticks * instrument.tick
        return Command(trader, "place", (self._orders, instrument.number, side, quantity, price, *terms))

    def _size(self, instrument: Instrument) -> int:
        """Mostly a few lots, now and then many."""
        random = self._random
        lots = 1 + min(random.below(16), random.below(16))
        return instrument.lot * (lots if random.below(25) else lots * 5)

    def _away(self, instrument: Instrument, side: int, ticks: int) -> int:
        """A price in ticks, so far on the passive side of the fair one, within the collar."""
        fair = self._fair[instrument.number] + (ticks if side == SELL else -ticks)
        far = instrument.start * COLLAR_PERCENT // 100 - 1
        return max(instrument.start - far, min(instrument.start + far, fair))

    def _distance(self) -> int:
        """How far from the fair price a quote goes, in ticks: most are near, few are far."""
        random = self._random
        near = 1 + min(random.below(30), random.below(30), random.below(60))
        return near if random.below(30) else near + random.below(60)

    def _gather(self, instrument: Instrument) -> Command:
        """An order for the opening auction: buyers and sellers overlap by a few ticks."""
        side = self._random.below(2)
        trader = self._random.between(1, len(TRADERS) - 1)
        ticks = self._away(instrument, side, self._distance() - 4)
        return self._place(trader, instrument, side, self._size(instrument), ticks)

    def _quote(self, instrument: Instrument) -> Command:
        """An order that means to rest."""
        random = self._random
        side = random.below(2)
        ticks = self._away(instrument, side, self._distance())
        who = random.below(100)
        if who < 74:
            flags = CANCEL_NEWEST | (0 if random.below(4) else POST_ONLY)
            return self._place(random.choice(MAKERS), instrument, side, self._size(instrument), ticks, flags)
        if who < 86:
            shown = instrument.lot * random.between(2, 6)
            return self._place(FUND, instrument, side, shown * random.between(3, 20), ticks, 0, shown)
        return self._place(random.choice(PRIVATE), instrument, side, self._size(instrument), ticks)

    def _take(self, instrument: Instrument) -> Command:
        """An order that means to trade: in a burst mostly on its side, and for more."""
        random = self._random
        side = random.below(2)
        quantity = self._size(instrument)
        if self._burst_left and random.below(5):
            side = self._burst_side
            quantity *= random.between(1, 2)
        who = random.below(100)
        trader = TAKER if who < 55 else FUND if who < 65 else random.choice(PRIVATE)
        if not random.below(8):
            return self._place(trader, instrument, side, quantity, MARKET)
        flags = IOC if random.below(12) else FOK
        return self._place(
            trader, instrument, side, quantity, self._away(instrument, side, -random.between(2, 7)), flags
        )

    def _stop(self, instrument: Instrument) -> Command:
        """A stop behind the market: it buys when the price has risen so far, or sells when it has fallen so far."""
        random = self._random
        side = random.below(2)
        trigger = self._away(instrument, 1 - side, -random.between(8, 60))
        limit = 0 if random.below(3) else self._away(instrument, 1 - side, -random.between(60, 80))
        trader = random.choice(PRIVATE)
        return self._place(trader, instrument, side, self._size(instrument), limit, 0, 0, trigger * instrument.tick)

    # Second thoughts

    def _live_order(self, instrument: Instrument) -> tuple[int, int] | None:
        """A live order of the market and its trader; what has gone meanwhile is struck off on the way."""
        live = self._live[instrument.number]
        orders = self.desk.book.orders
        while live:
            number = self._random.below(len(live))
            found = live[number]
            if found[0] in orders:
                return found
            live[number] = live[-1]
            live.pop()
            self._gone.append(found)
        return None

    def _cancel(self, instrument: Instrument) -> Command:
        found = self._live_order(instrument)
        if self._gone and (found is None or not self._random.below(40)):
            found = self._random.choice(self._gone)  # too late
        if found is None:
            return self._quote(instrument)
        order_id, trader = found
        return Command(trader, "cancel", (order_id,))

    def _modify(self, instrument: Instrument) -> Command:
        """Shrink an order where it stands, or follow the fair price with it."""
        found = self._live_order(instrument)
        order = None if found is None else self.desk.book.order(found[0])
        if found is None or order is None or order.trigger:
            return self._quote(instrument)
        order_id, trader = found
        quantity = order.quantity + order.hidden
        if not self._random.below(3):
            return Command(trader, "modify", (order_id, max(1, quantity // 2), order.price))
        price = self._away(instrument, order.side, self._distance()) * instrument.tick
        return Command(trader, "modify", (order_id, quantity, price))
