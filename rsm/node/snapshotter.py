"""Taking snapshots while commands flow.

The runner produces the snapshot's records a bucket at a time between batches (a cut of the state keeps the old values),
and a thread of its own compresses, writes and syncs them. A bounded queue joins the two: when the disk is slow, the
runner produces later and never waits.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from rsm.codec.record import RecordKind
from rsm.errors import Closed
from rsm.limits import SNAPSHOT_QUEUE_RECORDS, SNAPSHOT_SLICE_SECONDS, SNAPSHOTS_KEPT
from rsm.node.journal import Journal
from rsm.node.log import logger
from rsm.node.snapshots import SnapshotFiles
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts

END: Any = None


class Snapshotter:
    """Snapshots of one replica. Everything but `request` belongs to the runner's thread."""

    def __init__(
        self,
        replica: Replica,
        journal: Journal,
        files: SnapshotFiles,
        log_bytes: int,
        state_lock: threading.Lock,
        wake: Callable[[], None],
    ) -> None:
        self._replica = replica
        self._journal = journal
        self._files = files
        self._log_bytes = log_bytes
        self._state_lock = state_lock
        self._wake = wake
        self._records: queue.Queue[Any] = queue.Queue(SNAPSHOT_QUEUE_RECORDS)
        self._parts: Iterator[tuple[RecordKind, bytes]] | None = None
        self._writer: threading.Thread | None = None
        self._waiting: list[Future[int]] = []  # asked for, not begun
        self._served: list[Future[int]] = []  # get the index of the one being taken
        self._held: tuple[RecordKind, bytes] | None = None
        self._bytes_at_last = journal.stored_bytes
        self.last_index = max(files.indexes(), default=0)

    def request(self) -> int:
        """From any thread: have a snapshot taken and wait for it; returns its index."""
        wanted: Future[int] = Future()
        self._waiting.append(wanted)
        self._wake()
        return wanted.result()

    @property
    def is_producing(self) -> bool:
        """Whether there is work for idle moments: records to produce, or a finished file to account for."""
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
        is_due = self._journal.stored_bytes - self._bytes_at_last >= self._log_bytes
        if not self._waiting and not is_due:
            return
        index, term = self._replica.index, self._replica.term
        self._served, self._waiting = self._waiting, []
        self._records = queue.Queue(SNAPSHOT_QUEUE_RECORDS)
        self._parts = parts(self._replica, self._journal.chain_at(index))
        self._writer = threading.Thread(target=self._write, args=(index, term), name="rsm-snapshot", daemon=True)
        self._writer.start()

    def advance(self, *, is_idle: bool) -> None:
        """Produce some records: a short slice between batches, more when nobody waits."""
        self._reap()
        if self._parts is None:
            return
        deadline = time.monotonic() + SNAPSHOT_SLICE_SECONDS
        while time.monotonic() < deadline:
            if self._held is None:
                self._held = next(self._parts, END)
                if self._held is END:
                    self._parts = None
                    self._held = None
                    self._records.put(END)  # the writer empties the queue, so this cannot last
                    return
            try:
                # Idle, the runner may as well wait for room; busy, it goes back to its callers.
                self._records.put(self._held, block=is_idle, timeout=SNAPSHOT_SLICE_SECONDS if is_idle else None)
            except queue.Full:
                return
            self._held = None

    def _write(self, index: int, term: int) -> None:
        try:
            writer = self._files.begin(index, term)
            try:
                while (record := self._records.get()) is not END:
                    writer.add(*record)
                writer.commit()
            except BaseException:
                writer.abort()
                raise
        except BaseException as error:
            self._error: BaseException | None = error
            while self._parts is not None and self._records.get() is not END:
                pass  # let the runner finish producing; nothing is kept
        else:
            self._error = None
            self._written = index
        self._wake()

    def _reap(self) -> None:
        """When the writer is done: drop old snapshots and the log before the new one, tell who waited."""
        writer = self._writer
        if writer is None or writer.is_alive() or self._parts is not None:
            return
        writer.join()
        self._writer = None
        served, self._served = self._served, []
        if self._error is not None:
            logger.error("no snapshot was written", error=str(self._error))
            for wanted in served:
                wanted.set_exception(self._error)
            return
        self.last_index = self._written
        self._files.remove_older(SNAPSHOTS_KEPT)
        self._journal.compact_to(self._files.indexes()[0])
        self._bytes_at_last = self._journal.stored_bytes
        for wanted in served:
            wanted.set_result(self.last_index)

    def stop(self) -> None:
        """Finish what was begun, before closing."""
        while self._writer is not None:
            self.advance(is_idle=True)
            if self._parts is None:
                self._writer.join()
            self._reap()

    def abandon(self) -> None:
        """Give up; nobody waits for ever."""
        if self._parts is not None:
            self._parts = None
            self._records.put(END)
        for wanted in [*self._waiting, *self._served]:
            if not wanted.done():
                wanted.set_exception(Closed("the machine is closed"))
