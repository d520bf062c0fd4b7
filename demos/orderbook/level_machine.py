"""A published book of levels as a replicated machine: every message of the feed is a command, checked as it is applied.

The exchange's checksum is part of the command. An update whose result does not have it is rejected, so it is rolled
back on every replica and the book stands as it was before the bad message; messages behind it are rejected too, if they
are numbered, since they would leave a gap.
"""

from __future__ import annotations

import rsm
from demos.orderbook.levels import LevelBook, LevelsError
from demos.orderbook.numbered import Numbered, refuse

# (price, quantity), scaled by the pair's decimals.
Levels = list[tuple[int, int]]


class LevelFeed(Numbered, name="levelfeed", version=1):
    """Books of levels of many pairs."""

    levels: rsm.SortedMap[tuple[int, int, int], int]
    pairs: rsm.Map[str, tuple[int, int, int, int]]
    sizes: rsm.Map[tuple[int, int], int]

    def setup(self) -> None:
        self.book = LevelBook(self.levels, self.pairs, self.sizes)

    @rsm.command(version=1)
    def snapshot_levels(
        self,
        ctx: rsm.Context,
        pair: str,
        depth: int,
        price_decimals: int,
        quantity_decimals: int,
        asks: Levels,
        bids: Levels,
        number: int = 0,
    ) -> int:
        """Start a pair, or start it again; returns the checksum of the new book."""
        self.take_number(ctx, number)
        try:
            return self.book.snapshot(pair, depth, price_decimals, quantity_decimals, asks, bids)
        except LevelsError as error:
            refuse(ctx, str(error))

    @rsm.command(version=1)
    def update_levels(
        self,
        ctx: rsm.Context,
        pair: str,
        asks: Levels,
        bids: Levels,
        checksum: int | None = None,
        number: int = 0,
    ) -> int:
        """Apply one update; rejected, with the book as it was, unless the result has this checksum. Returns it."""
        self.take_number(ctx, number)
        try:
            found = self.book.update(pair, asks, bids)
        except LevelsError as error:
            refuse(ctx, str(error))
        if checksum is not None and found != checksum:
            refuse(ctx, f"the checksum of {pair} is {found}, the exchange says {checksum}")
        return found

    @rsm.query
    def best(self, pair: str, side: int, levels_max: int = 10) -> Levels:
        """Up to `levels_max` levels of a side, best first; none for an unknown pair."""
        return self.book.best(pair, side, levels_max) if pair in self.pairs else []

    @rsm.query
    def size(self, pair: str, side: int) -> int:
        """How many levels a side has; 0 for an unknown pair."""
        return self.book.size(pair, side) if pair in self.pairs else 0

    @rsm.query
    def decimals(self, pair: str) -> tuple[int, int] | None:
        """(price decimals, quantity decimals) of a pair."""
        return self.book.decimals(pair) if pair in self.pairs else None

    @rsm.query
    def names(self) -> list[str]:
        """The pairs known, sorted."""
        return self.book.pairs()
