"""A log with a history, told on a disk that may fail at any step, and the judgement of what is found afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry, RecordKind
from rsm.node.storage.journal import Journal
from rsm.testing.disk import FaultDisk

LOG = "log"
CLUSTER = b"c" * 16
SEGMENT_BYTES = 1300


def entry(index: int, term: int = 1, payload: bytes | None = None) -> Entry:
    """An entry whose payload is its own: no two indexes or terms share one. Some span several sectors."""
    text = f"entry {index} of term {term} ".encode() * (60 if index % 7 == 0 else 1 + index % 3)
    return Entry(index, term, RecordKind.BATCH if index % 5 else RecordKind.NOOP, text if payload is None else payload)


def open_log(disk: FaultDisk) -> Journal:
    return Journal.open(disk, LOG, group_id=3, cluster_id=CLUSTER, segment_bytes=SEGMENT_BYTES)


@dataclass
class World:
    """A log that may be on the disk: any beginning of `entries` that reaches `durable`, cut off in front up to
    `first_max`.
    """

    first_min: int
    first_max: int
    base_chain: bytes
    entries: list[Entry]
    durable: int

    def objection(self, found: Journal) -> str | None:
        """Why `found` is not this log; None if it is."""
        entries = list(found.read(found.first_index))
        if not self.first_min <= found.first_index <= self.first_max:
            return f"starts at {found.first_index}, not between {self.first_min} and {self.first_max}"
        if found.last_index < self.durable:
            return f"lost: ends at {found.last_index}, acknowledged to {self.durable}"
        expected = [item for item in self.entries if found.first_index <= item.index <= found.last_index]
        if entries != expected or len(entries) != found.last_index - found.first_index + 1:
            return "holds other entries"
        chain = self.base_chain
        for item in self.entries[: found.last_index - self.first_min + 1]:
            chain = next_chain(chain, item.index, item.term, item.kind, item.payload)
        if found.last_chain != chain:
            return "has another chain"
        if found.durable_index != found.last_index:
            return "is not durable after recovery"
        return None


class Story:
    """Appends, syncs, conflicts, compactions and resets, knowing at each step what the disk may and must hold."""

    def __init__(self, disk: FaultDisk) -> None:
        self.disk = disk
        self.world = World(1, 1, ZERO_CHAIN, [], 0)
        self.next_world: World | None = None
        self.journal = open_log(disk)

    def append(self, count: int, term: int = 1) -> None:
        start = self.journal.last_index + 1
        new = [entry(start + offset, term) for offset in range(count)]
        self.world.entries += new
        self.journal.append(new, compress=term % 2 == 1)

    def sync(self) -> None:
        self.world.durable = self.journal.sync()

    def truncate(self, index: int) -> None:
        self.world.durable = min(self.world.durable, index - 1)
        self.journal.truncate_from(index)
        self.world.entries = [item for item in self.world.entries if item.index < index]

    def compact(self, index: int) -> None:
        self.world.first_max = index + 1
        self.world.first_max = self.journal.compact_to(index)

    def reset(self, index: int, term: int) -> None:
        self.next_world = World(index + 1, index + 1, b"r" * 16, [], index)
        self.world.durable = 0
        self.journal.reset(index, term, b"r" * 16)
        self.world, self.next_world = self.next_world, None

    def tell(self) -> None:
        """The whole story: several segments, a conflict across one, compaction, a reset, and life after it."""
        for step in self.steps():
            step()

    def steps(self) -> list[Callable[[], None]]:
        return [
            lambda: self.append(1),
            self.sync,
            lambda: self.append(4),
            lambda: self.append(2),
            self.sync,
            lambda: self.append(6, term=2),
            self.sync,
            lambda: self.append(9, term=2),
            lambda: self.truncate(12),
            lambda: self.append(3, term=4),
            self.sync,
            lambda: self.compact(8),
            lambda: self.append(12, term=4),
            self.sync,
            lambda: self.truncate(10),
            lambda: self.append(7, term=5),
            lambda: self.append(7, term=5),
            lambda: self.append(6, term=5),
            self.sync,
            lambda: self.reset(14, 5),
            lambda: self.append(5, term=6),
            self.sync,
            lambda: self.append(5, term=6),
            lambda: self.reset(40, 6),
            lambda: self.append(9, term=7),
            self.sync,
            self.journal.close,
        ]

    def judge(self, found: Journal) -> None:
        """Fail unless what was found is what a correct disk and journal may have left."""
        objections = [self.world.objection(found)]
        if self.next_world is not None:
            objections.append(self.next_world.objection(found))
        assert None in objections, objections
