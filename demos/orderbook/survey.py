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

from demos.orderbook.flowgen import INSTRUMENTS, TRADERS, Instrument
from demos.orderbook.records import BUY, NOBODY, SELL, Market, OpenOrder, Record, Tape

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
    """Markets by symbol, and the live orders of each trader in full, oldest first, by name.

    Whose an order is stands there; the number that the machine gave its owner does not, since it says who came first.
    """

    markets: dict[str, MarketView]
    orders: dict[str, list[OpenOrder]]

    @property
    def digest(self) -> str:
        """SHA-256 of the survey's MessagePack, in hex."""
        return hashlib.sha256(msgspec.msgpack.encode(self)).hexdigest()

    @property
    def trades(self) -> int:
        """Trades since the opening, in all markets."""
        return sum(view.tape.trades for view in self.markets.values() if view.tape is not None)

    @property
    def live(self) -> int:
        """Orders that rest or wait."""
        return sum(map(len, self.orders.values()))


def view(exchange: Exchange, instrument: int, levels_max: int) -> MarketView:
    """One market of an exchange, with so many levels a side."""
    return MarketView(
        exchange.market(instrument),
        exchange.statistics(instrument),
        exchange.depth(instrument, BUY, levels_max),
        exchange.depth(instrument, SELL, levels_max),
    )


def survey(
    exchange: Exchange, instruments: Sequence[Instrument] = INSTRUMENTS, traders: Sequence[str] = TRADERS[1:]
) -> Survey:
    """All of an exchange. Nothing may be on its way to it meanwhile: each query sees the state as it then is."""
    return Survey(
        {instrument.symbol: view(exchange, instrument.number, LEVELS_ALL) for instrument in instruments},
        {
            trader: [msgspec.structs.replace(order, owner=NOBODY) for order in exchange.open_orders(trader)]
            for trader in traders
        },
    )


def difference(ours: Survey, theirs: Survey) -> str:
    """Where two surveys of the same markets and traders first differ, in words; empty if they do not."""
    for symbol, market in ours.markets.items():
        for name in ("market", "tape", "bids", "asks"):
            found = _difference(getattr(market, name), getattr(theirs.markets[symbol], name))
            if found:
                return f"{symbol} {name}{found}"
    for trader, orders in ours.orders.items():
        found = _difference(orders, theirs.orders[trader])
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
