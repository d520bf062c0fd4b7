"""The messages of NASDAQ TotalView-ITCH 5.0 that are decoded to fields, one tuple class per type.

All begin with the locate code of the stock (0: of none), a tracking number and a timestamp in nanoseconds since
midnight. Prices are integers of 4 decimals. `itch.py` has the layouts.
"""

from __future__ import annotations

from typing import NamedTuple


class SystemEvent(NamedTuple):
    """S. `code` O, S, Q, M, E or C: start of messages, of system hours, of market hours, and the ends of them."""

    locate: int
    tracking: int
    timestamp: int
    code: str


class StockDirectory(NamedTuple):
    """R. What `locate` stands for today."""

    locate: int
    tracking: int
    timestamp: int
    stock: str
    category: str = " "
    status: str = " "
    round_lot: int = 100
    round_lots_only: str = "N"
    classification: str = "C"
    subtype: str = "Z"
    authenticity: str = "P"
    short_sale_threshold: str = " "
    ipo_flag: str = " "
    luld_tier: str = " "
    etp_flag: str = " "
    etp_leverage: int = 0
    inverse: str = "N"


class TradingAction(NamedTuple):
    """H. `state` H halted, P paused, Q quotation only, T trading."""

    locate: int
    tracking: int
    timestamp: int
    stock: str
    state: str
    reserved: str = " "
    reason: str = ""


class AddOrder(NamedTuple):
    """A. An order that rests. `side` B or S."""

    locate: int
    tracking: int
    timestamp: int
    ref: int
    side: str
    shares: int
    stock: str
    price: int


class AddOrderAttributed(NamedTuple):
    """F. As A, with the market participant's name."""

    locate: int
    tracking: int
    timestamp: int
    ref: int
    side: str
    shares: int
    stock: str
    price: int
    attribution: str


class Executed(NamedTuple):
    """E. Shares of a resting order traded at its price."""

    locate: int
    tracking: int
    timestamp: int
    ref: int
    shares: int
    match: int


class ExecutedWithPrice(NamedTuple):
    """C. As E at another price; not `printable` (N) when a bulk print follows."""

    locate: int
    tracking: int
    timestamp: int
    ref: int
    shares: int
    match: int
    printable: str
    price: int


class Cancel(NamedTuple):
    """X. Part of an order is gone."""

    locate: int
    tracking: int
    timestamp: int
    ref: int
    shares: int


class Delete(NamedTuple):
    """D. An order is gone."""

    locate: int
    tracking: int
    timestamp: int
    ref: int


class Replace(NamedTuple):
    """U. `old_ref` becomes `ref` with new shares, price and time priority."""

    locate: int
    tracking: int
    timestamp: int
    old_ref: int
    ref: int
    shares: int
    price: int


class Trade(NamedTuple):
    """P. A trade against an order that never showed; the visible book does not change."""

    locate: int
    tracking: int
    timestamp: int
    ref: int
    side: str
    shares: int
    stock: str
    price: int
    match: int


class CrossTrade(NamedTuple):
    """Q. The result of an auction; `type` O opening, C closing, H halt or IPO. Shares have 64 bits here."""

    locate: int
    tracking: int
    timestamp: int
    shares: int
    stock: str
    price: int
    match: int
    type: str


class BrokenTrade(NamedTuple):
    """B. An earlier match is void."""

    locate: int
    tracking: int
    timestamp: int
    match: int


class Raw(NamedTuple):
    """A message of another type: the header decoded, `content` the whole message with its header."""

    locate: int
    tracking: int
    timestamp: int
    type: str
    content: bytes


Message = (
    SystemEvent
    | StockDirectory
    | TradingAction
    | AddOrder
    | AddOrderAttributed
    | Executed
    | ExecutedWithPrice
    | Cancel
    | Delete
    | Replace
    | Trade
    | CrossTrade
    | BrokenTrade
    | Raw
)
