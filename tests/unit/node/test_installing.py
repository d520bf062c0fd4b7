"""A node whose log is too far behind gets a snapshot: all of it, once, and nothing that it has already."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

import rsm
from rsm.codec.record import RecordKind
from rsm.node.installing import SnapshotSender
from rsm.node.snapshots import SnapshotFiles
from rsm.raft.messages import Message, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotResult, SnapshotWant
from rsm.replica.answer import decode
from rsm.replica.snapshot import parts
from rsm.testing.disk import Survival
from tests.cluster_stage import Call, Session, Stage
from tests.formats_reader import snapshot_records
from tests.machines import Bank, Log

PART_BYTES = 2048


class Shelf(rsm.StateMachine, name="shelf", version=1):
    """State of many buckets and of one large one, and a command that makes the log long and changes nothing."""

    words: rsm.Map[str, int]
    levels: rsm.Table[int, rsm.Queue[str]]

    @rsm.command()
    def put(self, ctx: rsm.Context, key: str, value: int) -> None:
        self.words[key] = value

    @rsm.command()
    def push(self, ctx: rsm.Context, level: int, text: str) -> int:
        return self.levels[level].push(text)

    @rsm.command()
    def noise(self, ctx: rsm.Context, text: str) -> int:
        return len(text)

    @rsm.command()
    def tell(self, ctx: rsm.Context, text: str, times: int) -> int:
        for number in range(times):
            ctx.emit((text, number))
        return ctx.schedule(ctx.now + 10**15, Shelf.noise, text)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Three nodes that take snapshots often, and send them in many small parts."""
    monkeypatch.setattr("rsm.node.installing.SNAPSHOT_PART_BYTES", PART_BYTES)
    monkeypatch.setattr("rsm.node.installing.SNAPSHOT_PARTS_IN_FLIGHT_MAX", 2)
    monkeypatch.setattr("rsm.node.installing.SNAPSHOT_STALL_SECONDS_MAX", 1.0)
    stage = Stage(Shelf, snapshot_log_bytes=64 * 1024)
    stage.start()
    return stage


def word(number: int) -> str:
    return f"{number} {random.Random(number).randbytes(400).hex()}"


def fill(stage: Stage, session: Session, count: int) -> None:
    """State of about a kilobyte for each."""
    items = [session.item("put", word(number), number) for number in range(count)]
    for start in range(0, count, 50):
        stage.settled(lambda start=start: Call(*items[start : start + 50]))  # type: ignore[misc]  # a bound default


def grow_log(stage: Stage, session: Session, snapshots: int = 3) -> None:
    """Enough entries for so many snapshots; the log before them is dropped."""
    for _ in range(snapshots):
        stage.do(session, "noise", "z" * 70_000)
        wanted = stage.leader().snapshots.ask()
        stage.until(wanted.done)
        index = wanted.result()
        stage.until(lambda index=index: stage.leader().replica.confirmed_index >= index)  # type: ignore[misc]


def leave_behind(stage: Stage, session: Session, number: int) -> None:
    """Cut a node off until the log that it needs is gone; then let it back."""
    others = tuple(sorted({1, 2, 3} - {number}))
    stage.partition((number,), others)
    stage.until(lambda: stage.leads in others)
    grow_log(stage, session)
    stage.until(lambda: stage.leader().journal.first_index > stage.members[number].journal.last_index + 1)
    stage.bytes_sent.clear()
    stage.partition()


def chunk_bytes(stage: Stage, number: int) -> int:
    return stage.bytes_sent[SnapshotChunk, number]


def test_everything_survives_a_snapshot(stage: Stage) -> None:
    """State, events, timers, sessions with their answers, and idempotency keys: the node can lead on with them."""
    session = stage.session("ann")
    fill(stage, session, 30)
    number = stage.follower()
    item = session.item("tell", "news", 3)
    others = tuple(sorted({1, 2, 3} - {number}))
    stage.partition((number,), others)
    answer = stage.settled(lambda: Call(item)).answers
    value = stage.do(session, "push", 5, "keyed", key="invoice")
    leave_behind(stage, session, number)
    stage.settle()
    assert chunk_bytes(stage, number)
    node = stage.members[number]
    done: list[int] = []
    stage.leader().transfer(number, done.append, print)
    stage.until(lambda: done == [number] and stage.leads == number)
    assert stage.settled(lambda: Call(item)).answers == answer
    other = stage.session("ann")
    assert stage.do(other, "push", 5, "keyed", key="invoice") == value
    assert node.replica.index >= node.replica.confirmed_index > 0
    assert [decode(event.packed) for event in node.replica.ring] == [["news", n] for n in range(3)]
    assert len(node.replica.system.timers) == 1
    assert node.configuration == stage.founders
    stage.settle()
    rings = [list(one.replica.ring) for one in stage.members.values()]
    assert rings[0] == rings[1] == rings[2]


