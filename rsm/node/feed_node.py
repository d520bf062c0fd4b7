"""What the feed needs of the node behind it: the state, the log, confirmed snapshots, and whether to speak at all.

Narrow, so that a test can stand in for a node. `FedMember` is a real one.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from rsm.codec.record import Entry
from rsm.errors import RsmError
from rsm.node.disk import Disk, File
from rsm.node.member import Member
from rsm.node.service import Service, elsewhere
from rsm.replica.replica import Replica

__all__ = ["FedMember", "FeedNode"]


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


class FedMember:
    """A member of a cluster."""

    def __init__(self, member: Member, disk: Disk, hash_seconds: float, service: Service) -> None:
        self.cluster_id = member.directory.identity.cluster_id
        self.group_id = member.journal.group_id
        self.hash_seconds = hash_seconds
        self._member = member
        self._disk = disk
        self._service = service

    def refusal(self) -> RsmError | None:
        """It differs from the others, or has not been compared with them since its start."""
        doubt = self._service.doubt
        return elsewhere(self._service, doubt) if doubt else None

    def elsewhere(self, reason: str) -> RsmError:
        """Where to go."""
        return elsewhere(self._service, reason)

    @property
    def is_cut_off(self) -> bool:
        """Nothing heard for two election time-outs."""
        return self._member.engine.is_cut_off

    @property
    def replica(self) -> Replica:
        """Its copy of the state, which changes when another one takes its place."""
        return self._member.replica

    @property
    def first_index(self) -> int:
        """The first index in its log."""
        return self._member.journal.first_index

    def chain_at(self, index: int) -> bytes:
        """The command chain after an entry."""
        return self._member.journal.chain_at(index)

    def read(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        """Entries, verified as they are read."""
        return list(self._member.journal.read(first, last, bytes_max=bytes_max))

    def bytes_after(self, index: int) -> int:
        """Bytes of its log after an index."""
        return self._member.journal.bytes_after(index)

    def snapshots(self) -> list[int]:
        """Those that a quorum has confirmed, or that came from a leader, which sends no others."""
        confirmed, first = self._member.replica.compared_index, self._member.journal.first_index
        return [index for index in self._member.snapshot_files.indexes() if first <= index + 1 and index <= confirmed]

    def open_snapshot(self, index: int) -> File:
        """Its file; it can be read on when its name is gone."""
        return self._disk.open(self._member.snapshot_files.path_of(index), writable=False)

    def ask_snapshot(self) -> Future[int]:
        """On a follower the next hash point is the leader's to make."""
        return self._member.snapshots.ask()
