"""How one thing of the market is said in ITCH: the messages of one entry share a time, and a way to write numbers."""

from __future__ import annotations

from typing import Final

from demos.orderbook.face.resting import BookView, Shown
from demos.orderbook.face.scales import ITCH_DECIMALS, ITCH_FIELD_MAX, decimals_of
from demos.orderbook.formats.itch import (
    AddOrder,
    Cancel,
    CrossTrade,
    Delete,
    Message,
    Replace,
    StockDirectory,
    SystemEvent,
    Trade,
    TradingAction,
)
from demos.orderbook.records import AUCTION, BUY, CLOSED, CONTINUOUS, MARKET, Traded, Uncrossed

DAY_NANOSECONDS: Final = 86_400 * 10**9
REFERENCE_MASK: Final = 2**64 - 1


class Stamp:
    """The beginning of every message of an entry, and how the market's integers are written."""

    def __init__(self, machine: BookView, log_time: int) -> None:
        self._machine = machine
        self.timestamp = log_time % DAY_NANOSECONDS

    def symbol(self, instrument: int) -> str:
        """The name of a market."""
        market = self._machine.market(instrument)
        return "" if market is None else market.symbol

    def stock(self, instrument: int) -> str:
        """The name of a market as ITCH can hold it: eight characters of ASCII."""
        return self.symbol(instrument)[:8].encode("ascii", "replace").decode("ascii")

    def price(self, instrument: int, price: int) -> int:
        """A price with ITCH's four decimals."""
        scale: int = 10 ** (ITCH_DECIMALS - decimals_of(self.symbol(instrument)))
        return price * scale

    def shares(self, order: Shown | None) -> int:
        """The shares that ITCH shows of an order: as many as its field holds; none where it cannot name the price."""
        if order is None or order.price == MARKET or self.price(order.instrument, order.price) > ITCH_FIELD_MAX:
            return 0
        return min(order.shown, ITCH_FIELD_MAX)

    def add(self, order_id: int, order: Shown) -> AddOrder:
        """An order shows."""
        instrument = order.instrument
        return AddOrder(
            instrument,
            0,
            self.timestamp,
            order_id & REFERENCE_MASK,
            letter(order.side),
            self.shares(order),
            self.stock(instrument),
            self.price(instrument, order.price),
        )

    def change(self, order_id: int, before: Shown | None, after: Shown | None) -> list[Message]:
        """What tells that an order stands otherwise now, without a trade: at most one message."""
        seen, shares, ref = self.shares(before), self.shares(after), order_id & REFERENCE_MASK
        if after is not None and shares and not seen:
            return [self.add(order_id, after)]
        if before is None or not seen or before == after:
            return []
        if after is None or not shares:
            return [Delete(before.instrument, 0, self.timestamp, ref)]
        if before[:3] == after[:3] and shares <= seen:
            return [Cancel(before.instrument, 0, self.timestamp, ref, seen - shares)] if shares < seen else []
        if before[:2] != after[:2]:
            raise ValueError(f"order {order_id} is another one now: {before} became {after}")
        price = self.price(after.instrument, after.price)
        return [Replace(after.instrument, 0, self.timestamp, ref, ref, shares, price)]

    def market(self, instrument: int, phase: int, is_new: bool) -> list[Message]:
        """The phase of a market, behind its listing if it is new."""
        symbol = self.stock(instrument)
        state = "T" if phase == CONTINUOUS else "Q" if phase == AUCTION else "P" if phase == CLOSED else "H"
        action = TradingAction(instrument, 0, self.timestamp, symbol, state)
        return [StockDirectory(instrument, 0, self.timestamp, symbol, round_lot=1), action] if is_new else [action]

    def filler(self) -> SystemEvent:
        """What stands in a place that has nothing to say."""
        return SystemEvent(0, 0, self.timestamp, "Q")


def letter(side: int) -> str:
    """B or S."""
    return "B" if side == BUY else "S"


def trade_print(stamp: Stamp, report: Traded, number: int) -> Trade:
    """A trade that no order of the visible book tells of."""
    return Trade(
        report.instrument,
        0,
        stamp.timestamp,
        0,
        letter(report.side),
        min(report.quantity, ITCH_FIELD_MAX),
        stamp.stock(report.instrument),
        min(stamp.price(report.instrument, report.price), ITCH_FIELD_MAX),
        number,
    )


def cross(stamp: Stamp, report: Uncrossed, number: int) -> CrossTrade:
    """The result of an auction."""
    price = min(stamp.price(report.instrument, report.price), ITCH_FIELD_MAX)
    symbol = stamp.stock(report.instrument)
    return CrossTrade(report.instrument, 0, stamp.timestamp, report.volume, symbol, price, number, "O")