def test_only_the_missing_buckets_travel(stage: Stage) -> None:
    """A node that has nearly all of the state is sent a few buckets; one with an empty disk gets everything."""
    session = stage.session()
    fill(stage, session, 200)
    stage.settle()
    number = stage.follower()
    leave_behind(stage, session, number)
    stage.settle()
    few = chunk_bytes(stage, number)
    stage.wipe(number)
    stage.bytes_sent.clear()
    stage.start(number)
    stage.settle()
    everything = chunk_bytes(stage, number)
    assert everything > 200 * 800
    assert 0 < few < everything / 10


def test_a_bucket_larger_than_a_part(stage: Stage) -> None:
    """A queue lies in one bucket, however long it is: it travels in pieces of about a part."""
    session = stage.session()
    items = [session.item("push", 1, word(number)) for number in range(60)]
    for item in items:
        stage.settled(lambda item=item: Call(item))  # type: ignore[misc]  # a bound default
    number = stage.follower()
    stage.wipe(number)
    grow_log(stage, session)
    sizes: list[int] = []

    def note(_sender: int, _receiver: int, message: Message) -> bool:
        if isinstance(message, SnapshotChunk):
            sizes.append(sum(map(len, message.payloads)))
        return False

    stage.lose = note
    stage.start(number)
    stage.settle()
    assert len(sizes) > 10
    assert max(sizes) < 2 * PART_BYTES
    machine: Any = stage.members[number].replica.machine
    assert [text for _, text in machine.levels[1].items()] == [word(n) for n in range(60)]


def test_an_interrupted_transfer_goes_on_where_it_was(stage: Stage) -> None:
    """Connections that break again and again cost a few parts each, not the whole."""
    session = stage.session()
    fill(stage, session, 150)
    number = stage.follower()
    stage.wipe(number)
    grow_log(stage, session)
    stage.start(number)
    size = 0
    others = tuple(sorted({1, 2, 3} - {number}))
    for _ in range(4):
        stage.until(lambda size=size: chunk_bytes(stage, number) > size + 20_000)  # type: ignore[misc]
        stage.partition((number,), others)
        stage.run(0.2)
        size = chunk_bytes(stage, number)
        stage.partition()
    stage.settle()
    whole = sum(len(payload) for _, payload in parts_of(stage))
    assert whole > 100_000
    assert whole / 2 < chunk_bytes(stage, number) < whole * 1.4


def parts_of(stage: Stage) -> list[tuple[Any, bytes]]:
    node = stage.leader()
    files = node.snapshot_files
    return [record for record in files.read(files.indexes()[-1]) if record[0].name == "CHUNK"]


