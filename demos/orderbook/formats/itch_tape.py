"""An order flow's reports told as a day of ITCH messages.

A report stream says what was accepted, traded and cancelled; ITCH says what the public saw of it: only orders that
rest are added, under references that are never used twice, and a trade is an execution of the resting order alone. The
remainder that an incoming order leaves is known only after its trades, so reports are taken one flow message (one
`seq`) at a time. Ticks become ITCH prices as they are; `seq` becomes the timestamp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final

from demos.orderbook.formats.itch import (
    AddOrder,
    Delete,
    Executed,
    Message,
    Replace,
    StockDirectory,
    SystemEvent,
    TradingAction,
)

ACKNOWLEDGED: Final = 0
TRADE: Final = 1
CANCELLED: Final = 2
MODIFIED: Final = 3

SIDES: Final = ("B", "S")


class TapeError(ValueError):
    """Reports that no book gives: a trade, cancel or change of an order that does not rest."""


class Tape:
    """Turns reports into messages. `references` maps the live order ids of the flow to their ITCH references."""

    def __init__(self, locate: int = 1, stock: str = "FLOW") -> None:
        self.locate = locate
        self.stock = stock
        self.references: dict[int, int] = {}
        self._shares: dict[int, int] = {}
        self._refs_used = 0
        self._matches = 0

    def opening(self) -> Iterator[Message]:
        """What a day begins with: the directory, and trading."""
        yield SystemEvent(0, 0, 0, "O")
        yield StockDirectory(self.locate, 0, 0, self.stock)
        yield TradingAction(self.locate, 0, 0, self.stock, "T")
        yield SystemEvent(0, 0, 0, "Q")

    def closing(self, timestamp: int) -> Iterator[Message]:
        """What a day ends with."""
        yield SystemEvent(0, 0, timestamp, "M")
        yield SystemEvent(0, 0, timestamp, "C")

    def day(self, reports: Iterable[tuple[int, ...]]) -> Iterator[Message]:
        """A whole day: opening, the messages of all reports (in report order, as `flow.read_reports`), closing."""
        yield from self.opening()
        seq = 0
        for seq, group in groupby(reports, key=itemgetter(1)):
            yield from self.messages(seq, list(group))
        yield from self.closing(seq)

    def messages(self, seq: int, reports: list[tuple[int, ...]]) -> Iterator[Message]:
        """What the public sees of the reports of one flow message."""
        incoming = next((report for report in reports if report[0] in (ACKNOWLEDGED, MODIFIED)), None)
        trades = [report for report in reports if report[0] == TRADE]
        cancelled = {report[3] for report in reports if report[0] == CANCELLED}
        if incoming is None:
            if trades:
                raise TapeError(f"trades of message {seq} without an incoming order")
            for order_id in sorted(cancelled):
                yield Delete(self.locate, 0, seq, self._leave(seq, order_id))
            return
        kind, _, side, order_id, price, quantity = incoming
        rest = quantity - sum(trade[3] for trade in trades)
        rests = rest > 0 and order_id not in cancelled
        if kind == MODIFIED and rests and not trades:
            yield Replace(self.locate, 0, seq, self._leave(seq, order_id), self._rest(order_id, rest), rest, price)
            return
        if kind == MODIFIED:
            yield Delete(self.locate, 0, seq, self._leave(seq, order_id))
        for trade in trades:
            yield self._execute(seq, trade[4], trade[3])
        if rests:
            ref = self._rest(order_id, rest)
            yield AddOrder(self.locate, 0, seq, ref, SIDES[side], rest, self.stock, price)

    def _execute(self, seq: int, maker: int, shares: int) -> Executed:
        ref = self.references.get(maker)
        left = self._shares.get(maker, 0) - shares
        if ref is None or left < 0:
            raise TapeError(f"message {seq} trades {shares} of order {maker}, which has not so much resting")
        if left:
            self._shares[maker] = left
        else:
            self._leave(seq, maker)
        self._matches += 1
        return Executed(self.locate, 0, seq, ref, shares, self._matches)

    def _rest(self, order_id: int, shares: int) -> int:
        if order_id in self.references:
            raise TapeError(f"order {order_id} rests already")
        self._refs_used += 1
        self.references[order_id] = self._refs_used
        self._shares[order_id] = shares
        return self._refs_used

    def _leave(self, seq: int, order_id: int) -> int:
        if order_id not in self.references:
            raise TapeError(f"message {seq} ends order {order_id}, which does not rest")
        del self._shares[order_id]
        return self.references.pop(order_id)
