"""A seeded flow of orders for a book of any depth: arrivals, cancellations, modifications and executions.

Many instruments and traders. Passive orders join at a distance from the touch that falls off exponentially, aggressive
ones cross the spread, cancellations and modifications pick any live order. The flow holds the number of resting orders
near a target, so that the cost of a command can be measured at that depth. It looks at the plain book it is given to
know what is live; equal seeds and equal histories give equal commands.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from demos.orderbook.book import Book
from demos.orderbook.records import BUY, IOC, SELL

INSTRUMENTS = 16
TRADERS = 8
FAIR_TICKS = 100_000
DISTANCE_TICKS = 200.0  # the mean
QUANTITY_MAX = 100

PLACE, CANCEL, MODIFY = "place", "cancel", "modify"
# Shares of a flow in balance: what arrives and rests equals what is cancelled or traded away.
SHARE_AGGRESSIVE = 0.12
SHARE_MODIFIED = 0.09
SHARE_ARRIVING = 0.44


class Command(NamedTuple):
    """One command of a trader (from 0). `values` are the machine's, by position."""

    trader: int
    name: str
    values: tuple[int, ...]


class Flow:
    """Commands for a book that they are run on, in order, between calls."""

    def __init__(self, seed: int, book: Book) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._book = book
        self._order_id = 0
        # Not a list: the book's own integers should not be shared with it when memory is measured.
        self._live = array("q")
        self._fresh = array("q")  # placed by commands that have not run yet

    def grow(self, count: int) -> Iterator[Command]:
        """That many orders that rest, near a fixed price. Can be had again, equal, until `grown` is called."""
        source = random.Random(f"{self._seed} {self._order_id}")
        for order_id in range(self._order_id + 1, self._order_id + count + 1):
            side = source.randrange(2)
            distance = 1 + int(source.expovariate(1 / DISTANCE_TICKS))
            price = FAIR_TICKS + distance if side == SELL else FAIR_TICKS - distance
            quantity = source.randint(1, QUANTITY_MAX)
            yield place(order_id, source.randrange(INSTRUMENTS), side, quantity, price)

    def grown(self, count: int) -> None:
        """Those orders have been placed."""
        self._live.extend(range(self._order_id + 1, self._order_id + count + 1))
        self._order_id += count

    def commands(self, count: int, resting: int) -> list[Command]:
        """The next commands, which keep about so many orders resting."""
        pick = self._random.random
        self._live.extend(self._fresh)
        del self._fresh[:]
        touches = [self._touch(instrument) for instrument in range(INSTRUMENTS)]
        lacking = (resting - len(self._book.orders)) / count
        arriving = SHARE_ARRIVING + max(-0.2, min(0.2, lacking / 2))
        made = []
        for _ in range(count):
            kind = pick()
            if kind < SHARE_AGGRESSIVE:
                made.append(self._take(touches))
            elif kind < SHARE_AGGRESSIVE + arriving:
                made.append(self._arrive(touches))
            elif kind < SHARE_AGGRESSIVE + arriving + SHARE_MODIFIED:
                made.append(self._modify())
            else:
                order_id = self._find(keep=False)
                made.append(Command(order_id % TRADERS, CANCEL, (order_id,)))
        return made

    def _touch(self, instrument: int) -> tuple[int, int]:
        bid, ask = self._book.best(instrument)
        return bid or FAIR_TICKS - 1, ask or FAIR_TICKS + 1

    def _arrive(self, touches: list[tuple[int, int]]) -> Command:
        source = self._random
        self._order_id += 1
        self._fresh.append(self._order_id)
        side, instrument = source.randrange(2), source.randrange(INSTRUMENTS)
        bid, ask = touches[instrument]
        distance = int(source.expovariate(1 / DISTANCE_TICKS))
        price = bid + 1 + distance if side == SELL else ask - 1 - distance
        return place(self._order_id, instrument, side, source.randint(1, QUANTITY_MAX), price)

    def _take(self, touches: list[tuple[int, int]]) -> Command:
        source = self._random
        self._order_id += 1
        side, instrument = source.randrange(2), source.randrange(INSTRUMENTS)
        bid, ask = touches[instrument]
        price = ask + source.randrange(8) if side == BUY else bid - source.randrange(8)
        return place(self._order_id, instrument, side, source.randint(1, QUANTITY_MAX), price, IOC)

    def _modify(self) -> Command:
        """Shrink an order in its place, or move it a few ticks away from the market."""
        order_id = self._find(keep=True)
        order = self._book.order(order_id)
        if order is None:
            return Command(order_id % TRADERS, MODIFY, (order_id, 1, FAIR_TICKS))
        if order_id & 1 and order.quantity > 1:
            return Command(order_id % TRADERS, MODIFY, (order_id, order.quantity - 1, order.price))
        away = self._random.randint(1, 8)
        price = max(1, order.price - away) if order.side == BUY else order.price + away
        return Command(order_id % TRADERS, MODIFY, (order_id, order.quantity, price))

    def _find(self, *, keep: bool) -> int:
        """A live order, or one that has just gone: a fill and a cancellation may cross on their way."""
        live, orders = self._live, self._book.orders
        while live:
            number = self._random.randrange(len(live))
            order_id = live[number]
            if keep and order_id in orders:
                return order_id
            live[number] = live[-1]
            live.pop()
            if order_id in orders:
                return order_id
        return 0


def place(order_id: int, instrument: int, side: int, quantity: int, price: int, flags: int = 0) -> Command:
    """An order of the trader that its number belongs to."""
    return Command(order_id % TRADERS, PLACE, (order_id, instrument, side, quantity, price, flags))
