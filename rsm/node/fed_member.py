"""A member of a cluster, as its feed sees it (`rsm.node.feed.node`)."""

from __future__ import annotations

from concurrent.futures import Future

from rsm.codec.record import Entry
from rsm.errors import RsmError
from rsm.node.member import Member
from rsm.node.service import Service, elsewhere
from rsm.node.storage.disk import Disk, File
from rsm.replica.replica import Replica

__all__ = ["FedMember"]


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
