"""The order book: commands and queries of an exchange's matching core, in plain integers.

**State.** `Book` is given its containers and keeps nothing else, so the same code runs on plain dicts
(`plain.new_book()`) and on containers that track, hash and replicate. It reads no clock, draws no random number and
iterates nothing in insertion order: equal commands give equal state and equal reports.

**Commands** check everything first. A command that is refused has changed nothing, reports `Refused` and answers with
the reason; nothing is raised for business reasons. Reports go, in the order in which things happened, to `sink`: a
callable that takes one report (`list.append` will do).

**Order ids** are chosen by the caller, any 64-bit integer, one name space for the whole book; an id may be used again
once its order is no longer live. An exchange lets the sequencer assign them, or joins a session number and the
session's own counter. Cancelling or modifying somebody else's order is answered as if there were none.

**Price and time.** Best price first, then first come; trades happen at the maker's price. Modifying loses the place
in the queue when the price changes or the quantity grows, and keeps it when the quantity shrinks; an instrument
listed with `requeue=True` gives it up at every modification. A new slice of an iceberg goes behind the orders that
wait at its price.

**Collars** bound the prices that orders may name when they enter; market orders trade no further than they reach.
Orders that rest when a collar moves stay.
"""

from __future__ import annotations

from demos.orderbook.checks import DONE, modification_misfit, order_misfit, refuse
from demos.orderbook.keys import (
    ASK,
    BID,
    BUY_STOP,
    base_of,
    instrument_of,
    kind_of,
    level_of,
    price_of,
)
from demos.orderbook.markets import Markets
from demos.orderbook.matching import Sink
from demos.orderbook.records import (
    AUCTION,
    CANCEL_BOTH,
    FOK,
    IOC,
    MARKET,
    MASS_CANCEL_ORDERS_MAX,
    NOBODY,
    POST_ONLY,
    QUANTITY_MAX,
    SELL,
    Accepted,
    Market,
    Modified,
    OpenOrder,
    Operation,
    Order,
    Outcome,
    Reason,
    Refused,
    Tape,
)

# Flags that the short way in handles: their effect is in the matching itself.
FLAGS_SIMPLE = IOC | CANCEL_BOTH
FLAGS_OTHER = ~FLAGS_SIMPLE
OPERATION_PLACE, OPERATION_CANCEL, OPERATION_MODIFY = Operation.PLACE, Operation.CANCEL, Operation.MODIFY
UNKNOWN_ORDER = Reason.UNKNOWN_ORDER
NONE = Reason.NONE


