"""Call auctions: orders gather without matching, then trade together at one price.

The price is one that an order names, or the reference. Of these the uncross chooses

1. the one at which most can trade: the smaller of what would buy there or higher, and sell there or lower;
2. of several, the one that leaves least unmatched (the smallest surplus, whichever side it is on);
3. of several, the one nearest to the reference. There are never two of these: where prices on both sides of the
   reference are as good, demand and supply, which only fall and only rise, make the reference at least as good.

The reference is the one set for the market; else the last trade's price; else the middle of best bid and best ask, or
the one there is. With none of these, and so no priced order at all, nothing trades. Hidden quantity counts in full.
Market orders stand ahead of all prices; what is left of them is cancelled. No price trades more than the chosen one, so
the book is not crossed afterwards.

Within the uncross, price then time priority pairs buyers and sellers (an iceberg shows its slices one by one, each
behind those that wait); nobody takes, so self-trade prevention and post-only say nothing there: a trade with oneself
in an auction moves no price.
"""

from __future__ import annotations

from collections.abc import Sequence

from demos.orderbook.keys import ASK, BID, MIRROR, base_of, price_of
from demos.orderbook.matching import Sink
from demos.orderbook.records import MARKET, Order, Reason, Traded, Uncrossed
from demos.orderbook.stops import Stops

Ladder = Sequence[tuple[int, int]]


def clearing(bids: Ladder, asks: Ladder, reference: int) -> tuple[int, int, int] | None:
    """The auction's (price, volume, surplus), or None if nothing can trade.

    `bids` and `asks` are (price, quantity) pairs in any order, market orders at price MARKET; `reference` is a price. A
    surplus > 0 is demand that stays unmatched.
    """
    demand = sum(quantity for _, quantity in bids)
    supply = 0
    leaving = sorted(((price, quantity) for price, quantity in bids if price != MARKET), reverse=True)
    coming = sorted(asks, reverse=True)
    best = (0, 0, 0, 0, 0)
    for price in sorted({reference, *(price for price, _ in (*bids, *asks) if price != MARKET)}):
        while leaving and leaving[-1][0] < price:
            demand -= leaving.pop()[1]
        while coming and coming[-1][0] <= price:
            supply += coming.pop()[1]
        surplus = demand - supply
        best = max(best, (min(demand, supply), -abs(surplus), -abs(price - reference), price, surplus))
    volume, _, _, price, surplus = best
    return (price, volume, surplus) if volume else None


class Auctions(Stops):
    """Gathering ladders, and executing at one price."""

    __slots__ = ()

    def _uncross(self, sink: Sink, instrument: int) -> None:
        """Trade all that can trade at the clearing price, cancel what is left of market orders, report the result."""
        reference = self._reference(instrument)
        found = None
        if reference:
            found = clearing(self._ladder(instrument, BID), self._ladder(instrument, ASK), reference)
        if found is None:
            sink(Uncrossed(instrument, 0, 0, 0))
        else:
            price, volume, surplus = found
            sink(Uncrossed(instrument, price, volume, surplus))
            self._execute(sink, instrument, price, volume)
        for kind in (BID, ASK):
            level = base_of(instrument, kind)
            for order_id in list(self.levels.get(level) or ()):
                self._remove(sink, order_id, self.orders[order_id], Reason.UNFILLED)

    def _reference(self, instrument: int) -> int:
        reference = self.markets[instrument].reference or self.tapes[instrument].last
        if reference:
            return reference
        # The level of market orders is the base itself: the priced ones begin one above.
        touch = [
            price_of(level)
            for base in (base_of(instrument, BID), base_of(instrument, ASK))
            for level in self._levels_from(base + 1, 1)
        ]
        return sum(touch) // len(touch) if touch else 0

    def _levels_from(self, start: int, count_max: int) -> list[int]:
        """At most `count_max` levels of one side, from a key on, best first."""
        found: list[int] = []
        for level in self.prices.range(start, (start | MIRROR) + 1):
            if len(found) == count_max:
                break
            found.append(level)
        return found

    def _ladder(self, instrument: int, kind: int) -> list[tuple[int, int]]:
        """(price, quantity with what is hidden) of every level of a side, best first."""
        base = base_of(instrument, kind)
        ladder = []
        for level in self.prices.range(base, base_of(instrument, kind + 1)):
            orders = [self.orders[order_id] for order_id in self.levels[level]]
            ladder.append((price_of(level), sum(order.quantity + order.hidden for order in orders)))
        return ladder

    def _execute(self, sink: Sink, instrument: int, price: int, volume: int) -> None:
        remaining, trades, quantity = volume, 0, 0
        while remaining:
            (buy_id, buy), (sell_id, sell) = self._head(instrument, BID), self._head(instrument, ASK)
            quantity = min(buy.quantity, sell.quantity, remaining)
            sink(Traded(instrument, price, quantity, buy_id, sell_id, ASK))
            self._fill(buy_id, buy, quantity)
            self._fill(sell_id, sell, quantity)
            remaining -= quantity
            trades += 1
        self._print(instrument, price, price, quantity, volume, trades)

    def _head(self, instrument: int, kind: int) -> tuple[int, Order]:
        """The first order of the best level; only called while the uncross has volume left, so there is one."""
        level = self.prices.ceiling(base_of(instrument, kind))
        if level is None:
            raise LookupError(f"instrument {instrument}: the book ended before the volume of its uncross")
        queue = self.levels[level]
        order_id = queue[queue.first()]
        return order_id, self.orders[order_id]

    def _fill(self, order_id: int, order: Order, quantity: int) -> None:
        if quantity == order.quantity:
            self._used_up(order_id, order, self.levels[order.level])
            return
        self.orders[order_id] = Order(
            order.level,
            order.position,
            order.quantity - quantity,
            order.owner,
            order.slot,
            order.flags,
            order.hidden,
            order.display,
            0,
        )
