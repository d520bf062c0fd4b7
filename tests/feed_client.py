"""An observer for tests that speaks bytes, and checks that what it gets has no gap that it was not told of."""

from __future__ import annotations

from typing import Any

from rsm.codec.chain import next_chain
from rsm.codec.record import Entry
from rsm.node.feed.frames import (
    Alive,
    FeedEntries,
    FeedEvents,
    FeedFrame,
    FeedHead,
    FeedSnapshot,
    Skip,
    decode_feed,
)
from rsm.node.network import protocol
from rsm.node.network.protocol import AnswerStatus
from rsm.node.network.wire import FrameKind
from rsm.node.storage.snapshots import read_snapshot
from rsm.replica.replica import Replica
from rsm.replica.snapshot import restore
from rsm.testing.disk import FaultDisk
from tests.raw_client import Raw

Failure = tuple[AnswerStatus, list[Any]]


class Observing:
    """A subscription of the log on a raw connection. `index` and `chain` are where it is."""

    def __init__(self, raw: Raw, after: int = 0, chain: bytes = b"", *, snapshot: bool = False) -> None:
        self.raw = raw
        self.index, self.chain = after, chain or bytes(16)
        self.entries: list[Entry] = []
        self.roots: dict[int, bytes] = {}
        self.skips: list[str] = []
        self.snapshots: list[tuple[int, bytes]] = []
        self.alive: list[int] = []
        self.failure: Failure | None = None
        self.is_closed = False
        self._part = b""
        self.request_id = raw.request(protocol.Observe(after, chain, 0, [], snapshot))
        self.head: FeedHead | None = None

    def step(self) -> None:
        """Take in the next frame."""
        frame = next_frame(self.raw)
        if frame is None:
            self.is_closed = True
        elif isinstance(frame, tuple):
            self.failure = frame
        elif isinstance(frame, FeedHead):
            self.head = frame
        elif isinstance(frame, FeedEntries):
            self._take(frame)
        elif isinstance(frame, FeedSnapshot):
            assert frame.offset == len(self._part)
            self._part += frame.data
            if len(self._part) == frame.total_bytes:
                self.snapshots.append((frame.index, self._part))
                self.index, self.chain, self._part = frame.index, b"", b""
        elif isinstance(frame, Skip):
            self.skips.append(frame.reason)
            self._part = b""
        else:
            assert isinstance(frame, Alive)
            self.alive.append(frame.applied_index)

    def _take(self, frame: FeedEntries) -> None:
        assert frame.first_index == self.index + 1, "a gap that nobody spoke of"
        for entry in frame.entries:
            self.index += 1
            self.entries.append(Entry(self.index, entry.term, entry.kind, entry.payload))
            if self.chain:
                self.chain = next_chain(self.chain, self.index, entry.term, entry.kind, entry.payload)
        assert self.chain in (b"", frame.chain)
        self.chain = frame.chain
        self.roots.update(frame.roots)

    def until(self, index: int) -> Observing:
        """Go on to an index; it must come."""
        while self.index < index:
            self.step()
            assert self.failure is None, self.failure
            assert not self.is_closed
        return self


def next_frame(raw: Raw) -> FeedFrame | Failure | None:
    """The next frame of the feed, the status and fields of an answer, or None: the server has closed."""
    found = raw.frame()
    if found is None:
        return None
    if found[0] == FrameKind.ANSWER:
        _, status, fields = protocol.decode_answer(found[1])
        return status, fields
    assert found[0] == FrameKind.FEED
    return decode_feed(found[1])


class Following:
    """A subscription of events."""

    def __init__(self, raw: Raw, after: int = 0, *topics: str, newest: bool = False) -> None:
        self.raw = raw
        self.number = after
        self.events: list[tuple[int, bytes]] = []
        self.frames: list[FeedEvents] = []
        self.skips: list[str] = []
        self.request_id = raw.request(protocol.Observe(after, b"", 1, list(topics), newest))
        head = next_frame(raw)
        assert isinstance(head, FeedHead)
        self.head = head
        if newest:
            self.number = head.events

    def step(self) -> None:
        """Take in the next frame."""
        frame = next_frame(self.raw)
        if isinstance(frame, Skip):
            self.skips.append(frame.reason)
            return
        if isinstance(frame, Alive):
            return
        assert isinstance(frame, FeedEvents), frame
        assert frame.first_number == self.number + 1 or len(self.skips) == 1
        assert all(frame.first_number <= event.number <= frame.last_number for event in frame.events)
        self.number = frame.last_number
        self.frames.append(frame)
        self.events += [(event.number, event.packed) for event in frame.events]

    def until(self, number: int) -> Following:
        """Go on to a number; it must come."""
        while self.number < number:
            self.step()
        return self


def restored(machine: Any, index: int, file: bytes) -> Replica:
    """A replica from the bytes of a snapshot's file."""
    disk = FaultDisk()
    with_file = disk.open("/s", create=True)
    with_file.pwrite(file, 0)
    with_file.close()
    replica = Replica(machine)
    restore(replica, list(read_snapshot(disk, "/s", index=index)))
    return replica