class Book(Markets):
    """An order book of many instruments; see the module for its rules."""

    __slots__ = ()

    # Orders

    def place(
        self,
        sink: Sink,
        order_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: int,
        owner: int = NOBODY,
        flags: int = 0,
        display: int = 0,
        trigger: int = 0,
    ) -> Outcome:
        """Enter an order: a limit order at `price`, or a market order (price MARKET).

        `flags`: IOC, FOK, POST_ONLY, CANCEL_NEWEST, CANCEL_OLDEST (or CANCEL_BOTH). `display` > 0: an iceberg that
        shows so much at a time. `trigger` > 0: a stop (with a price, a stop-limit) that waits for a trade at its
        trigger, and is elected at once if the last trade was there.
        """
        market = self.markets.get(instrument)
        if (
            market is None
            or order_id in self.orders
            or not market.collar_low <= price <= market.collar_high
            or not 0 < quantity <= QUANTITY_MAX
            or side >> 1
            or owner < 0
            or flags & FLAGS_OTHER
            or display
            or trigger
            or market.phase
        ):
            return self._place_other(
                sink, market, order_id, instrument, side, quantity, price, owner, flags, display, trigger
            )
        sink(Accepted(order_id, instrument, side, price, quantity))
        outcome = self._enter(sink, order_id, instrument, side, quantity, price, price, owner, -1, flags, 0)
        if outcome.filled and self.tapes[instrument].stops:
            self._elect(sink, instrument)
        return outcome

    def _place_other(
        self,
        sink: Sink,
        market: Market | None,
        order_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: int,
        owner: int,
        flags: int,
        display: int,
        trigger: int,
    ) -> Outcome:
        """The long way in: orders with terms, markets that are not continuous, and refusals."""
        if market is None:
            return refuse(sink, order_id, OPERATION_PLACE, Reason.UNKNOWN_INSTRUMENT)
        if order_id in self.orders:
            return refuse(sink, order_id, OPERATION_PLACE, Reason.DUPLICATE_ORDER)
        reason = order_misfit(market, side, quantity, price, owner, flags, display, trigger)
        if reason:
            return refuse(sink, order_id, OPERATION_PLACE, reason)
        if trigger:
            sink(Accepted(order_id, instrument, side, price, quantity))
            level = level_of(instrument, BUY_STOP + side, trigger)
            self._rest(order_id, level, quantity, owner, -1, flags, display, price)
            self._count_stop(instrument, 1)
            self._elect(sink, instrument)
            return Outcome(NONE, 0, quantity)
        if market.phase == AUCTION:
            sink(Accepted(order_id, instrument, side, price, quantity))
            self._rest(order_id, level_of(instrument, side, price), quantity, owner, -1, flags, display)
            return Outcome(NONE, 0, quantity)
        limit = price
        if price == MARKET:
            limit = market.collar_low if side else market.collar_high
        if flags & POST_ONLY and self._crosses(instrument, side, limit):
            return refuse(sink, order_id, OPERATION_PLACE, Reason.WOULD_TAKE)
        if flags & FOK and not self._fillable(instrument, side, limit, quantity, owner, flags):
            return refuse(sink, order_id, OPERATION_PLACE, Reason.NOT_FILLABLE)
        sink(Accepted(order_id, instrument, side, price, quantity))
        outcome = self._enter(sink, order_id, instrument, side, quantity, price, limit, owner, -1, flags, display)
        if outcome.filled:
            self._elect(sink, instrument)
        return outcome

    def cancel(self, sink: Sink, order_id: int, owner: int = NOBODY) -> Outcome:
        """Take out an order of this owner, resting or a stop that waits; allowed in every phase."""
        order = self.orders.get(order_id)
        if order is None or order.owner != owner:
            sink(Refused(order_id, OPERATION_CANCEL, UNKNOWN_ORDER))
            return Outcome(UNKNOWN_ORDER, 0, 0)
        self._remove(sink, order_id, order, NONE)
        return DONE

    def modify(self, sink: Sink, order_id: int, quantity: int, price: int, owner: int = NOBODY) -> Outcome:
        """Give a resting order of this owner a new price and open quantity (hidden included); it may trade at once.

        It keeps its flags and its owner. Market orders that wait in an auction keep their want of a price.
        """
        order = self.orders.get(order_id)
        if order is None or order.owner != owner:
            return refuse(sink, order_id, OPERATION_MODIFY, UNKNOWN_ORDER)
        level = order.level
        side = kind_of(level)
        if side > ASK:
            return refuse(sink, order_id, OPERATION_MODIFY, Reason.STOP_PENDING)
        instrument = instrument_of(level)
        market = self.markets[instrument]
        reason = modification_misfit(market, order, quantity, price)
        if order.flags & POST_ONLY and not market.phase and self._crosses(instrument, side, price):
            reason = reason or Reason.WOULD_TAKE
        if reason:
            return refuse(sink, order_id, OPERATION_MODIFY, reason)
        sink(Modified(order_id, instrument, side, price, quantity))
        total = order.quantity + order.hidden
        target = level_of(instrument, side, price)
        if target == level and quantity <= total and not market.requeue:
            hidden = max(0, order.hidden - (total - quantity))
            self.orders[order_id] = Order(
                level,
                order.position,
                quantity - hidden,
                owner,
                order.slot,
                order.flags,
                hidden,
                order.display,
                0,
            )
            return Outcome(NONE, 0, quantity)
        self._leave(level, order.position)
        if market.phase == AUCTION:
            self._rest(order_id, target, quantity, owner, order.slot, order.flags, order.display)
            return Outcome(NONE, 0, quantity)
        outcome = self._enter(
            sink, order_id, instrument, side, quantity, price, price, owner, order.slot, order.flags, order.display
        )
        if not outcome.resting:
            self._forget(order_id, order)
        if outcome.filled and self.tapes[instrument].stops:
            self._elect(sink, instrument)
        return outcome

    def mass_cancel(
        self, sink: Sink, owner: int, instrument: int | None = None, orders_max: int = MASS_CANCEL_ORDERS_MAX
    ) -> int:
        """Take out the orders of an owner, or those in one instrument, oldest first; returns how many.

        At most `orders_max` at a time: there may be more if it returns that many. NOBODY's orders are in no index: none
        are found.
        """
        count = 0
        for order_id in list(self.owned.get(owner) or ()):
            if count == orders_max:
                break
            order = self.orders[order_id]
            if instrument is None or instrument_of(order.level) == instrument:
                self._remove(sink, order_id, order, Reason.MASS_CANCEL)
                count += 1
        return count

    # Queries

    def instrument(self, symbol: str) -> int | None:
        """The number of a symbol, or None."""
        return self.symbols.get(symbol)

    def best(self, instrument: int) -> tuple[int | None, int | None]:
        """The best bid and the best ask, None where there is none; market orders in an auction do not count."""
        bid, ask = (
            next((price_of(level) for level in self._levels_from(base_of(instrument, kind) + 1, 1)), None)
            for kind in (BID, ASK)
        )
        return bid, ask

    def depth(self, instrument: int, side: int, levels_max: int) -> list[tuple[int, int, int]]:
        """(price, displayed quantity, orders) of the best levels of a side, best first.

        In an auction market orders come first, at price MARKET.
        """
        found = []
        for level in self._levels_from(base_of(instrument, side), levels_max):
            queue = self.levels[level]
            quantity = sum(self.orders[order_id].quantity for order_id in queue)
            found.append((price_of(level), quantity, len(queue)))
        return found

    def order(self, order_id: int) -> OpenOrder | None:
        """A live order in full, or None."""
        order = self.orders.get(order_id)
        if order is None:
            return None
        kind, price = kind_of(order.level), price_of(order.level)
        trigger = 0
        if kind > ASK:
            price, trigger = order.limit, price
        return OpenOrder(
            order_id,
            instrument_of(order.level),
            kind & SELL,
            price,
            order.quantity,
            order.hidden,
            order.owner,
            order.flags,
            order.display,
            trigger,
        )

    def open_orders(self, owner: int) -> list[OpenOrder]:
        """The live orders of an owner, oldest first; none for NOBODY."""
        found = (self.order(order_id) for order_id in self.owned.get(owner) or ())
        return [order for order in found if order is not None]

    def market(self, instrument: int) -> Market | None:
        """Symbol, phase, collar and reference of an instrument, or None."""
        return self.markets.get(instrument)

    def statistics(self, instrument: int) -> Tape | None:
        """What has been traded in an instrument, or None."""
        return self.tapes.get(instrument)
