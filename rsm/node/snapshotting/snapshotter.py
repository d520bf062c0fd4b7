"""Taking snapshots while commands flow.

The runner produces the snapshot's records a bucket at a time between batches (a cut of the state keeps the old values),
and a thread of its own compresses, writes and syncs them. A bounded queue joins the two: when the disk is slow, the
runner produces later and never waits. The writer reads the queue to its end whatever happens to it, so the runner may
always put the end in; how the file went, it leaves in `_result` and wakes the runner, which does everything else.
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from enum import Enum
from typing import NamedTuple, Protocol

from rsm.codec.record import RecordKind
from rsm.errors import Closed, StorageError
from rsm.limits import (
    SNAPSHOT_QUEUE_RECORDS,
    SNAPSHOT_REST_FACTOR,
    SNAPSHOT_REST_SECONDS_MAX,
    SNAPSHOT_SLICE_SECONDS,
    SNAPSHOTS_KEPT,
)
from rsm.node.log import describe, logger
from rsm.node.storage.journal import Journal
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts

Part = tuple[RecordKind, bytes]


class Last(Enum):
    """What follows the last record that the writer gets."""

    COMMIT = 1
    ABANDON = 2


class Written(NamedTuple):
    """How writing a file ended."""

    at_index: int
    error: BaseException | None


def drop_older(files: SnapshotFiles, journal: Journal, replica: Replica, keep_from: int) -> None:
    """Drop what a new snapshot makes superfluous: old ones, and the log before the oldest that stays.

    The last confirmed snapshot stays, and whatever is newer; so does one that is on its way to another node, at
    `keep_from` (0 for none), with the log behind it that this node will need next. While none is confirmed, the log
    stays: if the state turns out to be another than the majority's, only that can give the right one. Of those that
    wait for being confirmed, which in a cluster without a majority may take days, the newest few stay; and the oldest,
    which after a restart may be the confirmed one, though this process has compared nothing yet.
    """
    indexes = files.indexes()
    confirmed = [index for index in indexes if replica.is_lone or index <= replica.compared_index]
    files.remove(indexes[max(1, len(confirmed)) : -SNAPSHOTS_KEPT])
    if not confirmed:
        return
    indexes = files.indexes()
    oldest = confirmed[-1]
    if keep_from:
        oldest = min(oldest, keep_from)
    files.remove_older(max(SNAPSHOTS_KEPT, sum(index >= oldest for index in indexes)))
    journal.compact_to(files.indexes()[0])


class Snapshots(Protocol):
    """Who takes snapshots: a `Snapshotter` with its thread, or `InlineSnapshots`."""

    last_index: int
    keep_from: int

    @property
    def wants_hash_point(self) -> bool: ...
    @property
    def is_producing(self) -> bool: ...
    @property
    def rest_seconds(self) -> float: ...
    def ask(self) -> Future[int]: ...
    def at_hash_point(self) -> None: ...
    def refuse(self, error: BaseException) -> None: ...
    def rebind(self, replica: Replica) -> None: ...
    def advance(self) -> None: ...
    def stop(self) -> None: ...
    def abandon(self, reason: BaseException) -> None: ...


class Snapshotter:
    """Snapshots of one replica. Everything but `request` belongs to the runner's thread.

    One is due when the log has grown by `log_bytes`; `tail_bytes` is how much there is already since the last one.
    """

    def __init__(
        self,
        replica: Replica,
        journal: Journal,
        files: SnapshotFiles,
        *,
        log_bytes: int,
        tail_bytes: int,
        wake: Callable[[], None],
    ) -> None:
        self._replica = replica
        self._journal = journal
        self._files = files
        self._log_bytes = log_bytes
        self._counted_from = journal.stored_bytes - tail_bytes
        self._wake = wake
        self._records: queue.Queue[Part | Last] = queue.Queue(SNAPSHOT_QUEUE_RECORDS)
        self._parts: Generator[Part, None, None] | None = None
        self._held: Part | None = None
        self._writer: threading.Thread | None = None
        self._writer_failed = False
        self._is_void = False  # what is being written is of a replica that was replaced, or is not believed
        self._result: Written | None = None
        self._requests = threading.Lock()
        self._waiting: list[Future[int]] = []  # asked for, not begun
        self._served: list[Future[int]] = []  # get the index of the one being taken
        self._is_abandoned = False
        self._rest_until = 0.0
        self.last_index = max(files.indexes(), default=0)
        self.keep_from = 0  # the oldest snapshot that is on its way to another node

    def request(self) -> int:
        """From any thread: have a snapshot taken and wait for it; returns its index."""
        return self.ask().result()

    def ask(self) -> Future[int]:
        """From any thread: have a snapshot taken; the future gets its index."""
        wanted: Future[int] = Future()
        with self._requests:
            if self._is_abandoned:
                raise Closed("the machine is closed")
            self._waiting.append(wanted)
        self._wake()
        return wanted

    def rebind(self, replica: Replica) -> None:
        """Another replica has taken the place of the one there was: a snapshot was installed."""
        if self._parts is not None:
            self._end(Last.ABANDON)
        elif self._writer is not None:
            self._is_void = True  # it cannot be held any more: it is set aside when it is there
        self._replica = replica
        self.last_index = max(self.last_index, replica.index)
        self._counted_from = self._journal.stored_bytes

    @property
    def is_producing(self) -> bool:
        """Whether there are records to produce in idle moments."""
        return self._parts is not None

    @property
    def wants_hash_point(self) -> bool:
        """Whether the next batch should be a hash point, because a snapshot was asked for."""
        return bool(self._waiting) and self._writer is None

    def at_hash_point(self) -> None:
        """The replica stands at a hash point: begin a snapshot if one is due."""
        self._reap()
        if self._writer is not None:
            return
        is_due = self._journal.stored_bytes - self._counted_from >= self._log_bytes
        if not self._waiting and not is_due:
            return
        index, term = self._replica.index, self._replica.term
        with self._requests:
            self._served, self._waiting = self._waiting, []
        self._records = queue.Queue(SNAPSHOT_QUEUE_RECORDS)
        self._writer_failed = False
        self._parts = parts(self._replica, self._journal.chain_at(index))
        self._held = next(self._parts)  # a generator that has begun closes its cut when it is closed
        writer = threading.Thread(target=self._write, args=(index, term), name="rsm-snapshot", daemon=True)
        writer.start()
        self._writer = writer  # only now: one that could not be started cannot be joined

    def refuse(self, error: BaseException) -> None:
        """No hash point could be logged: whoever waits for a snapshot gets the reason."""
        with self._requests:
            refused, self._waiting = self._waiting, []
        for wanted in refused:
            wanted.set_exception(error)

    def advance(self) -> None:
        """Between batches: produce records for a short while, then none for a while."""
        self._reap()
        now = time.monotonic()
        if self._parts is not None and now >= self._rest_until:
            self._produce(now + SNAPSHOT_SLICE_SECONDS)
            ended = time.monotonic()
            # At least a moment, since there was nothing to do if the disk is slow and the queue is full.
            rest = max((ended - now) * SNAPSHOT_REST_FACTOR, SNAPSHOT_SLICE_SECONDS)
            self._rest_until = ended + min(rest, SNAPSHOT_REST_SECONDS_MAX)

    @property
    def rest_seconds(self) -> float:
        """How long the runner waits for commands before it goes on producing; meanwhile other threads can run."""
        return max(0.0, self._rest_until - time.monotonic())

    def _produce(self, deadline: float) -> None:
        while self._parts is not None and time.monotonic() < deadline:
            if self._writer_failed:
                self._end(Last.ABANDON)
                return
            if self._held is None:
                self._held = next(self._parts, None)
                if self._held is None:
                    self._end(Last.COMMIT)
                    return
            try:
                # At the end the runner may as well wait for room; before, it has commands to look after.
                self._records.put(self._held, block=deadline == math.inf)
            except queue.Full:
                return
            self._held = None

    def _end(self, last: Last) -> None:
        if self._parts is not None:
            self._parts.close()
        self._parts = self._held = None
        self._records.put(last)

    def _write(self, index: int, term: int) -> None:
        error: BaseException | None = None
        record: Part | Last | None = None
        try:
            writer = self._files.begin(index, term)
            try:
                while not isinstance(record := self._records.get(), Last):
                    writer.add(*record)
                if record is Last.ABANDON:
                    raise Closed("the machine is closed")
                writer.commit()
            except BaseException:
                writer.abort()
                raise
        except BaseException as failure:
            error = failure
            self._writer_failed = True
            while not isinstance(record, Last):
                record = self._records.get()
        self._result = Written(index, error)
        self._wake()

    def _reap(self) -> None:
        """When the writer is done: drop old snapshots and the log before the new one, tell who waited."""
        result = self._result
        if result is None or self._writer is None:
            return
        self._writer.join()
        self._writer = self._result = None
        error = result.error
        is_void, self._is_void = self._is_void, False
        if error is None and is_void:
            error = Closed("another state has taken the place of the one in the snapshot")
            with contextlib.suppress(StorageError):
                self._files.set_aside(result.at_index)
        elif error is None:
            self.last_index = result.at_index
            try:
                drop_older(self._files, self._journal, self._replica, self.keep_from)
            except StorageError as failure:
                error = failure
        # Also after a failure: the next try comes when the log has grown again, not at every hash point.
        self._counted_from = self._journal.stored_bytes
        if error is not None:
            logger.error("no snapshot was written, or none dropped", index=result.at_index, error=describe(error))
        served, self._served = self._served, []
        for wanted in served:
            if error is None:
                wanted.set_result(result.at_index)
            else:
                wanted.set_exception(error)
        if error is not None and not self._journal.is_usable:
            raise error

    def stop(self) -> None:
        """Finish what was begun, before closing."""
        while self._writer is not None:
            self._produce(math.inf)
            if self._parts is None and self._writer is not None:
                self._writer.join()
            self._reap()

    def abandon(self, reason: BaseException) -> None:
        """Give up; nobody waits for ever, and nothing is written afterwards."""
        if self._parts is not None:
            self._end(Last.ABANDON)
        if self._writer is not None:
            self._writer.join()
        with self._requests:
            self._is_abandoned = True
            unanswered = [*self._waiting, *self._served]
            self._waiting, self._served = [], []
        for wanted in unanswered:
            wanted.set_exception(reason)
