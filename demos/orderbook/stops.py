"""Stops: orders that wait until the market has traded at their trigger.

A buy stop waits for a last trade at its trigger or above, a sell stop at its trigger or below. They lie in the same
containers as other orders, under keys of their own kind, the next to be reached first. After every command that
traded, in a continuous market, stops are elected one at a time, in an order that depends on state alone:

1. buy stops before sell stops;
2. of these, the trigger that the market reached first (lowest for buys, highest for sells);
3. of these, the one that entered first.

An elected stop runs to its end (it may trade, and so move the last price) before the next is looked for: a cascade ends
within the command that set it off, since every step uses up one stop.
"""

from __future__ import annotations

from demos.orderbook.keys import (
    BUY_STOP,
    MIRROR,
    SELL_STOP,
    base_of,
    kind_of,
)
from demos.orderbook.matching import Matching, Sink
from demos.orderbook.records import BUY, CONTINUOUS, FOK, MARKET, Cancelled, Reason, Triggered


class Stops(Matching):
    """Electing stops."""

    __slots__ = ()

    def _elect(self, sink: Sink, instrument: int) -> None:
        """Run every stop that the last trade has reached, if the market is continuous."""
        if self.markets[instrument].phase != CONTINUOUS:
            return
        while (level := self._reached(instrument)) is not None:
            self._activate(sink, instrument, level)

    def _reached(self, instrument: int) -> int | None:
        """The level of the next stop to elect, or None."""
        tape = self.tapes[instrument]
        if not tape.stops or not tape.last:
            return None
        base = base_of(instrument, BUY_STOP)
        level = self.prices.ceiling(base)
        if level is not None and level <= base + tape.last:
            return level
        base = base_of(instrument, SELL_STOP)
        level = self.prices.ceiling(base)
        if level is not None and level <= base + MIRROR - tape.last:
            return level
        return None

    def _activate(self, sink: Sink, instrument: int, level: int) -> None:
        """Turn the first stop of a level into an order, and match it."""
        queue = self.levels[level]
        order_id = queue[queue.first()]
        order = self.orders[order_id]
        self._leave(level, order.position)
        self._count_stop(instrument, -1)
        side, price, quantity = kind_of(level) & 1, order.limit, order.quantity
        sink(Triggered(order_id, instrument, side, price, quantity))
        market = self.markets[instrument]
        limit = price
        reason = Reason.NONE
        if price == MARKET:
            limit = market.collar_high if side == BUY else market.collar_low
        elif not market.collar_low <= price <= market.collar_high:
            # The collar has moved while it waited.
            reason = Reason.OUTSIDE_COLLAR
        if order.flags & FOK and not self._fillable(instrument, side, limit, quantity, order.owner, order.flags):
            reason = reason or Reason.NOT_FILLABLE
        if reason:
            self._forget(order_id, order)
            sink(Cancelled(order_id, instrument, side, price, quantity, reason))
            return
        outcome = self._enter(
            sink,
            order_id,
            instrument,
            side,
            quantity,
            price,
            limit,
            order.owner,
            order.slot,
            order.flags,
            order.display,
        )
        if not outcome.resting:
            self._forget(order_id, order)