def test_a_leader_goes_on_while_it_looks_for_the_place(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading again what a member has is done a few parts at a time, and ends with the snapshot, whatever was asked."""
    monkeypatch.setattr("rsm.replica.snapshot.SNAPSHOT_CHUNK_BYTES", 512)
    session = stage.session()
    fill(stage, session, 150)
    wanted = stage.leader().snapshots.ask()
    stage.until(wanted.done)
    files, index = stage.leader().snapshot_files, wanted.result()
    read = [0]

    def counted(index: int) -> Iterator[tuple[RecordKind, bytes]]:
        for record in SnapshotFiles.read(files, index):
            read[0] += 1
            yield record

    files.read = counted  # type: ignore[method-assign]  # to count
    sender = SnapshotSender(files, index, 1, 1, 0.0)
    assert isinstance(sender.advance(0.0), SnapshotOffer)
    records = len(list(SnapshotFiles.read(files, index)))
    for next_number, found in ((40, 40), (2**60, None)):
        sender.want(SnapshotWant(1, index, {}, next_number), 1.0)
        read[0] = turns = 0
        message: Message | None = None
        while message is None and turns < 1000 and (turns == 0 or sender.next_at() == 0.0):
            before = read[0]
            message = sender.advance(1.0)
            assert read[0] - before < 20 < records / 4
            turns += 1
        assert turns > 4
        assert (None if message is None else message.number) == found  # type: ignore[attr-defined]  # it is a chunk


def test_lost_parts_are_asked_for_again(stage: Stage) -> None:
    """Messages lost without a broken connection only cost time."""
    session = stage.session()
    fill(stage, session, 40)
    number = stage.follower()
    stage.wipe(number)
    grow_log(stage, session)
    kinds = (SnapshotOffer, SnapshotWant, SnapshotChunk, SnapshotAck, SnapshotResult)
    for kind in kinds:
        lost: list[Message] = []

        def lose(_sender: int, _receiver: int, message: Message, kind: Any = kind, lost: Any = lost) -> bool:
            if isinstance(message, kind) and not lost:
                lost.append(message)
                return True
            return False

        stage.lose = lose
        stage.start(number)
        stage.settle(seconds=60)
        assert lost, kind
        stage.wipe(number)


def test_the_leader_changes_in_the_middle(stage: Stage) -> None:
    """The next leader begins anew, and the node ends up with the same state."""
    session = stage.session()
    fill(stage, session, 150)
    number = stage.follower()
    stage.wipe(number)
    grow_log(stage, session)
    first = stage.leader().node_id
    stage.start(number)
    stage.until(lambda: chunk_bytes(stage, number) > 30_000)
    assert stage.members[number].is_installing
    third = 6 - first - number
    done: list[int] = []
    stage.leader().transfer(third, done.append, print)
    stage.until(lambda: stage.leads == third)
    stage.settle()
    assert not stage.members[number].is_installing
    assert not stage.files(number, ".tmp")


def test_a_transfer_that_became_needless_is_given_up(stage: Stage) -> None:
    """The next leader still has the log: entries come instead, and nothing is left of the half snapshot."""
    session = stage.session()
    fill(stage, session, 100)
    stage.settle()
    number = stage.follower()
    first = stage.leader().node_id
    third = 6 - first - number
    log = stage.members[third].journal.last_index
    stage.members[third].snapshots.at_hash_point = lambda: None  # type: ignore[method-assign]  # it keeps its log
    leave_behind(stage, session, number)
    if stage.leads != first:
        stage.leader().transfer(first, print, print)
        stage.until(lambda: stage.leads == first)
    assert stage.members[third].journal.first_index <= log
    stage.until(lambda: stage.members[number].is_installing)
    stage.lose = lambda _sender, _receiver, message: isinstance(message, SnapshotChunk)
    stage.leader().transfer(third, print, print)
    stage.until(lambda: stage.leads == third)
    stage.settle()
    stage.run(1)
    assert not stage.members[number].is_installing
    assert not stage.files(number, ".tmp")


@pytest.mark.parametrize("record", [0, 1, 2, -2])
def test_a_damaged_snapshot_on_the_leader(stage: Stage, record: int) -> None:
    """It is set aside, another is used or taken, and the leader goes on leading."""
    session = stage.session()
    fill(stage, session, 40)
    number = stage.follower()
    stage.wipe(number)
    grow_log(stage, session)
    leader = stage.leader()
    disk = stage.disks[leader.node_id]
    path = leader.snapshot_files.path_of(leader.snapshot_files.indexes()[-1])
    starts = [0, *(one.end for one in snapshot_records(disk.contents(path)))]
    disk.flip_bit(path, 8 * (starts[record] + 70))
    stage.start(number)
    stage.settle()
    assert stage.failures == {}
    assert stage.leader() is leader
    assert stage.files(leader.node_id, ".unreadable")


def test_a_snapshot_of_another_machine_is_refused(stage: Stage) -> None:
    """The node says why, keeps what it has, and goes on."""
    number = stage.follower()
    node, leader = stage.members[number], stage.leader()
    stage.settle()
    log = Log(Bank)
    index = 0
    while node.applied_index >= index:
        index = log.entry([], 1).index
    (_, manifest) = next(parts(log.replica, bytes(16)))
    node.receive(leader.node_id, SnapshotOffer(node.term, index, 1, manifest), stage.now)
    results = [message for _, message in node.outbox if isinstance(message, SnapshotResult)]
    assert [(one.installed, "bank" in one.reason) for one in results] == [(False, True)]
    node.receive(leader.node_id, SnapshotOffer(node.term, index, 1, b"\xa0"), stage.now)
    assert not node.is_installing
    stage.do(stage.session(), "noise", "a")
    stage.settle()


def test_a_log_that_holds_the_entry_is_kept(stage: Stage) -> None:
    """A snapshot of an index that the log has, applied or not, is not taken: entries behind it were acknowledged."""
    session = stage.session()
    number = stage.follower()
    node, leader = stage.members[number], stage.leader()
    stage.settle()
    stage.submit(Call(*(session.item("noise", str(n)) for n in range(3))))
    stage.until(lambda: node.journal.durable_index > node.applied_index)
    stage.partition((number,), tuple(sorted({1, 2, 3} - {number})))
    last = node.journal.last_index
    node.receive(leader.node_id, SnapshotOffer(node.term, last, node.journal.last_term, b""), stage.now)
    (_, result) = node.outbox.pop()
    assert result == SnapshotResult(node.term, last, True, "")
    assert not node.is_installing
    assert node.journal.last_index == last
    stage.partition()
    stage.settle()


def test_a_leader_without_a_snapshot_takes_one_for_a_new_node(stage: Stage) -> None:
    """It is asked for once, however long it takes."""
    session = stage.session()
    fill(stage, session, 5)
    number = stage.follower()
    stage.wipe(number)
    grow_log(stage, session)
    leader = stage.leader()
    files = leader.snapshot_files
    for index in files.indexes():
        files.set_aside(index)
    stage.run(0.1)
    asked: list[int] = []
    ask = leader.snapshots.ask

    def counted() -> Any:
        asked.append(1)
        return ask()

    leader.snapshots.ask = counted  # type: ignore[method-assign]  # to count
    stage.start(number)
    stage.settle()
    assert len(asked) == 1


def test_a_full_disk_while_installing(stage: Stage) -> None:
    """The node says so and goes on; the leader tries again now and then, not as fast as it can; then there is room."""
    session = stage.session()
    fill(stage, session, 60)
    number = stage.follower()
    stage.wipe(number)
    grow_log(stage, session)
    stage.bytes_sent.clear()
    offers = [0]

    def note(_sender: int, _receiver: int, message: Message) -> bool:
        offers[0] += isinstance(message, SnapshotOffer)
        return False

    stage.lose = note
    stage.start(number)
    disk = stage.disks[number]
    disk.space_bytes = disk.used_bytes() + 20_000
    stage.run(6)
    assert stage.failures == {}
    assert stage.members[number].applied_index == 0
    assert 2 <= offers[0] <= 12
    disk.space_bytes = None
    stage.settle()


def test_a_power_cut_at_any_point_of_installing(stage: Stage) -> None:
    """Old state or new, and a node that recovers either way."""
    session = stage.session()
    fill(stage, session, 10)
    stage.settle()
    number = stage.follower()
    leave_behind(stage, session, number)
    stage.partition((number,), tuple(sorted({1, 2, 3} - {number})))
    disk = stage.disks[number]
    stage.kill(number)
    before = disk.clone()
    stage.partition()
    for write in range(1, 60, 5):
        stage.disks[number] = before.clone()
        stage.disks[number].process_died()
        stage.start(number, leader=False)
        stage.disks[number].cut_at_write = stage.disks[number].writes + write
        stage.run(0.5)
        if number not in stage.members:
            stage.crash(number, Survival.TORN, seed=write)
            stage.start(number)
        stage.settle()
        stage.kill(number)
    assert write > 50


def test_compaction_keeps_the_last_confirmed_snapshot(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is confirmed, newer snapshots come and none goes; afterwards the old ones go."""
    session = stage.session()
    fill(stage, session, 20)
    grow_log(stage, session)
    stage.settle()
    node = stage.leader()
    confirmed = node.replica.confirmed_index
    kept = max(index for index in node.snapshot_files.indexes() if index <= confirmed)
    monkeypatch.setattr("rsm.node.leading.Leading.compare_roots", lambda _: None)
    for _ in range(3):
        stage.do(session, "noise", "z" * 70_000)
        stage.until(node.snapshots.ask().done)
    indexes = node.snapshot_files.indexes()
    assert kept in indexes
    assert len(indexes) > 3
    assert node.journal.first_index <= kept + 1
    monkeypatch.undo()
    grow_log(stage, session)
    stage.settle()
    assert kept not in node.snapshot_files.indexes()
    assert len(node.snapshot_files.indexes()) <= 3
