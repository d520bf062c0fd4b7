"""The exchange, version 1: prices as decimal strings. Released, so frozen: delete it as a whole, or leave it alone."""

from __future__ import annotations

import rsm
from demos.orderbook.keys import ASK, BID, PRICE_MAX, base_of, instrument_of, kind_of, level_of, price_of
from demos.orderbook.records import (
    CONTINUOUS,
    NOBODY,
    QUANTITY_MAX,
    Accepted,
    Cancelled,
    Market,
    Outcome,
    Reason,
    Record,
    Report,
    Tape,
    Traded,
)
from demos.orderbook.releases.terms import PriceText, to_price, to_ticks


class OrderV1(Record, frozen=True):
    """A resting order, with its price as people write it."""

    level: int
    position: int
    quantity: int
    owner: int
    price: str


class ExchangeV1(rsm.StateMachine, name="exchange", version=1, event=Report):
    """Limit orders, price then time."""

    orders: rsm.Map[int, OrderV1]
    levels: rsm.Table[int, rsm.Queue[int]]
    prices: rsm.SortedMap[int, None]
    markets: rsm.Map[int, Market]
    tapes: rsm.Map[int, Tape]
    symbols: rsm.Map[str, int]
    owners: rsm.Map[str, int]

    @rsm.command(version=1)
    def list_instrument(self, ctx: rsm.Context, instrument: int, symbol: str) -> Outcome:
        """Open a market."""
        if not 0 <= instrument < 65_536 or instrument in self.markets or symbol in self.symbols:
            ctx.reject("the instrument cannot be listed")
        self.markets[instrument] = Market(symbol, CONTINUOUS, False, 1, PRICE_MAX, 0)
        self.tapes[instrument] = Tape()
        self.symbols[symbol] = instrument
        return Outcome(Reason.NONE, 0, 0)

    @rsm.command(version=1)
    def place(
        self, ctx: rsm.Context, order_id: int, instrument: int, side: int, quantity: int, price: PriceText
    ) -> Outcome:
        """Enter a limit order; what does not trade at once rests."""
        return self._place(ctx, order_id, instrument, side, quantity, price)

    @rsm.command(version=1)
    def cancel(self, ctx: rsm.Context, order_id: int) -> Outcome:
        """Take out an order of the session's principal."""
        return self._cancel(ctx, order_id)

    @rsm.command(version=1)
    def replace(
        self,
        ctx: rsm.Context,
        order_id: int,
        new_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: PriceText,
    ) -> Outcome:
        """Take out one order and enter another: both, or neither."""
        self._cancel(ctx, order_id)
        return self._place(ctx, new_id, instrument, side, quantity, price)

    def _owner(self, ctx: rsm.Context) -> int:
        if not ctx.principal:
            return NOBODY
        owner = self.owners.get(ctx.principal)
        if owner is None:
            owner = self.owners[ctx.principal] = len(self.owners) + 1
        return owner

    def _cancel(self, ctx: rsm.Context, order_id: int) -> Outcome:
        order = self.orders.get(order_id)
        if order is None or order.owner != self._owner(ctx):
            ctx.reject("no such order")
        self._leave(order_id, order)
        level = order.level
        ctx.emit(
            Cancelled(
                order_id, instrument_of(level), kind_of(level), to_ticks(order.price), order.quantity, Reason.NONE
            )
        )
        return Outcome(Reason.NONE, 0, 0)

    def _place(self, ctx: rsm.Context, order_id: int, instrument: int, side: int, quantity: int, price: str) -> Outcome:
        ticks = to_ticks(price)
        if (
            instrument not in self.markets
            or order_id in self.orders
            or side not in (BID, ASK)
            or not 0 < quantity <= QUANTITY_MAX
            or ticks < 1
        ):
            ctx.reject("the order cannot enter")
        owner = self._owner(ctx)
        ctx.emit(Accepted(order_id, instrument, side, ticks, quantity))
        remaining = self._match(ctx, order_id, instrument, side, quantity, ticks)
        if remaining:
            level = level_of(instrument, side, ticks)
            self.prices[level] = None
            position = self.levels[level].push(order_id)
            self.orders[order_id] = OrderV1(level, position, remaining, owner, to_price(ticks))
        return Outcome(Reason.NONE, quantity - remaining, remaining)

    def _match(self, ctx: rsm.Context, order_id: int, instrument: int, side: int, quantity: int, ticks: int) -> int:
        """Trade with the other side, best first; returns what is left."""
        other = BID if side == ASK else ASK
        far, remaining = level_of(instrument, other, ticks), quantity
        while remaining:
            level = self.prices.ceiling(base_of(instrument, other))
            if level is None or level > far:
                break
            queue = self.levels[level]
            position = queue.first()
            if position is None:
                break
            maker_id = queue[position]
            maker = self.orders[maker_id]
            traded, price = min(remaining, maker.quantity), price_of(level)
            ctx.emit(Traded(instrument, price, traded, maker_id, order_id, side))
            remaining -= traded
            if traded == maker.quantity:
                self._leave(maker_id, maker)
            else:
                rest = maker.quantity - traded
                self.orders[maker_id] = OrderV1(level, position, rest, maker.owner, maker.price)
            tape = self.tapes[instrument]
            is_first = not tape.trades
            self.tapes[instrument] = Tape(
                last=price,
                last_quantity=traded,
                opening=price if is_first else tape.opening,
                high=price if is_first else max(tape.high, price),
                low=price if is_first else min(tape.low, price),
                volume=tape.volume + traded,
                trades=tape.trades + 1,
            )
        return remaining

    def _leave(self, order_id: int, order: OrderV1) -> None:
        del self.orders[order_id]
        self.levels[order.level].remove(order.position)
        if order.level not in self.levels:
            del self.prices[order.level]

    @rsm.query
    def depth(self, instrument: int, side: int, levels_max: int = 10) -> list[tuple[int, int, int]]:
        """(price in ticks, quantity, orders) of the best levels of a side."""
        found: list[tuple[int, int, int]] = []
        for level in self.prices.range(base_of(instrument, side), base_of(instrument, side + 1)):
            if len(found) == levels_max:
                break
            ids = list(self.levels[level])
            found.append((price_of(level), sum(self.orders[order_id].quantity for order_id in ids), len(ids)))
        return found

    @rsm.query
    def statistics(self, instrument: int) -> Tape | None:
        """What has been traded in an instrument."""
        return self.tapes.get(instrument)
