"""A published feed of orders as a replicated machine: every message of the feed is a command.

The exchange has matched; the machine keeps what the feed says. A message that its book does not allow (an unknown
reference, more shares than an order has) is rejected, and those behind it too, if they are numbered: a copy is never
built on a message that was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import rsm
from demos.orderbook.numbered import Numbered, refuse
from demos.orderbook.reference_book import ReferenceBook, ReferenceBookError, RestingOrder


class OrderFeed(Numbered, name="orderfeed", version=1):
    """The visible orders of many stocks."""

    orders: rsm.Map[int, RestingOrder]
    queues: rsm.Table[tuple[int, int, int], rsm.Queue[int]]
    levels: rsm.SortedMap[tuple[int, int, int], int]
    names: rsm.Map[int, str]
    states: rsm.Map[int, str]
    # Messages of each type that say nothing of the book.
    notes: rsm.Map[str, int]
    # Messages about orders that rested before a recording began, where it may begin in the middle.
    strangers: int = 0

    def setup(self) -> None:
        self.book = ReferenceBook(self.orders, self.queues, self.levels)

    @rsm.command(version=1)
    def add(self, ctx: rsm.Context, stock: int, ref: int, side: int, shares: int, price: int, number: int = 0) -> None:
        """An order rests. `side` 0 buy, 1 sell."""
        self.take_number(ctx, number)
        self._run(ctx, lambda: self.book.add(stock, ref, side, shares, price))

    @rsm.command(version=1)
    def reduce(
        self, ctx: rsm.Context, stock: int, ref: int, shares: int, number: int = 0, must_exist: bool = True
    ) -> None:
        """An order has so many shares fewer. Unless it `must_exist`, it may have rested before the recording began."""
        self.take_number(ctx, number)
        if must_exist or ref in self.orders:
            self._run(ctx, lambda: self.book.reduce(stock, ref, shares))
        else:
            self.strangers += 1

    @rsm.command(version=1)
    def delete(self, ctx: rsm.Context, stock: int, ref: int, number: int = 0, must_exist: bool = True) -> None:
        """An order is gone. `must_exist` as for `reduce`."""
        self.take_number(ctx, number)
        if must_exist or ref in self.orders:
            self._run(ctx, lambda: self.book.delete(stock, ref))
        else:
            self.strangers += 1

    @rsm.command(version=1)
    def replace(
        self, ctx: rsm.Context, stock: int, old_ref: int, ref: int, shares: int, price: int, number: int = 0
    ) -> None:
        """An order becomes another one of its side, with a new reference and time priority."""
        self.take_number(ctx, number)
        self._run(ctx, lambda: self.book.replace(stock, old_ref, ref, shares, price))

    @rsm.command(version=1)
    def list_stock(self, ctx: rsm.Context, stock: int, name: str, number: int = 0) -> None:
        """What a stock's number stands for."""
        self.take_number(ctx, number)
        self.names[stock] = name

    @rsm.command(version=1)
    def set_state(self, ctx: rsm.Context, stock: int, state: str, number: int = 0) -> None:
        """The trading state of a stock, in the feed's letters."""
        self.take_number(ctx, number)
        self.states[stock] = state

    @rsm.command(version=1)
    def note(self, ctx: rsm.Context, stock: int, kind: str, number: int = 0) -> None:
        """A message that says nothing of the book: counted by its type."""
        self.take_number(ctx, number)
        self.notes[kind] = self.notes.get(kind, 0) + 1

    def _run(self, ctx: rsm.Context, change: Callable[[], None]) -> None:
        try:
            change()
        except ReferenceBookError as error:
            refuse(ctx, str(error))

    @rsm.query
    def counts(self) -> tuple[int, int, int, int]:
        """How many orders rest, the levels they make, the stocks named, and the messages about strangers."""
        return len(self.orders), len(self.levels), len(self.names), self.strangers

    @rsm.query
    def noted(self) -> dict[str, int]:
        """How many messages of each type said nothing of the book."""
        return dict(self.notes.items())

    @rsm.query
    def depth(self, stock: int, side: int, levels_max: int = 10) -> list[tuple[int, int]]:
        """(price, shares) of the best levels of a side, best first."""
        return list(islice(self.book.depth(stock, side), levels_max))

    @rsm.query
    def resting(self, stock: int, side: int) -> Iterator[tuple[int, int, int]]:
        """(reference, price, shares) of all orders of a side: best price first, then first come."""
        yield from self.book.resting(stock, side)

    @rsm.query
    def stock(self, name: str) -> int | None:
        """The number of a stock."""
        return next((number for number, known in self.names.items() if known == name), None)

    @rsm.query
    def state(self, stock: int) -> str | None:
        """The trading state of a stock, None if the feed has not said."""
        return self.states.get(stock)
