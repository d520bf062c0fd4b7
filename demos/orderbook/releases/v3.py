"""The exchange, version 3, as nodes run it: self-trade prevention, and `replace` is a cancellation and a new order.

Old clients, old logs and logs below the floor still say `place` in two older ways and `replace` in two: the upcasters
lead each of them here. A client of this version can trade on a cluster that has not come so far: the downcasters say
`place` as that cluster knows it, where it can be said there.
"""

from __future__ import annotations

from enum import IntEnum

import rsm
from demos.orderbook.book import Book
from demos.orderbook.records import (
    CANCEL_BOTH,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    NOBODY,
    Market,
    Order,
    Outcome,
    Reason,
    Report,
    Tape,
)
from demos.orderbook.releases.terms import PriceText, Ticks, TimeInForce, to_price, to_ticks
from demos.orderbook.releases.v2 import ExchangeV2

__all__ = ["Exchange", "Prevention"]


class Prevention(IntEnum):
    """What becomes of an order that meets one of the same trader."""

    NONE = 0
    CANCEL_NEWEST = CANCEL_NEWEST
    CANCEL_OLDEST = CANCEL_OLDEST
    CANCEL_BOTH = CANCEL_BOTH


class Exchange(rsm.StateMachine, name="exchange", version=3, previous=ExchangeV2, event=Report):
    """Self-trade prevention, chosen by the incoming order."""

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

    # --- what older clients and logs say ------------------------------------------------------------------------------

    place_in_ticks = rsm.upcast_fields(
        "place",
        from_version=1,
        old={"order_id": int, "instrument": int, "side": int, "quantity": int, "price": PriceText},
        convert={"price": to_ticks},
        default={"time_in_force": TimeInForce.GOOD_TILL_CANCEL},
    )
    place_unprevented = rsm.upcast_fields(
        "place",
        from_version=2,
        old={
            "order_id": int,
            "instrument": int,
            "side": int,
            "quantity": int,
            "price": Ticks,
            "time_in_force": TimeInForce,
        },
        default={"prevention": Prevention.NONE},
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

    @rsm.upcast("replace", from_version=2, into={"cancel": 1, "place": 3})
    @staticmethod
    def replace_as_two(
        order_id: int,
        new_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: Ticks,
        time_in_force: TimeInForce,
    ) -> rsm.Split:
        """Both at one index, or neither; the new order's outcome is the answer."""
        place = ("place", new_id, instrument, side, quantity, price, time_in_force, Prevention.NONE)
        return rsm.split(("cancel", order_id), place, answers=1)

    # --- what this client says to older clusters ----------------------------------------------------------------------

    @rsm.downcast("place", to_version=2)
    @staticmethod
    def place_without_prevention(
        order_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: Ticks,
        time_in_force: TimeInForce,
        prevention: Prevention,
    ) -> tuple[int, int, int, int, int, TimeInForce]:
        """Refused where prevention is asked for: the cluster would trade the trader with itself."""
        if prevention:
            raise rsm.InvalidCommand("the cluster prevents no self-trades until version 3 is in force", "prevention")
        return order_id, instrument, side, quantity, price, time_in_force

    @rsm.downcast("place", to_version=1)
    @staticmethod
    def place_in_text(
        order_id: int, instrument: int, side: int, quantity: int, price: Ticks, time_in_force: TimeInForce
    ) -> tuple[int, int, int, int, str]:
        """Refused where an order must not rest: version 1 lets every order rest."""
        if time_in_force:
            raise rsm.InvalidCommand("the cluster lets every order rest until version 2 is in force", "time_in_force")
        return order_id, instrument, side, quantity, to_price(price)

    # --- commands -----------------------------------------------------------------------------------------------------

    @rsm.command(version=1)
    def list_instrument(self, ctx: rsm.Context, instrument: int, symbol: str) -> Outcome:
        """Open a market."""
        return _accepted(ctx, self.book.list_instrument(_unheard, instrument, symbol))

    @rsm.command(version=3)
    def place(
        self,
        ctx: rsm.Context,
        order_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: Ticks,
        time_in_force: TimeInForce = TimeInForce.GOOD_TILL_CANCEL,
        prevention: Prevention = Prevention.NONE,
    ) -> Outcome:
        """Enter a limit order."""
        owner = self._owner(ctx)
        flags = int(time_in_force) | int(prevention)
        return _accepted(ctx, self.book.place(ctx.emit, order_id, instrument, side, quantity, price, owner, flags))

    @rsm.command(version=1)
    def cancel(self, ctx: rsm.Context, order_id: int) -> Outcome:
        """Take out an order of the session's principal."""
        return _accepted(ctx, self.book.cancel(ctx.emit, order_id, self._owner(ctx)))

    def _owner(self, ctx: rsm.Context) -> int:
        if not ctx.principal:
            return NOBODY
        owner = self.owners.get(ctx.principal)
        if owner is None:
            owner = self.owners[ctx.principal] = len(self.owners) + 1
        return owner

    # --- queries ------------------------------------------------------------------------------------------------------

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
