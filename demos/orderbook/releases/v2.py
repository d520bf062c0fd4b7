"""The exchange, version 2: prices in ticks, and a time in force. Released, so frozen: delete it whole, or leave it.

The matching is the order book's own from here on.
"""

from __future__ import annotations

import rsm
from demos.orderbook.book import Book
from demos.orderbook.records import NOBODY, Market, Order, Outcome, Reason, Report, Tape
from demos.orderbook.releases.terms import PriceText, Ticks, TimeInForce, to_ticks
from demos.orderbook.releases.v1 import ExchangeV1


class ExchangeV2(rsm.StateMachine, name="exchange", version=2, previous=ExchangeV1, event=Report):
    """Ticks, and orders that need not rest."""

    orders: rsm.Map[int, Order]
    levels: rsm.Table[int, rsm.Queue[int]]
    prices: rsm.SortedMap[int, None]
    owned: rsm.Table[int, rsm.Queue[int]]
    markets: rsm.Map[int, Market]
    tapes: rsm.Map[int, Tape]
    symbols: rsm.Map[str, int]
    owners: rsm.Map[str, int]

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

    def migrate_state(self, old: ExchangeV1) -> None:
        """Levels, markets and tapes are here already; orders lose their text and get into their owner's index."""
        for order_id, order in old.orders.items():
            slot = self.owned[order.owner].push(order_id) if order.owner else 0
            self.orders[order_id] = Order(order.level, order.position, order.quantity, order.owner, slot, 0, 0, 0, 0)

    place_in_ticks = rsm.upcast_fields(
        "place",
        from_version=1,
        old={"order_id": int, "instrument": int, "side": int, "quantity": int, "price": PriceText},
        convert={"price": to_ticks},
        default={"time_in_force": TimeInForce.GOOD_TILL_CANCEL},
    )
    replace_in_ticks = rsm.upcast_fields(
        "replace",
        from_version=1,
        old={
            "order_id": int,
            "new_id": int,
            "instrument": int,
            "side": int,
            "quantity": int,
            "price": PriceText,
        },
        convert={"price": to_ticks},
        default={"time_in_force": TimeInForce.GOOD_TILL_CANCEL},
    )

    @rsm.command(version=1)
    def list_instrument(self, ctx: rsm.Context, instrument: int, symbol: str) -> Outcome:
        """Open a market."""
        return _accepted(ctx, self.book.list_instrument(_unheard, instrument, symbol))

    @rsm.command(version=2)
    def place(
        self,
        ctx: rsm.Context,
        order_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: Ticks,
        time_in_force: TimeInForce = TimeInForce.GOOD_TILL_CANCEL,
    ) -> Outcome:
        """Enter a limit order."""
        return self._place(ctx, order_id, instrument, side, quantity, price, time_in_force)

    @rsm.command(version=1)
    def cancel(self, ctx: rsm.Context, order_id: int) -> Outcome:
        """Take out an order of the session's principal."""
        return _accepted(ctx, self.book.cancel(ctx.emit, order_id, self._owner(ctx)))

    @rsm.command(version=2)
    def replace(
        self,
        ctx: rsm.Context,
        order_id: int,
        new_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: Ticks,
        time_in_force: TimeInForce = TimeInForce.GOOD_TILL_CANCEL,
    ) -> Outcome:
        """Take out one order and enter another: both, or neither."""
        _accepted(ctx, self.book.cancel(ctx.emit, order_id, self._owner(ctx)))
        return self._place(ctx, new_id, instrument, side, quantity, price, time_in_force)

    def _place(
        self,
        ctx: rsm.Context,
        order_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: int,
        time_in_force: TimeInForce,
    ) -> Outcome:
        owner = self._owner(ctx)
        flags = int(time_in_force)
        return _accepted(ctx, self.book.place(ctx.emit, order_id, instrument, side, quantity, price, owner, flags))

    def _owner(self, ctx: rsm.Context) -> int:
        if not ctx.principal:
            return NOBODY
        owner = self.owners.get(ctx.principal)
        if owner is None:
            owner = self.owners[ctx.principal] = len(self.owners) + 1
        return owner

    @rsm.query
    def depth(self, instrument: int, side: int, levels_max: int = 10) -> list[tuple[int, int, int]]:
        """(price in ticks, quantity, orders) of the best levels of a side."""
        return self.book.depth(instrument, side, levels_max)

    @rsm.query
    def statistics(self, instrument: int) -> Tape | None:
        """What has been traded in an instrument."""
        return self.tapes.get(instrument)


def _accepted(ctx: rsm.Context, outcome: Outcome) -> Outcome:
    """This exchange rejects what its book refuses, and so undoes whatever else the command did."""
    if outcome.reason:
        ctx.reject(f"refused: {Reason(outcome.reason).name}")
    return outcome


def _unheard(report: Report) -> None:
    """No report of a new market: version 1 made none."""
