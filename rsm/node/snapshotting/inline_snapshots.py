"""Snapshots without a thread: the whole of one is written between two entries. For simulations, which have no time."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future

from rsm.errors import StorageError
from rsm.node.log import describe, logger
from rsm.node.snapshotting.snapshotter import drop_older
from rsm.node.storage.journal import Journal
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts

__all__ = ["InlineSnapshots"]


class InlineSnapshots:
    """The same face as `Snapshotter`."""

    is_producing = False
    rest_seconds = 0.0

    def __init__(self, replica: Replica, journal: Journal, files: SnapshotFiles, *, log_bytes: int) -> None:
        self._replica = replica
        self._journal = journal
        self._files = files
        self._log_bytes = log_bytes
        self._counted_from = journal.stored_bytes - journal.bytes_after(replica.index)
        self._waiting: list[Future[int]] = []
        self.last_index = max(files.indexes(), default=0)
        self.keep_from = 0

    @property
    def wants_hash_point(self) -> bool:
        """Whether the next batch should be a hash point, because a snapshot was asked for."""
        return bool(self._waiting)

    def ask(self) -> Future[int]:
        """Have a snapshot taken at the next hash point."""
        wanted: Future[int] = Future()
        self._waiting.append(wanted)
        return wanted

    def at_hash_point(self) -> None:
        """The replica stands at a hash point: take a snapshot if one is due."""
        if not self._waiting and self._journal.stored_bytes - self._counted_from < self._log_bytes:
            return
        index = self._replica.index
        try:
            self._take(index)
        except StorageError as error:
            if not self._journal.is_usable:
                raise
            logger.error("no snapshot was written, or none dropped", index=index, error=describe(error))
            self.refuse(error)
        # Also after a failure: the next try comes when the log has grown again, not at every hash point.
        self._counted_from = self._journal.stored_bytes
        waiting, self._waiting = self._waiting, []
        for wanted in waiting:
            wanted.set_result(index)

    def _take(self, index: int) -> None:
        with self._files.begin(index, self._replica.term) as writer:
            with contextlib.closing(parts(self._replica, self._journal.chain_at(index))) as records:
                for kind, payload in records:
                    writer.add(kind, payload)
            writer.commit()
        self.last_index = index
        drop_older(self._files, self._journal, self._replica, self.keep_from)

    def refuse(self, error: BaseException) -> None:
        """No hash point could be logged: whoever waits gets the reason."""
        waiting, self._waiting = self._waiting, []
        for wanted in waiting:
            wanted.set_exception(error)

    def rebind(self, replica: Replica) -> None:
        """Another replica has taken the place of the one there was: a snapshot was installed."""
        self._replica = replica
        self.last_index = max(self.last_index, replica.index)
        self._counted_from = self._journal.stored_bytes

    def advance(self) -> None:
        """Nothing is ever half done."""

    def stop(self) -> None:
        """Nothing to finish."""

    def abandon(self, reason: BaseException) -> None:
        """Nobody waits for ever."""
        self.refuse(reason)
