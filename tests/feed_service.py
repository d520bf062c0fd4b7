"""A feed for services that only tests have: a log in memory, and snapshots that are there as soon as asked for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry
from rsm.errors import CallerError, RsmError
from rsm.limits import IDLE_HASH_SECONDS
from rsm.node.service import Service, elsewhere
from rsm.node.storage.disk import File
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts
from rsm.testing.disk import FaultDisk

PATH = "/snapshots"


class MemoryFeed:
    """The `FeedNode` of a service whose replica has applied `entries`. `compact_to` cuts the log."""

    hash_seconds = IDLE_HASH_SECONDS
    group_id = 0

    def __init__(self, service: Service, entries: Callable[[], list[Entry]]) -> None:
        self.disk = FaultDisk()
        self.files = SnapshotFiles(self.disk, PATH)
        self.waits = False  # no snapshot is taken, though asked for
        self.is_cut_off = False
        self.reads = 0
        self.asked = 0
        self._service = service
        self._entries = entries
        self._first = 1
        self._chains = [ZERO_CHAIN]

    @property
    def cluster_id(self) -> bytes:
        return self._service.cluster_id

    @property
    def replica(self) -> Replica:
        return self._service.replica

    def refusal(self) -> RsmError | None:
        doubt = self._service.doubt
        return elsewhere(self._service, doubt) if doubt else None

    def elsewhere(self, reason: str) -> RsmError:
        return elsewhere(self._service, reason)

    @property
    def first_index(self) -> int:
        return self._first

    def chain_at(self, index: int) -> bytes:
        if not self._first - 1 <= index <= len(self._entries()):
            raise CallerError(f"index {index} is not in the log")
        while len(self._chains) <= index:
            entry = self._entries()[len(self._chains) - 1]
            self._chains.append(next_chain(self._chains[-1], entry.index, entry.term, entry.kind, entry.payload))
        return self._chains[index]

    def read(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        self.reads += 1
        if first < self._first:
            raise CallerError(f"index {first} is not in the log")
        found: list[Entry] = []
        size = 0
        for entry in self._entries()[first - 1 : last]:
            size += len(entry.payload)
            if found and size > bytes_max:
                break
            found.append(entry)
        return found

    def bytes_after(self, index: int) -> int:
        return sum(len(entry.payload) + 65 for entry in self._entries()[index:])

    def snapshots(self) -> list[int]:
        return [index for index in self.files.indexes() if index + 1 >= self._first]

    def open_snapshot(self, index: int) -> File:
        return self.disk.open(self.files.path_of(index), writable=False)

    def ask_snapshot(self) -> Future[int]:
        self.asked += 1
        wanted: Future[int] = Future()
        if not self.waits:
            wanted.set_result(self.take())
        return wanted

    def take(self) -> int:
        """Write a snapshot of the state as it is."""
        replica = self.replica
        roots = dict(replica.roots)
        replica.roots.setdefault(replica.index, replica.root())
        with self.files.begin(replica.index, replica.term) as writer:
            for kind, payload in parts(replica, self.chain_at(replica.index)):
                writer.add(kind, payload)
            writer.commit()
        replica.roots = roots
        return replica.index

    def compact_to(self, index: int) -> None:
        """Drop the log up to an index."""
        self._first = index + 1
