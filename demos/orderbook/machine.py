"""The order book as a replicated machine: a thin adapter between the log and `demos.orderbook.book`.

A trader is whoever the session says it is (`ctx.principal`); the machine gives every principal an owner number on first
use. Sessions without a principal trade for NOBODY. Reports are the machine's events: every command to place, cancel or
modify emits at least one. A refused order is an outcome with a reason, not a rejection: it has its place in the report
stream, and in the trader's numbering where the trader numbers its commands (see `numbered`).
"""

from __future__ import annotations

from collections.abc import Iterator

import rsm
from demos.orderbook.book import Book
from demos.orderbook.keys import PRICE_MAX, base_of, price_of
from demos.orderbook.numbered import Numbered
from demos.orderbook.records import (
    CONTINUOUS,
    MASS_CANCEL_ORDERS_MAX,
    NOBODY,
    Market,
    OpenOrder,
    Order,
    Outcome,
    Report,
    Tape,
)


class OrderBook(Numbered, name="orderbook", version=1, event=Report):
    """An exchange's matching core of many instruments."""

    orders: rsm.Map[int, Order]
    levels: rsm.Table[int, rsm.Queue[int]]
    prices: rsm.SortedMap[int, None]
    owned: rsm.Table[int, rsm.Queue[int]]
    markets: rsm.Map[int, Market]
    tapes: rsm.Map[int, Tape]
    symbols: rsm.Map[str, int]
    owners: rsm.Map[str, int]
    on_disconnect: rsm.Map[int, int]

    def setup(self) -> None:
        self.book = Book(
            orders=self.orders,
            levels=self.levels,
            prices=self.prices,
            owned=self.owned,
            markets=self.markets,
            tapes=self.tapes,
            symbols=self.symbols,
        )

    def _owner(self, ctx: rsm.Context) -> int:
        principal = ctx.principal
        if not principal:
            return NOBODY
        owner = self.owners.get(principal)
        if owner is None:
            owner = self.owners[principal] = len(self.owners) + 1
        return owner

    # --- traders ------------------------------------------------------------------------------------------------------

    @rsm.command(version=1)
    def place(
        self,
        ctx: rsm.Context,
        order_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: int,
        flags: int = 0,
        display: int = 0,
        trigger: int = 0,
        number: int = 0,
    ) -> Outcome:
        """Enter an order; see `Book.place` for its terms."""
        self.take_number(ctx, number)
        owner = self._owner(ctx)
        return self.book.place(ctx.emit, order_id, instrument, side, quantity, price, owner, flags, display, trigger)

    @rsm.command(version=1)
    def cancel(self, ctx: rsm.Context, order_id: int, number: int = 0) -> Outcome:
        """Take out one order of the session's principal."""
        self.take_number(ctx, number)
        return self.book.cancel(ctx.emit, order_id, self._owner(ctx))

    @rsm.command(version=1)
    def modify(self, ctx: rsm.Context, order_id: int, quantity: int, price: int, number: int = 0) -> Outcome:
        """Give a resting order another price and open quantity."""
        self.take_number(ctx, number)
        return self.book.modify(ctx.emit, order_id, quantity, price, self._owner(ctx))

    @rsm.command(version=1)
    def mass_cancel(self, ctx: rsm.Context, instrument: int | None = None, number: int = 0) -> int:
        """Take out orders of the session's principal, or those in one instrument, oldest first; returns how many.

        At most `MASS_CANCEL_ORDERS_MAX`: send it again if it returns that many.
        """
        self.take_number(ctx, number)
        return self.book.mass_cancel(ctx.emit, self._owner(ctx), instrument)

    @rsm.command(version=1)
    def cancel_on_disconnect(self, ctx: rsm.Context, enabled: bool = True) -> None:
        """Have the principal's orders cancelled when this session ends, however it ends."""
        if not enabled:
            self.on_disconnect.pop(ctx.session, None)
        elif not ctx.principal:
            ctx.reject("a session without a principal owns no orders")
        else:
            self.on_disconnect[ctx.session] = self._owner(ctx)

    @rsm.on_session_end
    def disconnected(self, ctx: rsm.Context) -> None:
        """Cancel the orders of a trader who asked for that."""
        owner = self.on_disconnect.pop(ctx.session, None)
        if owner is not None:
            self._sweep(ctx, owner)

    def _sweep(self, ctx: rsm.Context, owner: int) -> None:
        """Cancel a slice of an owner's orders, the next with the next entry: nobody waits for all."""
        if self.book.mass_cancel(ctx.emit, owner) == MASS_CANCEL_ORDERS_MAX:
            ctx.schedule(ctx.now, OrderBook.sweep, owner)

    @rsm.command(version=1)
    def sweep(self, ctx: rsm.Context, owner: int) -> None:
        """Go on cancelling the orders of a trader who has disconnected; timers only."""
        if ctx.session:
            ctx.reject("only the machine's own timers sweep")
        self._sweep(ctx, owner)

    # --- operators ----------------------------------------------------------------------------------------------------

    @rsm.command(version=1)
    def list_instrument(
        self, ctx: rsm.Context, instrument: int, symbol: str, phase: int = CONTINUOUS, requeue: bool = False
    ) -> Outcome:
        """Open a market."""
        return self.book.list_instrument(ctx.emit, instrument, symbol, phase=phase, requeue=requeue)

    @rsm.command(version=1)
    def set_collar(self, ctx: rsm.Context, instrument: int, low: int = 1, high: int = PRICE_MAX) -> Outcome:
        """Bound the prices that orders may name; without values, lift the bounds."""
        return self.book.set_collar(ctx.emit, instrument, low, high)

    @rsm.command(version=1)
    def set_reference(self, ctx: rsm.Context, instrument: int, price: int) -> Outcome:
        """Set the reference price of auctions."""
        return self.book.set_reference(ctx.emit, instrument, price)

    @rsm.command(version=1)
    def halt(self, ctx: rsm.Context, instrument: int) -> Outcome:
        """Stop trading; orders can only be cancelled."""
        return self.book.halt(ctx.emit, instrument)

    @rsm.command(version=1)
    def resume(self, ctx: rsm.Context, instrument: int) -> Outcome:
        """Go on in the phase that was halted."""
        return self.book.resume(ctx.emit, instrument)

    @rsm.command(version=1)
    def start_auction(self, ctx: rsm.Context, instrument: int) -> Outcome:
        """Gather orders without matching."""
        return self.book.start_auction(ctx.emit, instrument)

    @rsm.command(version=1)
    def uncross(self, ctx: rsm.Context, instrument: int, phase: int = CONTINUOUS) -> Outcome:
        """End an auction at the price that trades most, and go on in `phase`."""
        return self.book.uncross(ctx.emit, instrument, phase)

    # --- queries ------------------------------------------------------------------------------------------------------

    @rsm.query
    def instrument(self, symbol: str) -> int | None:
        """The number of a symbol."""
        return self.book.instrument(symbol)

    @rsm.query
    def best(self, instrument: int) -> tuple[int | None, int | None]:
        """Best bid and best ask."""
        return self.book.best(instrument)

    @rsm.query
    def depth(self, instrument: int, side: int, levels_max: int = 10) -> list[tuple[int, int, int]]:
        """(price, displayed quantity, orders) of the best levels of a side."""
        return self.book.depth(instrument, side, levels_max)

    @rsm.query
    def order(self, order_id: int) -> OpenOrder | None:
        """A live order in full."""
        return self.book.order(order_id)

    @rsm.query
    def open_orders(self, principal: str) -> list[OpenOrder]:
        """The live orders of a principal, oldest first."""
        owner = self.owners.get(principal)
        return [] if owner is None else self.book.open_orders(owner)

    @rsm.query
    def resting(self, instrument: int, side: int) -> Iterator[tuple[int, int, int]]:
        """(order id, price, open quantity) of all resting orders of a side: best price first, then first come."""
        base = base_of(instrument, side)
        for level in self.prices.range(base, base_of(instrument, side + 1)):
            for order_id in self.levels[level]:
                order = self.orders[order_id]
                yield order_id, price_of(level), order.quantity + order.hidden

    @rsm.query
    def market(self, instrument: int) -> Market | None:
        """Symbol, phase, collar and reference of an instrument."""
        return self.book.market(instrument)

    @rsm.query
    def statistics(self, instrument: int) -> Tape | None:
        """What has been traded in an instrument."""
        return self.book.statistics(instrument)

    @rsm.query
    def counts(self) -> tuple[int, int]:
        """How many orders are live, and how many levels they make."""
        return len(self.orders), len(self.levels)
