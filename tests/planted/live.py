"""Live: three members on a stage, one of which has the fault, or all of which do; and what the cluster says of it.

    nodes = Nodes({1: Sound, 2: Sound, 3: Faulty})
    story = watch(nodes, fault)

The three have disks in memory, which are written out afterwards for `rsm desync compare` and `replay`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rsm.limits import HASH_INTERVAL_ENTRIES
from rsm.node.storage.snapshots import SnapshotWriter, read_snapshot
from rsm.replica.agreement import Case
from rsm.replica.replica import Replica
from rsm.replica.snapshot import decode_manifest, parts, restore
from rsm.testing.disk import FaultDisk
from tests.cluster_stage import PATH, Call, Session, Stage

Command = tuple[Any, ...]  # name, values
BAD = 3  # the node that is harmed, where it is one
# How long one waits for a verdict: several scrub periods of the states here.
HASH_POINTS_MAX = 8


class Nodes(Stage):
    """A stage whose nodes may run different code. `make(number)` gives a node's class whenever it starts."""

    def __init__(self, make: Callable[[int], Any], **options: Any) -> None:
        self.make = make
        self.found: FaultDisk | None = None  # what lay on node 3's disk before it did anything about it
        super().__init__(make(1), 3, **options)

    def start(self, *numbers: int, leader: bool = True) -> None:
        for number in numbers or [number for number in self.disks if number not in self.members]:
            self.machine = self.make(number)
            super().start(number, leader=False)
        if leader:
            self.leader()

    def step(self) -> None:
        super().step()
        node = self.members.get(BAD)
        if self.found is None and node is not None and node.agreeing.standing == "quarantined":
            self.found = self.disks[BAD].clone()

    def run_all(self, session: Session, commands: Sequence[Command]) -> int:
        """Run commands, each in an entry of its own; the index of the last one."""
        index = 0
        for name, *values in commands:
            item = session.item(name, *values)
            index = self.settled(lambda item=item: Call(item)).index
        return index

    def fill(self, session: Session, commands: Sequence[Command]) -> None:
        """Run commands, all in one entry."""
        items = [session.item(name, *values) for name, *values in commands]
        self.settled(lambda: Call(*items))

    def cases(self) -> dict[int, Case]:
        """The disputed hash points in the log, as node 1 knows them."""
        return self.members[1].replica.agreement.cases

    def write_out(self, directory: Path) -> dict[int, Path]:
        """Kill all nodes, and write their disks below a directory."""
        for number in list(self.members):
            self.kill(number)
        return {number: _write_out(disk, directory / f"node-{number}") for number, disk in self.disks.items()}


