"""Snapshots for observers: which one is new enough, when to have one taken, and how one is sent.

Whoever begins with a snapshot applies everything behind it. So a snapshot's age is measured in the seconds that this
node itself spent applying since. Beyond a bound a new one is asked for, and only so often, however many come.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future

from rsm.errors import Closed
from rsm.limits import (
    FEED_CATCH_UP_SECONDS,
    FEED_INTERVAL_SECONDS,
    FEED_MARKS_MAX,
    FEED_SNAPSHOT_PART_BYTES,
    FEED_SNAPSHOT_SECONDS_MIN,
)
from rsm.node.feed.frames import FeedSnapshot, encode_feed
from rsm.node.feed.node import FeedNode
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.node.storage.disk import File

__all__ = ["SnapshotSupply", "SnapshotTransfer"]


class SnapshotTransfer:
    """A snapshot's file on its way, in parts. It stays open when its name is gone."""

    def __init__(self, index: int, file: File) -> None:
        self.index = index
        self._file = file
        self._size = file.size()
        self._offset = 0

    @property
    def is_over(self) -> bool:
        """Whether the last part was given."""
        return self._offset >= self._size

    def next_frame(self) -> bytes:
        """The next part, as a frame. `StorageError`."""
        count = min(FEED_SNAPSHOT_PART_BYTES, self._size - self._offset)
        data = self._file.pread(count, self._offset)
        payload = encode_feed(FeedSnapshot(self.index, self._size, self._offset, data))
        self._offset += count
        return encode_frame(FrameKind.FEED, payload)  # what is in it is compressed already

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SnapshotSupply:
    """The confirmed snapshots of a node, and how old they are. `seconds`: what was spent applying so far."""

    def __init__(self, node: FeedNode, seconds: float = 0.0) -> None:
        self._node = node
        self._seconds = seconds
        self._marks: deque[tuple[int, float]] = deque(maxlen=FEED_MARKS_MAX)
        self._asked: Future[int] | None = None
        self._asked_at = 0.0
        self._newest: int | None = None
        self._listed_at = -FEED_INTERVAL_SECONDS

    def applied(self, index: int, *, is_hash_point: bool, seconds: float) -> None:
        """An entry was applied, in so many seconds."""
        self._seconds += seconds
        if is_hash_point:
            self._marks.append((index, self._seconds))

    def seconds_since(self, index: int) -> float:
        """What was spent applying behind an index, at most."""
        for at, seconds in reversed(self._marks):
            if at <= index:
                return self._seconds - seconds
        return self._seconds

    @property
    def is_young(self) -> bool:
        """Whether applying everything that this node has applied takes no longer than a snapshot may be old."""
        return self._seconds <= FEED_CATCH_UP_SECONDS

    def choose(self, at_least: int, now: float, *, is_fresh: bool) -> int | None:
        """The newest confirmed snapshot, if its index is high enough, and it is new enough where that is asked for."""
        is_known = now - self._listed_at < FEED_INTERVAL_SECONDS  # many may wait for the same one
        newest = self._newest if is_known else self.look(now)
        if newest is None or newest < at_least or (is_fresh and self.seconds_since(newest) > FEED_CATCH_UP_SECONDS):
            return None
        return newest

    def look(self, now: float) -> int | None:
        """The newest confirmed snapshot, as the directory has it now."""
        self._newest, self._listed_at = max(self._node.snapshots(), default=None), now
        return self._newest

    def ask(self, now: float) -> None:
        """Have one taken, unless that is under way or was done a moment ago."""
        is_under_way = self._asked is not None and not self._asked.done()
        if is_under_way or (self._asked is not None and now - self._asked_at < FEED_SNAPSHOT_SECONDS_MIN):
            return
        self._asked_at = now
        try:
            self._asked = self._node.ask_snapshot()
        except Closed:
            return  # the node is ending, and so will whoever waits
