"""The log as a feed: entries, the node's roots, and the command chain, each frame encoded once for all.

What was applied is gathered and becomes a frame at each flush. Those who are live get it at once. The last frames are
kept for those who fell behind for a moment; whoever is further behind gets parts of the log, made for him alone, and if
that does not reach back, or has grown too much meanwhile, a snapshot. While nobody observes, nothing is gathered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rsm.codec.chain import next_chain
from rsm.codec.record import Entry
from rsm.errors import CallerError, DivergenceError, StorageError
from rsm.limits import (
    FEED_FRAME_OVERHEAD_BYTES,
    FEED_LAG_BYTES_MAX,
    FEED_PART_BYTES,
    FEED_RING_BYTES_MAX,
    FEED_SNAPSHOT_WAIT_SECONDS,
    FEED_SNAPSHOTS_MAX,
)
from rsm.node.feed.frames import Skip, encode_entries, encode_feed
from rsm.node.feed.node import FeedNode
from rsm.node.feed.observer import Observer, Work
from rsm.node.feed.snapshots import SnapshotSupply, SnapshotTransfer
from rsm.node.network.wire import FrameKind, encode_frame

__all__ = ["LogFeed"]


class _Ring:
    """The last frames, by the index of their first entry."""

    def __init__(self) -> None:
        self.frames: dict[int, tuple[int, bytes]] = {}
        self._bytes = 0

    def add(self, first: int, last: int, frame: bytes) -> None:
        """Keep a frame, and drop the oldest beyond the bound."""
        self.frames[first] = last, frame
        self._bytes += len(frame) + FEED_FRAME_OVERHEAD_BYTES
        while self._bytes > FEED_RING_BYTES_MAX:
            oldest = next(iter(self.frames))
            self._bytes -= len(self.frames.pop(oldest)[1]) + FEED_FRAME_OVERHEAD_BYTES

    def clear(self) -> None:
        """Forget all."""
        self.frames.clear()
        self._bytes = 0


class LogFeed:
    """Observers of the log. `index` is the last entry in a frame, None while nobody observes."""

    def __init__(self, node: FeedNode, supply: SnapshotSupply) -> None:
        self.live: dict[Observer, None] = {}
        self.skips = 0
        self.index: int | None = None
        self._node = node
        self._supply = supply
        self._chain = b""
        self._ring = _Ring()
        self._gathered: list[Entry] = []
        self._gathered_bytes = 0
        self._roots: list[tuple[int, bytes]] = []
        self._transfers = 0

    # --- what is applied ---------------------------------------------------------------------------------------------

    def applied(self, entry: Entry, root: bytes | None) -> None:
        """Gather an entry."""
        if self.index is None:
            return
        self._gathered.append(entry)
        self._gathered_bytes += len(entry.payload) + FEED_FRAME_OVERHEAD_BYTES
        if root is not None:
            self._roots.append((entry.index, root))
        if self._gathered_bytes > FEED_RING_BYTES_MAX:  # the loop was held up: those who observe get it from the log
            self.forget()

    def forget(self) -> None:
        """Another state has taken the place of the one there was, or nobody observes: begin anew at the next flush."""
        self.index = None
        self._ring.clear()
        self._take()

    def _take(self) -> tuple[list[Entry], list[tuple[int, bytes]]]:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        roots, self._roots = self._roots, []
        return gathered, roots

    def begin(self) -> int:
        """Stand where the replica stands; the index."""
        if self.index is None:
            index = self._node.replica.index
            self._chain = self._node.chain_at(index)
            self.index = index
        return self.index

    def flush(self, until: float) -> list[Observer]:
        """Encode what was gathered and send it to those who are live; those who have to catch up from here on, as do
        those whose turn does not come `until` then.
        """
        gathered, roots = self._take()
        if self.index is None or (gathered and gathered[0].index != self.index + 1):
            self.forget()
            self.begin()
            gathered = []
        # Where it began anew meanwhile, those who were live are not where it stands.
        late = self._not_live([observer for observer in self.live if observer.position != self.index])
        if gathered:
            for entries in _parts(gathered):
                late += self._publish(entries, [root for root in roots if entries[0].index <= root[0]], until)
        return late

    def _publish(self, entries: list[Entry], roots: Sequence[tuple[int, bytes]], until: float) -> list[Observer]:
        last = entries[-1].index
        for entry in entries:
            self._chain = next_chain(self._chain, entry.index, entry.term, entry.kind, entry.payload)
        frame = _frame(entries, [root for root in roots if root[0] <= last], self._chain)
        self._ring.add(entries[0].index, last, frame)
        late = []
        for observer in self.live:
            if observer.is_full or time.perf_counter() > until:
                late.append(observer)
            else:
                observer.send(frame)
                observer.position = last
        self.index = last
        return self._not_live(late)

    def _not_live(self, late: list[Observer]) -> list[Observer]:
        for observer in late:
            del self.live[observer]
        return late

    # --- those who are behind ----------------------------------------------------------------------------------------

    def step(self, observer: Observer, now: float) -> Work:
        """Hand the next thing to an observer that is behind and has room; it may become live. `RsmError` ends it."""
        if observer.transfer is not None:
            return self._send_snapshot(observer, observer.transfer)
        if observer.snapshot_from is not None:
            return self._begin_snapshot(observer, observer.snapshot_from, now)
        index, first = self.begin(), self._node.first_index
        if observer.position > index:
            return Work.NOTHING  # it comes from a node that was further
        if observer.position + 1 < first:
            self._skip(observer, f"the log of this node begins at index {first}", now)
            return Work.CHEAP
        if observer.chain:
            if self._node.chain_at(observer.position) != observer.chain:
                raise DivergenceError(f"the observer's log up to index {observer.position} is not that of this node")
            observer.chain = b""
        if observer.position == index:
            observer.has_been_live = True
            self.live[observer] = None
            return Work.CHEAP
        if observer.position + 1 in self._ring.frames:
            return self._send_kept(observer)
        if observer.has_been_live and self._node.bytes_after(observer.position) > FEED_LAG_BYTES_MAX:
            self._skip(observer, f"more than {FEED_LAG_BYTES_MAX} bytes of log behind", now)
            return Work.CHEAP
        return self._send_part(observer, index)

    def _send_kept(self, observer: Observer) -> Work:
        left = FEED_PART_BYTES
        while left > 0 and not observer.is_full and (kept := self._ring.frames.get(observer.position + 1)):
            observer.position, frame = kept
            observer.send(frame)
            left -= len(frame) + FEED_FRAME_OVERHEAD_BYTES
        return Work.CHEAP

    def _send_part(self, observer: Observer, last: int) -> Work:
        try:
            entries = self._node.read(observer.position + 1, last, FEED_PART_BYTES)
        except CallerError:
            return Work.NOTHING  # compaction has just removed it: the next look finds that out
        last = entries[-1].index
        roots = self._node.replica.roots
        known = [(entry.index, roots[entry.index]) for entry in entries if entry.index in roots]
        observer.send(_frame(entries, known, self._node.chain_at(last)))
        observer.position = last
        return Work.PART

    # --- snapshots ---------------------------------------------------------------------------------------------------

    def _skip(self, observer: Observer, reason: str, now: float) -> None:
        self.skips += 1
        observer.chain = b""
        observer.has_been_live = False  # what lies behind the snapshot it gets in its own time
        observer.send(encode_frame(FrameKind.FEED, encode_feed(Skip(reason))))
        observer.wait_for_snapshot(observer.position + 1, now)

    @property
    def is_crowded(self) -> bool:
        """Whether as many snapshots are on their way as may be."""
        return self._transfers >= FEED_SNAPSHOTS_MAX

    def _begin_snapshot(self, observer: Observer, at_least: int, now: float) -> Work:
        if self.is_crowded:
            return Work.NOTHING
        has_waited = now - observer.waits_since >= FEED_SNAPSHOT_WAIT_SECONDS
        index = self._supply.choose(at_least, now, is_fresh=not has_waited)
        if index is None:
            if at_least <= self._node.replica.index:  # else the next one would be too old as well
                self._supply.ask(now)
            is_cheap = self._supply.choose(0, now, is_fresh=False) is None and self._supply.is_young
            if not at_least and self._node.first_index == 1 and (is_cheap or has_waited):
                observer.snapshot_from = None  # the whole log is there: that is as good
                return Work.CHEAP
            if has_waited:
                raise self._node.elsewhere(
                    f"this node has no confirmed snapshot of index {at_least} or later: there was no hash point since"
                )
            return Work.NOTHING
        try:
            file = self._node.open_snapshot(index)
        except StorageError:
            if self._supply.look(now) == index:
                raise
            return Work.CHEAP  # a newer one has just taken its place
        observer.transfer = SnapshotTransfer(index, file)
        self._transfers += 1
        return Work.CHEAP

    def _send_snapshot(self, observer: Observer, transfer: SnapshotTransfer) -> Work:
        observer.send(transfer.next_frame())
        if transfer.is_over:
            self.release(observer)
            observer.position, observer.snapshot_from, observer.chain = transfer.index, None, b""
        return Work.PART

    def release(self, observer: Observer) -> None:
        """The observer is over, or has its snapshot."""
        if observer.transfer is not None:
            self._transfers -= 1
            observer.close()


def _parts(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Runs of entries of so many bytes; mostly there is one."""
    start = size = 0
    for position, entry in enumerate(entries):
        size += len(entry.payload)
        if size > FEED_PART_BYTES and position > start:
            yield entries[start:position]
            start, size = position, len(entry.payload)
    yield entries[start:]


def _frame(entries: list[Entry], roots: Sequence[tuple[int, bytes]], chain: bytes) -> bytes:
    return encode_frame(FrameKind.FEED, encode_entries(entries, roots, chain), compress=True)
