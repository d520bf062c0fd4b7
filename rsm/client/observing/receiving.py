"""The receiving side of an observer: a thread that holds one subscription at a time and puts what comes into an inbox.

Theory of operation. What goes into the inbox follows without a gap: entries are checked against the command chain,
event numbers against the last one, before they are put there. So the thread always knows where it is, and when a
connection ends it subscribes anew at that place, with the next address. A frame that does not follow is not used: the
same place is asked for again. Where a node leaves something out, its SKIP says so, and what follows is marked.

When the inbox is full the thread does not read; the node notices, and skips this observer forward to a snapshot once it
has fallen too far behind.

What no other node could do better (a machine of another name, a log that parts from the observer's, our own disk) ends
the thread; the consumer is told when it has used what came before. Whatever else goes wrong is tried again for ever,
and the status says what it is; but who is refused everywhere before anything has come is told so.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence

from rsm.client.observing.feed_connection import FeedConnection, IncomingSnapshot
from rsm.client.observing.inbox import Inbox
from rsm.client.observing.received import Place, Received, ReceivedEntries, ReceivedEvents, ReceivedSnapshot
from rsm.client.observing.spool import Spool
from rsm.client.tool import Access
from rsm.codec.chain import next_chain
from rsm.codec.record import Entry
from rsm.errors import (
    BadBytes,
    Busy,
    CallerError,
    Closed,
    DivergenceError,
    NotLeader,
    RsmError,
    StorageError,
    Unreachable,
    WrongMachine,
)
from rsm.limits import (
    CLIENT_ADDRESSES_MAX,
    FEED_SILENCE_SECONDS_MAX,
    OBSERVER_GAPS_MAX,
    OBSERVER_QUEUE_BYTES_MAX,
    OBSERVER_REFUSALS_MAX,
    RECONNECT_SECONDS_MAX,
    RECONNECT_SECONDS_MIN,
)
from rsm.node.feed.frames import Alive, FeedEntries, FeedEvents, FeedFrame, FeedHead, FeedSnapshot, Skip
from rsm.node.log import describe
from rsm.node.network.handshake import ServerHello
from rsm.node.network.protocol import Observe
from rsm.node.storage.disk import OsDisk
from rsm.replica.snapshot import Manifest

__all__ = ["Receiver"]

ENTRY_OVERHEAD_BYTES = 128
LOG, EVENTS = 0, 1


class _Gap(Exception):
    """What came does not follow."""


class Receiver:
    """One observer's subscriptions. Everything but what is said to be for others belongs to its thread."""

    def __init__(
        self,
        access: Access,
        machine: str,
        place: Place,
        *,
        topics: Sequence[str] = (),
        events_only: bool = False,
        cluster_id: bytes = b"",
    ) -> None:
        self.inbox: Inbox[Received] = Inbox(OBSERVER_QUEUE_BYTES_MAX)
        self.head: FeedHead | None = None  # of the first subscription
        self.failure: RsmError | None = None  # why nothing more will come
        self.last_errors: dict[str, str] = {}  # by address
        self.error = ""  # why there is no subscription now
        self.address = ""
        self.applied_index = 0
        self.subscriptions = self.connections = self.skipped = 0
        self.cluster_id = cluster_id
        self.addresses = list(access.addresses)
        self._spool = Spool()
        self.spool = self._spool.path  # for the files of snapshots
        self._access = access
        self._machine = machine
        self._place = place
        self._topics = list(topics)
        self._mode = EVENTS if events_only else LOG
        self._disk = OsDisk()
        self._connection: FeedConnection | None = None
        self._bytes_in = self._bytes_out = 0  # of connections that are over
        self._turn = self._gaps = self._refusals = self._snapshots = 0
        self._is_behind_gap = False
        self._behind_since = 0.0  # since when the node has not been where the observer is
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rsm-observer", daemon=True)

    # --- for others ---------------------------------------------------------------------------------------------------

    def start(self, timeout_seconds: float) -> FeedHead:
        """Begin, and wait for the first head. `Unreachable` with what was found at each address, or what is settled."""
        self._thread.start()
        try:
            self.inbox.wait(timeout_seconds)
        except BaseException:
            self.close()
            raise
        if self.head is not None:
            return self.head
        failure = self.failure
        self.close()
        raise failure or Unreachable("; ".join(self.last_errors.values()) or "no node has answered in time")

    def leave(self, address: str) -> None:
        """Take another node, if it is still this one."""
        connection = self._connection
        if connection is not None and connection.address == address:
            connection.abort()

    def traffic(self) -> tuple[int, int]:
        """Bytes received and sent."""
        connection = self._connection
        if connection is None:
            return self._bytes_in, self._bytes_out
        return self._bytes_in + connection.bytes_in, self._bytes_out + connection.bytes_out

    def close(self) -> None:
        """End the subscription and the thread, and remove what has come in files. May be called twice."""
        self._is_closed.set()
        self.inbox.close()
        connection = self._connection
        if connection is not None:
            connection.abort()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        self._spool.close()

    # --- subscriptions ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_seconds = RECONNECT_SECONDS_MIN
        try:
            while not self._is_closed.is_set():
                before = self._progress
                address = self.addresses[self._turn % len(self.addresses)]
                try:
                    self._follow(address)
                except _Gap:
                    continue
                except NotLeader as error:
                    self._redirected(address, error)
                except RsmError as error:
                    self._failed(address, error)
                if self._progress != before:
                    pause_seconds, self._refusals = RECONNECT_SECONDS_MIN, 0
                if self.failure is not None or self._is_closed.wait(pause_seconds):
                    return
                pause_seconds = min(2 * pause_seconds, RECONNECT_SECONDS_MAX)
        except Exception as error:  # ours, or the disk's: the consumer must not wait for ever
            self.failure = Closed(f"the observer has stopped: its receiving side failed: {describe(error)}")
            self.failure.__cause__ = error
        finally:
            self.inbox.wake()

    @property
    def _progress(self) -> tuple[int, int]:
        return self._place.index, self._place.number

    def _redirected(self, address: str, error: NotLeader) -> None:
        self.error = self.last_errors[address] = f"{address}: may not show its state now"
        if error.address:
            self._turn_to(error.address)
        else:
            self._turn += 1

    def _failed(self, address: str, error: RsmError) -> None:
        self.error = self.last_errors[address] = str(error) if str(error).startswith(address) else f"{address}: {error}"
        self._turn += 1
        if self.head is None and isinstance(error, CallerError) and not isinstance(error, (Busy, Closed)):
            self._refusals += 1
        is_settled = isinstance(error, (WrongMachine, DivergenceError))
        if is_settled or self._refusals >= OBSERVER_REFUSALS_MAX * len(self.addresses):
            self.failure = error

    def _turn_to(self, address: str) -> None:
        if address not in self.addresses:
            self.addresses.append(address)
        self._turn = self.addresses.index(address)

    def _meet(self, address: str, hello: ServerHello) -> None:
        """The members are these now: others are asked no more, save those that were given."""
        members = [member for _, member in hello.members if member][:CLIENT_ADDRESSES_MAX]
        if members:
            self.addresses = list(dict.fromkeys((*self._access.addresses, *members)))
            self._turn_to(address)
            self.last_errors = {at: what for at, what in self.last_errors.items() if at in self.addresses}

    def _follow(self, address: str) -> None:
        """One subscription, until it ends with an error."""
        place = self._place
        with FeedConnection(address, self._access) as connection:
            self._connection = connection
            try:
                if self._is_closed.is_set():
                    return
                self.connections += 1
                self._meet(address, connection.hello)
                after = place.number if self._mode == EVENTS else place.index
                request = Observe(after, place.chain, self._mode, self._topics, place.wants_snapshot)
                head = connection.observe(request, self._machine)
                self._begin(address, head)
                self._receive(connection)
            finally:
                self._bytes_in += connection.bytes_in
                self._bytes_out += connection.bytes_out
                self._connection = None

    def _begin(self, address: str, head: FeedHead) -> None:
        self.cluster_id = self.cluster_id or head.cluster_id
        if head.cluster_id != self.cluster_id:
            ours, theirs = self.cluster_id.hex(), head.cluster_id.hex()
            raise CallerError(f"{address}: is of cluster {theirs}, and not of {ours}, which is observed here")
        self.address, self.applied_index, self.error = address, head.applied, ""
        self.subscriptions += 1
        self._behind_since = time.monotonic()
        self._is_behind_gap = False
        if self._mode == EVENTS and self._place.wants_snapshot:
            self._place.number, self._place.wants_snapshot = head.events, False
            self._place.index = head.applied
        if self.head is None:
            self.head = head
            self.inbox.wake()

    def _receive(self, connection: FeedConnection) -> None:
        while not self._is_closed.is_set():
            frame = connection.frame()
            if isinstance(frame, FeedSnapshot):
                self._snapshot(connection, frame)
            elif isinstance(frame, FeedHead):
                raise BadBytes(f"{connection.address}: a second head in a feed")
            else:
                self._take(connection.address, frame)

    def _take(self, address: str, frame: FeedFrame) -> None:
        if isinstance(frame, FeedEntries):
            self._entries(address, frame)
        elif isinstance(frame, FeedEvents):
            self._events(frame)
        elif isinstance(frame, Skip):
            self.skipped += 1
            self._is_behind_gap = True
        elif isinstance(frame, Alive):
            self._alive(address, frame.applied_index)

    def _alive(self, address: str, applied_index: int) -> None:
        """A node that stands still before the place that the observer has come to may be cut off from the others."""
        self.applied_index = max(self.applied_index, applied_index)
        now = time.monotonic()
        if applied_index >= self._place.index:
            self._behind_since = now
        elif now - self._behind_since > FEED_SILENCE_SECONDS_MAX:
            raise Unreachable(f"{address}: stands at index {applied_index}, before that of the observer")

    # --- frames -------------------------------------------------------------------------------------------------------

    def _snapshot(self, connection: FeedConnection, part: FeedSnapshot) -> None:
        """This part and all that follow; what the node says meanwhile is about what comes behind it."""
        self._snapshots += 1
        path = os.path.join(self.spool, f"{self._snapshots}.snapshot")
        place, manifest = self._place, None
        try:
            manifest = self._take_snapshot(connection, part, path)
        except StorageError as error:  # our disk's: no other node will do better
            self.failure = error
            raise
        finally:
            # An older one is of no use: the entries behind it tell whether they follow.
            is_news = manifest is not None and (manifest.index > place.index or place.wants_snapshot)
            if not is_news:
                with contextlib.suppress(StorageError):  # there is none, or nobody can help it
                    self._disk.unlink(path)
        if manifest is not None and is_news:
            place.index, place.chain, place.wants_snapshot = manifest.index, manifest.chain, False
            self._gaps = 0
            self.inbox.put(ReceivedSnapshot(path, manifest), min(part.total_bytes, OBSERVER_QUEUE_BYTES_MAX))

    def _take_snapshot(self, connection: FeedConnection, part: FeedSnapshot, path: str) -> Manifest | None:
        """The manifest; None if the rest will not come, but another one."""
        with IncomingSnapshot(self._disk, path) as incoming:
            frame: FeedFrame = part
            while not isinstance(frame, Skip):
                if isinstance(frame, FeedSnapshot):
                    manifest = incoming.add(frame)
                    if manifest is not None:
                        return manifest
                elif not isinstance(frame, Alive):
                    raise BadBytes("a snapshot in a feed must come in one piece")
                frame = connection.frame()
        return None

    def _entries(self, address: str, frame: FeedEntries) -> None:
        place = self._place
        rows = enumerate(frame.entries, frame.first_index)
        entries = tuple(Entry(index, row.term, row.kind, row.payload) for index, row in rows if index > place.index)
        if not entries:
            return
        chain = place.chain
        for entry in entries:
            chain = next_chain(chain, entry.index, entry.term, entry.kind, entry.payload)
        if entries[0].index != place.index + 1 or chain != frame.chain:
            self._gap(address, f"entry {entries[0].index} does not follow entry {place.index}")
        place.index, place.chain, place.wants_snapshot = entries[-1].index, chain, False
        self._gaps = 0
        self.applied_index = max(self.applied_index, place.index)
        size_bytes = sum(len(entry.payload) + ENTRY_OVERHEAD_BYTES for entry in entries)
        self.inbox.put(ReceivedEntries(entries, dict(frame.roots), address, self.subscriptions), size_bytes)

    def _events(self, frame: FeedEvents) -> None:
        place = self._place
        is_behind_gap = self._is_behind_gap and frame.first_number != place.number + 1
        if frame.first_number > place.number + 1 and not is_behind_gap:
            self._gap(self.address, f"event {frame.first_number} does not follow event {place.number}")
        events = tuple(event for event in frame.events if event.number > place.number)
        self._is_behind_gap = False
        self._gaps = 0
        place.number = max(place.number, frame.last_number)
        place.index = self.applied_index = max(self.applied_index, frame.applied_index)
        size_bytes = sum(len(event.packed) + ENTRY_OVERHEAD_BYTES for event in events)
        self.inbox.put(ReceivedEvents(events, frame.last_number, frame.applied_index, is_behind_gap), size_bytes)

    def _gap(self, address: str, what: str) -> None:
        """Ask for the same place again; a node that does it again and again is left."""
        self._gaps += 1
        if self._gaps >= OBSERVER_GAPS_MAX:
            self._gaps = 0
            raise BadBytes(f"{address}: {what}")
        raise _Gap
