"""What the market may see of the book: resting orders with the quantity they show, and the levels that they make.

A `Shown` is a function of the machine's state, so whoever reads the state at an index sees the same as whoever followed
the log up to there. Stops that wait are not shown. Of an iceberg, the tip is `shown` and the rest `hidden`; market
orders, which rest only in an auction, have no price to be shown at.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from demos.orderbook.records import BUY, MARKET, Market, OpenOrder


class Shown(NamedTuple):
    """A resting order: `shown` to the market now, `hidden` behind it, to come in slices of `display`."""

    instrument: int
    side: int
    price: int
    shown: int
    hidden: int
    display: int


class BookView(Protocol):
    """What the face asks of the machine that it observes, and of any other host of the same book."""

    def order(self, order_id: int, /) -> OpenOrder | None: ...
    def market(self, instrument: int, /) -> Market | None: ...


def shown_of(order: OpenOrder | None) -> Shown | None:
    """How an order of the machine stands in the market; None if it does not."""
    if order is None or order.trigger:
        return None
    return Shown(order.instrument, order.side, order.price, order.quantity, order.hidden, order.display)


class Side:
    """The levels of one side of one market: quantities by price, and the prices in order."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.quantities: dict[int, int] = {}
        self._prices: list[int] = []

    def change(self, price: int, quantity: int) -> None:
        """Let a level show so much more, or less."""
        before = self.quantities.get(price, 0)
        after = before + quantity
        if after < 0:
            raise ValueError(f"level {price} of side {self.side} would show {after}")
        if not before and after:
            insort(self._prices, price)
        if after:
            self.quantities[price] = after
        elif before:
            del self.quantities[price]
            del self._prices[bisect_left(self._prices, price)]

    def best(self, levels_max: int) -> list[tuple[int, int]]:
        """(price, quantity) of the best levels, best first."""
        prices = self._prices[-levels_max:][::-1] if self.side == BUY else self._prices[:levels_max]
        quantities = self.quantities
        return [(price, quantities[price]) for price in prices]

    def __len__(self) -> int:
        return len(self._prices)


class RestingBook:
    """Every order that the market may see, by id, and the levels of every market.

    `settle` moves it from one index of the log to the next; it returns the markets whose levels have changed.
    """

    def __init__(self) -> None:
        self.orders: dict[int, Shown] = {}
        self.sides: dict[tuple[int, int], Side] = {}

    def side(self, instrument: int, side: int) -> Side:
        """The levels of a side, empty ones of a market not seen before."""
        found = self.sides.get((instrument, side))
        if found is None:
            found = self.sides[instrument, side] = Side(side)
        return found

    def load(self, machine: Any, instruments: Iterable[int]) -> None:
        """Begin with the state of a machine."""
        self.orders.clear()
        self.sides.clear()
        for order_id, order in resting_orders(machine, instruments):
            self.settle([(order_id, order)])

    def settle(self, changes: Iterable[tuple[int, Shown | None]]) -> set[int]:
        """Put orders where they stand now; None: the market sees it no more."""
        touched = set()
        for order_id, after in changes:
            before = self.orders.get(order_id)
            if before == after:
                continue
            for order, sign in ((before, -1), (after, 1)):
                if order is not None and order.price != MARKET:
                    self.side(order.instrument, order.side).change(order.price, sign * order.shown)
                    touched.add(order.instrument)
            if after is None:
                del self.orders[order_id]
            else:
                self.orders[order_id] = after
        return touched


def resting_orders(machine: Any, instruments: Iterable[int]) -> Iterator[tuple[int, Shown]]:
    """(order id, how it stands) of every resting order: by market and side, best price first, then first come."""
    for instrument in instruments:
        for side in (0, 1):
            for order_id, _, _ in machine.resting(instrument, side):
                order = shown_of(machine.order(order_id))
                if order is not None:
                    yield order_id, order
