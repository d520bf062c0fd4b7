"""What can be seen of an exchange from outside, all of it, as one document: the ground on which two are compared.

Roots of two machines that ran the same flow differ, since they cover log time and sessions; a survey covers what the
flow decides and nothing else. Whatever answers the machine's queries can be surveyed: a client of the durable machine,
or a desk on plain containers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from demos.orderbook.flowgen import INSTRUMENTS, TRADERS
from demos.orderbook.records import BUY, SELL, Market, OpenOrder, Record, Tape

# More levels than any book of the show has.
LEVELS_ALL: Final = 1_000_000

Level = tuple[int, int, int]  # price, displayed quantity, orders


class Exchange(Protocol):
    """The queries that a survey asks."""

    def depth(self, instrument: int, side: int, levels_max: int, /) -> list[Level]: ...
    def open_orders(self, principal: str, /) -> list[OpenOrder]: ...
    def market(self, instrument: int, /) -> Market | None: ...
    def statistics(self, instrument: int, /) -> Tape | None: ...


class MarketView(Record, frozen=True):
    """One market: its phase and collar, its tape, and the levels of its book, best first."""

    market: Market | None
    tape: Tape | None
    bids: list[Level]
    asks: list[Level]


class Survey(Record, frozen=True):
    """Every market in the order of INSTRUMENTS, and every trader's live orders in full, oldest first."""

    markets: list[MarketView]
    orders: list[list[OpenOrder]]

    @property
    def digest(self) -> str:
        """SHA-256 of the survey's MessagePack, in hex."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()

    @property
    def trades(self) -> int:
        """Trades since the opening, in all markets."""
        return sum(view.tape.trades for view in self.markets if view.tape is not None)

    @property
    def live(self) -> int:
        """Orders that rest or wait."""
        return sum(len(orders) for orders in self.orders)


def view(exchange: Exchange, instrument: int, levels_max: int) -> MarketView:
    """One market of an exchange, with so many levels a side."""
    return MarketView(
        exchange.market(instrument),
        exchange.statistics(instrument),
        exchange.depth(instrument, BUY, levels_max),
        exchange.depth(instrument, SELL, levels_max),
    )


def survey(exchange: Exchange) -> Survey:
    """All of an exchange. Nothing may be on its way to it meanwhile: each query sees the state as it then is."""
    return Survey(
        [view(exchange, instrument.number, LEVELS_ALL) for instrument in INSTRUMENTS],
        [list(exchange.open_orders(trader)) for trader in TRADERS[1:]],
    )


def difference(ours: Survey, theirs: Survey) -> str:
    """Where two surveys first differ, in words; empty if they do not."""
    for instrument, one, other in zip(INSTRUMENTS, ours.markets, theirs.markets, strict=True):
        for name in ("market", "tape", "bids", "asks"):
            found = _difference(getattr(one, name), getattr(other, name))
            if found:
                return f"{instrument.symbol} {name}{found}"
    for trader, orders, others in zip(TRADERS[1:], ours.orders, theirs.orders, strict=True):
        found = _difference(orders, others)
        if found:
            return f"orders of {trader}{found}"
    return ""


def _difference(one: object, other: object) -> str:
    if one == other:
        return ""
    if isinstance(one, Sequence) and isinstance(other, Sequence):
        for number, (mine, its) in enumerate(zip(one, other, strict=False)):
            if mine != its:
                return f"[{number}]: {mine} and {its}"
        return f": {len(one)} and {len(other)} entries"
    return f": {one} and {other}"