def _write_out(disk: FaultDisk, target: Path) -> Path:
    for path in disk.paths():
        if path.startswith(f"{PATH}/") and not disk.is_directory(path):
            file = target / path.removeprefix(f"{PATH}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(disk.contents(path))
    return target


@dataclasses.dataclass
class Story:
    """How it went. `planted_at` and `provoked_at` are log indexes; `index` is the disputed hash point."""

    planted_at: int
    provoked_at: int
    index: int | None = None
    state: str = ""
    minority: tuple[int, ...] = ()
    fault: str = ""
    standings: dict[int, str] = dataclasses.field(default_factory=dict)
    set_aside: list[str] = dataclasses.field(default_factory=list)
    directories: dict[int, Path] = dataclasses.field(default_factory=dict)  # as they are in the end
    found: dict[int, Path] = dataclasses.field(default_factory=dict)  # the same, but node 3's before it was healed

    @property
    def hash_points(self) -> int:
        """How many hash points after the provoking command it was found; 1 is the next one."""
        assert self.index is not None
        first = -(-self.provoked_at // HASH_INTERVAL_ENTRIES)
        return -(-self.index // HASH_INTERVAL_ENTRIES) - first + 1

    @property
    def evidence(self) -> list[Path]:
        """The bundles that the nodes kept."""
        return [path.parent for one in self.directories.values() for path in one.glob("evidence/*/bundle.json")]


def watch(
    nodes: Nodes,
    directory: Path,
    *,
    before: Sequence[Command],
    plant: Callable[[Nodes], None],
    provoke: Sequence[Command],
    after: Command,
    hash_points: int = HASH_POINTS_MAX,
) -> Story:
    """Run the commands, plant the fault, provoke it, and go on until there is a verdict, or no hope of one."""
    nodes.start()
    session = nodes.session("ann")
    if len(before) > 20:
        nodes.fill(session, before)
        nodes.run_all(session, before[-1:])
    else:
        nodes.run_all(session, before)
    nodes.settle()
    plant(nodes)
    planted_at = nodes.leader().applied_index
    provoked_at = nodes.run_all(session, provoke) or planted_at
    story = Story(planted_at, provoked_at)
    end = (provoked_at // HASH_INTERVAL_ENTRIES + hash_points) * HASH_INTERVAL_ENTRIES
    while nodes.leader().applied_index < end and not any(case.state != "attesting" for case in nodes.cases().values()):
        try:
            nodes.run_all(session, [after])
        except AssertionError:  # nobody answers while all are in doubt
            nodes.until(nodes.cases, 60)
            break
    _end(nodes, story)
    story.set_aside = nodes.files(BAD, ".unreadable")
    story.directories = nodes.write_out(directory)
    story.found = dict(story.directories)
    if nodes.found is not None and nodes.found.exists(PATH):
        story.found[BAD] = _write_out(nodes.found, directory / "node-3-found")
    assert not nodes.failures
    return story


def _end(nodes: Nodes, story: Story) -> None:
    cases = nodes.cases()
    if not cases:
        return
    nodes.until(lambda: all(not case.is_open for case in cases.values()), 120)
    case = next(iter(cases.values()))
    # Two that agree are a verdict: the word of the third may be on its way.
    nodes.until(lambda: case.state != "decided" or case.minority, 60)
    story.index, story.state, story.minority = case.index, case.state, case.minority
    story.fault = next((word.fault for word in case.words.values() if word.fault), "")
    busy = ("suspect", "quarantined", "healing")
    if case.minority:
        nodes.until(lambda: all(one.agreeing.standing not in busy for one in nodes.members.values()), 60)
    story.standings = {number: one.agreeing.standing for number, one in nodes.members.items()}


def nothing(_: Nodes) -> None:
    """The fault is in the code: nothing to plant."""


def roll(make: Callable[[int], Any]) -> Callable[[Nodes], None]:
    """Every node is started again, one after the other, with the release that `make` gives it."""

    def plant(nodes: Nodes) -> None:
        nodes.make = make
        for number in list(nodes.members):
            nodes.kill(number)
            nodes.start(number)
            nodes.settle()

    return plant


def restart(spoil: Callable[[Nodes, str], None] | None = None) -> Callable[[Nodes], None]:
    """Node 3 takes a snapshot, ends, and starts from it: its process forgets what is not declared state.

    `spoil` may do something to the snapshot in between; it gets the file's path on the disk of the node.
    """

    def plant(nodes: Nodes) -> None:
        wanted = nodes.members[BAD].snapshots.ask()
        nodes.members[nodes.leads].snapshots.ask()  # so that the leader makes a hash point
        nodes.session("bob")
        nodes.until(wanted.done)
        nodes.settle()
        nodes.kill(BAD)
        if spoil is not None:
            (file,) = nodes.files(BAD, ".snapshot")
            spoil(nodes, f"{PATH}/{file}")
            nodes.found = nodes.disks[BAD].clone()
        nodes.start(BAD)

    return plant


def damage(nodes: Nodes, path: str) -> None:
    """A bit of the file flips."""
    nodes.disks[BAD].flip_bit(path, 8 * len(nodes.disks[BAD].contents(path)) // 2)


def rewrite(container: str, key: Any, bit: int) -> Callable[[Nodes, str], None]:
    """A bit of a value flipped while the snapshot was written, before its sums were made: the file is whole."""

    def spoil(nodes: Nodes, path: str) -> None:
        disk = nodes.disks[BAD]
        replica = Replica(nodes.make(BAD))
        records = list(read_snapshot(disk, path))
        restore(replica, records)
        replica.store.begin()
        target = replica.store.containers[container]
        target[key] = target[key] ^ (1 << bit)
        replica.store.end()
        replica.roots[replica.index] = replica.root()
        disk.unlink(path)
        with SnapshotWriter(disk, path, replica.index, replica.term, 0) as writer:
            for kind, payload in parts(replica, decode_manifest(records[0][1]).chain):
                writer.add(kind, payload)
            writer.commit()

    return spoil


def look(name: str, *values: Any) -> Callable[[Nodes], None]:
    """Somebody asks node 3, and nobody else."""

    def plant(nodes: Nodes) -> None:
        read = nodes.look(name, *values, to=BAD, consistency="eventual")
        nodes.until(lambda: read.is_over)
        assert read.error is None

    return plant


def flip(container: str, key: Any, bit: int) -> Callable[[Nodes], None]:
    """One bit of a value in node 3's memory changes."""

    def plant(nodes: Nodes) -> None:
        target = nodes.members[BAD].replica.store.containers[container]
        dict.__setitem__(target, key, target[key] ^ (1 << bit))

    return plant
