"""What the feed needs of the node behind it: the state, the log, confirmed snapshots, and whether to speak at all.

Narrow, so that a test can stand in for a node. `rsm.node.fed_member` is a real one.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from rsm.codec.record import Entry
from rsm.errors import RsmError
from rsm.node.storage.disk import File
from rsm.replica.replica import Replica

__all__ = ["FeedNode"]


class FeedNode(Protocol):
    """A node, as its feed sees it. Indexes are of its log; only what is applied is ever asked for."""

    @property
    def cluster_id(self) -> bytes:
        """The cluster that it belongs to."""

    @property
    def group_id(self) -> int:
        """Which machine, where several share a process."""

    @property
    def hash_seconds(self) -> float:
        """How long after a change its leader lets pass until a hash point, if it leads."""

    @property
    def replica(self) -> Replica:
        """Its copy of the state."""

    def refusal(self) -> RsmError | None:
        """Why nothing of its state may be shown now, and where to go or when to come again; None if it may."""

    def elsewhere(self, reason: str) -> RsmError:
        """What to tell somebody who cannot be served here: where the leader is, or when to come again."""

    @property
    def is_cut_off(self) -> bool:
        """Whether it has heard of no leader for so long that others may have gone on without it."""

    @property
    def first_index(self) -> int:
        """The first index in its log."""

    def chain_at(self, index: int) -> bytes:
        """The command chain after an entry, also of the one before the log's first. `CallerError` outside the log."""

    def read(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        """Entries from `first`, at least one, of at most so many bytes. `CallerError` if they are not in the log."""

    def bytes_after(self, index: int) -> int:
        """Bytes of its log after an index."""

    def snapshots(self) -> list[int]:
        """The indexes of its confirmed snapshots behind which its log goes on, ascending."""

    def open_snapshot(self, index: int) -> File:
        """The file of one. `StorageError` if it is gone."""

    def ask_snapshot(self) -> Future[int]:
        """Have one taken at the next hash point."""
