"""What the receiving side of an observer hands to the side that applies, and the place where a subscription goes on."""

from __future__ import annotations

import msgspec

from rsm.codec.record import Entry
from rsm.node.feed.frames import FeedEvent
from rsm.replica.snapshot import Manifest

__all__ = ["Place", "Received", "ReceivedEntries", "ReceivedEvents", "ReceivedSnapshot"]


class Place(msgspec.Struct):
    """Where a subscription goes on: behind this entry of this chain, or, for events, behind the event of this number.
    `wants_snapshot`: not there, but at a new snapshot, or at the newest event.
    """

    index: int = 0
    chain: bytes = b""
    wants_snapshot: bool = False
    number: int = 0


class ReceivedEntries(msgspec.Struct, frozen=True):
    """Entries that follow what came before; `roots` by index are those of the node at `address`, which the observer
    has as its `subscription`, counted from 1.
    """

    entries: tuple[Entry, ...]
    roots: dict[int, bytes]
    address: str
    subscription: int


class ReceivedSnapshot(msgspec.Struct, frozen=True):
    """The file of a snapshot, all of it undamaged."""

    path: str
    manifest: Manifest


class ReceivedEvents(msgspec.Struct, frozen=True):
    """Events in order, all that were asked for up to number `last`, and so to index `applied`. `is_behind_gap`: some
    before them are unknown.
    """

    events: tuple[FeedEvent, ...]
    last: int
    applied: int
    is_behind_gap: bool


Received = ReceivedEntries | ReceivedSnapshot | ReceivedEvents
