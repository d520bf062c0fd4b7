"""A desk without a log: the machine's commands and queries on plain containers, in this process, kept nowhere.

It is what the durable machine is held against: the same book, given the same commands by the same traders in the same
order, with nothing in between that could lose or repeat one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from demos.orderbook import plain
from demos.orderbook.records import NOBODY, Market, OpenOrder, Outcome, Report, Tape

# What a command answers: its outcome, or how many orders a mass cancellation took out.
Answer = Outcome | int
# Commands that a trader gives in its own name; the others are the operator's.
OWNED = frozenset({"place", "cancel", "modify", "mass_cancel"})


class Desk:
    """A book, its reports in order, and the numbers of its traders, given at first use as the machine gives them."""

    def __init__(self) -> None:
        self.book = plain.new_book()
        self.reports: list[Report] = []
        self._owners: dict[str, int] = {}

    def run(self, principal: str, name: str, values: Sequence[Any]) -> Answer:
        """Run one command; its reports are appended to `reports`. `values` are the machine's, by position."""
        sink = self.reports.append
        if name not in OWNED:
            return self._operate(name, values)
        owner = self._owners.setdefault(principal, len(self._owners) + 1) if principal else NOBODY
        if name == "place":
            order_id, instrument, side, quantity, price, *terms = values
            return self.book.place(sink, order_id, instrument, side, quantity, price, owner, *terms)
        if name == "cancel":
            return self.book.cancel(sink, values[0], owner)
        if name == "modify":
            return self.book.modify(sink, values[0], values[1], values[2], owner)
        return self.book.mass_cancel(sink, owner, *values)

    def _operate(self, name: str, values: Sequence[Any]) -> Answer:
        sink = self.reports.append
        if name == "list_instrument":
            instrument, symbol, phase = values
            return self.book.list_instrument(sink, instrument, symbol, phase=phase)
        answer: Outcome = getattr(self.book, name)(sink, *values)
        return answer

    def depth(self, instrument: int, side: int, levels_max: int = 10) -> list[tuple[int, int, int]]:
        """(price, displayed quantity, orders) of the best levels of a side."""
        return self.book.depth(instrument, side, levels_max)

    def open_orders(self, principal: str) -> list[OpenOrder]:
        """The live orders of a principal, oldest first."""
        owner = self._owners.get(principal)
        return [] if owner is None else self.book.open_orders(owner)

    def market(self, instrument: int) -> Market | None:
        """Symbol, phase, collar and reference of an instrument."""
        return self.book.market(instrument)

    def statistics(self, instrument: int) -> Tape | None:
        """What has been traded in an instrument."""
        return self.book.statistics(instrument)
