"""A desk for tests of the order book: one market, calls in few words, reports as short tuples."""

from __future__ import annotations

from typing import Any

from demos.orderbook.book import Book
from demos.orderbook.plain import new_book
from demos.orderbook.records import BUY, SELL, Outcome, Report, Traded


class Desk:
    """A book on plain containers with instrument 1, and the reports of the last call."""

    def __init__(self, **listing: Any) -> None:
        self.book: Book = new_book()
        self.book.list_instrument([].append, 1, "ONE", **listing)
        self.reports: list[Report] = []

    def call(self, name: str, *arguments: Any, **terms: Any) -> Any:
        """Run a command of the book; its reports are kept."""
        self.reports = []
        return getattr(self.book, name)(self.reports.append, *arguments, **terms)

    def buy(self, order_id: int, quantity: int, price: int, **terms: Any) -> Outcome:
        return self.call("place", order_id, 1, BUY, quantity, price, **terms)  # type: ignore[no-any-return]

    def sell(self, order_id: int, quantity: int, price: int, **terms: Any) -> Outcome:
        return self.call("place", order_id, 1, SELL, quantity, price, **terms)  # type: ignore[no-any-return]

    def said(self, kind: type) -> list[tuple[Any, ...]]:
        """The last call's reports of one kind, as tuples of their fields."""
        return [
            tuple(getattr(report, name) for name in report.__struct_fields__)
            for report in self.reports
            if isinstance(report, kind)
        ]

    def trades(self) -> list[tuple[Any, ...]]:
        """(price, quantity, maker, taker) of the last call's trades."""
        return [(price, quantity, maker, taker) for _, price, quantity, maker, taker, _ in self.said(Traded)]

    def bids(self) -> list[tuple[int, int, int]]:
        """(price, displayed quantity, orders) of every bid level."""
        return self.book.depth(1, BUY, 1_000)

    def asks(self) -> list[tuple[int, int, int]]:
        """(price, displayed quantity, orders) of every ask level."""
        return self.book.depth(1, SELL, 1_000)
