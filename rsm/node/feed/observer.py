"""One observer of a node: a position, what is on its way to it, and how well it takes it."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from rsm.limits import FEED_BUFFER_BYTES_MAX
from rsm.node.feed.snapshots import SnapshotTransfer

__all__ = ["FeedConnection", "Observer", "Work"]


class FeedConnection(Protocol):
    """What an observer needs of its connection."""

    remote: str
    is_open: bool

    @property
    def send_buffer_bytes(self) -> int:
        """Bytes that wait to be sent."""

    def send_shared(self, frame: bytes) -> None:
        """Send a frame that others get too."""

    def answer(self, payload: bytes, *, compress: bool = False) -> None:
        """Send an answer."""

    def close(self, reason: str, *, at_once: bool = False) -> None:
        """Close it."""


class Work(IntEnum):
    """What a look at an observer that is behind has led to."""

    NOTHING = 0
    CHEAP = 1  # frames that were encoded already
    PART = 2  # something was read and encoded for it: that is enough for one turn of the loop


class Observer:
    """`position` is the last index, or the number of the last event, that was handed to its connection."""

    def __init__(self, connection: FeedConnection, request_id: int, position: int, now: float) -> None:
        self.connection = connection
        self.request_id = request_id
        self.position = position
        self.chain = b""  # at `position`, as it says; empty: not known, or compared
        self.has_been_live = False
        self.is_quiet = False  # nothing was sent since the last look
        self.bytes = 0
        self.snapshot_from: int | None = None  # it waits for a snapshot of this index or a later one,
        self.waits_since = now  # since then
        self.transfer: SnapshotTransfer | None = None
        self._full_bytes = 0
        self._full_since = 0.0

    def send(self, frame: bytes) -> None:
        """Hand it a frame."""
        self.is_quiet = False
        self.bytes += len(frame)
        self.connection.send_shared(frame)

    @property
    def is_full(self) -> bool:
        """Whether so much waits for it that it gets nothing more."""
        return self.connection.send_buffer_bytes > FEED_BUFFER_BYTES_MAX

    def stalled_seconds(self, now: float, bytes_min: int) -> float:
        """How long less than so many bytes of what waits have gone out. To be asked while it is full, and gets
        nothing.
        """
        waiting = self.connection.send_buffer_bytes
        if not self._full_bytes or self._full_bytes - waiting >= bytes_min:
            self._full_bytes, self._full_since = waiting, now
        return now - self._full_since

    def drained(self) -> None:
        """It is not full: whatever it took before counts no longer."""
        self._full_bytes = 0

    def wait_for_snapshot(self, at_least: int, now: float) -> None:
        """It gets a snapshot next."""
        self.snapshot_from, self.waits_since = at_least, now

    def close(self) -> None:
        """Let go of what it holds."""
        transfer, self.transfer = self.transfer, None
        if transfer is not None:
            transfer.close()
