"""Replaying a published book of levels: every checksum that the exchange sent is compared by the machine."""

from __future__ import annotations

from typing import Any

import rsm
from demos.orderbook.formats.kraken import Snapshot, Update, integers
from demos.orderbook.level_machine import LevelFeed
from demos.orderbook.levels import ASK, BID, decimal_text
from demos.orderbook.recordings.pump import Check, Recording


class LevelReplay(Recording[LevelFeed, Snapshot | Update]):
    """A recorded feed of snapshots and updates."""

    machine = LevelFeed

    def __init__(self) -> None:
        self._sums_equal = 0
        self._sums_compared = 0

    def skip(self, number: int, record: Snapshot | Update) -> None:
        # The machine does not move past an update whose checksum differs: one that it has applied was equal.
        self.settled(number, record)

    def send(self, client: LevelFeed, number: int, record: Snapshot | Update) -> rsm.Pending[int]:
        asks, bids = list(integers(record.asks)), list(integers(record.bids))
        if isinstance(record, Snapshot):
            decimals = record.price_decimals, record.quantity_decimals
            return client.snapshot_levels.send(record.pair, record.depth, *decimals, asks, bids, number)
        return client.update_levels.send(record.pair, asks, bids, record.checksum, number)

    def settled(self, number: int, record: Snapshot | Update) -> None:
        self._sums_equal += _has_checksum(record)
        self._sums_compared += _has_checksum(record)

    def failed(self, number: int, record: Snapshot | Update) -> None:
        self._sums_compared += _has_checksum(record)

    def checks(self, applied: int, read: int) -> list[Check]:
        return [Check("checksums", "equal", self._sums_equal, self._sums_compared)]

    def book(self, client: LevelFeed) -> dict[str, Any]:
        return {"pairs": {pair: _pair(client, pair) for pair in client.names()}}


def _has_checksum(record: Snapshot | Update) -> bool:
    return isinstance(record, Update) and record.checksum is not None


def _pair(client: LevelFeed, pair: str) -> dict[str, Any]:
    price_decimals, quantity_decimals = client.decimals(pair) or (0, 0)
    found: dict[str, Any] = {}
    for name, side in (("bid", BID), ("ask", ASK)):
        best = client.best(pair, side, 1)
        found[name] = (
            [decimal_text(best[0][0], price_decimals), decimal_text(best[0][1], quantity_decimals)] if best else None
        )
        found[f"{name}_levels"] = client.size(pair, side)
    return found
