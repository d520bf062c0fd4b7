"""A published book of levels as a replicated machine: every message of the feed is a command, checked as it is applied.

The exchange's checksum is part of the command. An update whose result does not have it is rejected, so it is rolled back
on every replica and the book stands as it was before the bad message.
"""

from __future__ import annotations

import rsm
from demos.orderbook.levels import LevelBook, LevelsError

# (price, quantity), scaled by the pair's decimals.
Levels = list[tuple[int, int]]


class LevelFeed(rsm.StateMachine, name="levelfeed", version=1):
    """Books of levels of many pairs."""

    levels: rsm.SortedMap[tuple[int, int, int], int]
    pairs: rsm.Map[str, tuple[int, int, int, int]]
    sizes: rsm.Map[tuple[int, int], int]

    def setup(self) -> None:
        self.book = LevelBook(self.levels, self.pairs, self.sizes)

    @rsm.command(version=1)
    def snapshot_levels(
        self, ctx: rsm.Context, pair: str, depth: int, price_decimals: int, quantity_decimals: int, asks: Levels, bids: Levels
    ) -> int:
        """Start a pair, or start it again; returns the checksum of the new book."""
        try:
            return self.book.snapshot(pair, depth, price_decimals, quantity_decimals, asks, bids)
        except LevelsError as error:
            ctx.reject(str(error))

    @rsm.command(version=1)
    def update_levels(self, ctx: rsm.Context, pair: str, asks: Levels, bids: Levels, checksum: int) -> int:
        """Apply one update; rejected, with the book as it was, unless the result has this checksum."""
        try:
            found = self.book.update(pair, asks, bids)
        except LevelsError as error:
            ctx.reject(str(error))
        if found != checksum:
            ctx.reject(f"checksum of {pair} is {found}, the exchange says {checksum}")
        return found

    @rsm.query
    def best(self, pair: str, side: int, levels_max: int = 10) -> Levels:
        """Up to `levels_max` levels of a side, best first."""
        return self.book.best(pair, side, levels_max)

    @rsm.query
    def names(self) -> list[str]:
        """The pairs known."""
        return self.book.pairs()
