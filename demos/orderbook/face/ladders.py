"""Kraken's v1 `book` channel: a snapshot, then what changed among the best levels, each update with its checksum.

A channel is a pair and a depth; all its subscribers get the same text, which is made once. The channel remembers the
levels that it has published. An update names a level of these that changed or vanished, and one that came into sight;
where that level was there before, only further away, it is published again and marked "r". A level that is pushed out
of sight is not named: the subscriber cuts its own book to the depth, after all levels of a message are applied. What
remains at its place is what the machine holds, and the checksum over the ten best levels a side proves it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from demos.orderbook.face.resting import RestingBook, Side
from demos.orderbook.face.scales import decimal_text
from demos.orderbook.records import BUY, SELL

DEPTHS: Final = (10, 25, 100)
CHECKSUM_LEVELS: Final = 10
NANOSECONDS: Final = 10**9

Levels = list[tuple[int, int]]


def checksum_of(asks: Iterable[tuple[int, int]], bids: Iterable[tuple[int, int]]) -> int:
    """CRC32 over the digits of price and quantity: asks best first, then bids; at most ten of each are given."""
    digits = "".join(f"{price}{quantity}" for levels in (asks, bids) for price, quantity in levels)
    return zlib.crc32(digits.encode("ascii"))


def time_text(log_time: int) -> str:
    """Log time as Kraken writes times: seconds with six decimals."""
    return f"{log_time // NANOSECONDS}.{log_time % NANOSECONDS // 1000:06d}"


class Channel:
    """One pair at one depth. `number` is Kraken's channel number; `updates` counts those since the channel began."""

    def __init__(self, number: int, pair: str, instrument: int, decimals: int, depth: int, book: RestingBook) -> None:
        self.number = number
        self.pair = pair
        self.name = f"book-{depth}"
        self.decimals = decimals
        self.depth = depth
        self.updates = 0
        self._asks = book.side(instrument, SELL)
        self._bids = book.side(instrument, BUY)
        self._seen_asks: Levels = self._asks.best(depth)
        self._seen_bids: Levels = self._bids.best(depth)
        # Prices of the whole book as of the last message, to tell a level that is new from one that was out of sight.
        self._known = self._prices()

    def _prices(self) -> tuple[set[int], set[int]]:
        return set(self._asks.quantities), set(self._bids.quantities)

    def snapshot(self, log_time: int) -> str:
        """What a subscriber begins with: the levels as they were published last."""
        time = time_text(log_time)
        levels = {
            "as": [self._row(price, quantity, time) for price, quantity in self._seen_asks],
            "bs": [self._row(price, quantity, time) for price, quantity in self._seen_bids],
        }
        return text([self.number, levels, self.name, self.pair])

    def update(self, log_time: int) -> str | None:
        """What has changed since the last message; None if nothing that is in sight has."""
        time = time_text(log_time)
        asks, bids = self._asks.best(self.depth), self._bids.best(self.depth)
        changed_asks = self._changes(self._asks, self._seen_asks, asks, self._known[0], time)
        changed_bids = self._changes(self._bids, self._seen_bids, bids, self._known[1], time)
        self._seen_asks, self._seen_bids, self._known = asks, bids, self._prices()
        parts: list[dict[str, Any]] = []
        if changed_asks:
            parts.append({"a": changed_asks})
        if changed_bids:
            parts.append({"b": changed_bids})
        if not parts:
            return None
        self.updates += 1
        parts[-1]["c"] = str(checksum_of(asks[:CHECKSUM_LEVELS], bids[:CHECKSUM_LEVELS]))
        return text([self.number, *parts, self.name, self.pair])

    def _row(self, price: int, quantity: int, time: str) -> list[str]:
        return [decimal_text(price, self.decimals), str(quantity), time]

    def _changes(self, side: Side, before: Levels, after: Levels, known: set[int], time: str) -> list[list[str]]:
        if before == after:
            return []
        seen = dict(before)
        rows = [self._row(price, 0, time) for price, _ in before if price not in side.quantities]
        for price, quantity in after:
            row = self._row(price, quantity, time)
            if price not in seen:
                rows.append([*row, "r"] if price in known else row)
            elif seen[price] != quantity:
                rows.append(row)
        return rows


def text(message: Any) -> str:
    """A message as it is sent."""
    return msgspec.json.encode(message).decode("utf-8")
