"""The leader's side of a snapshot on its way: what it sends, how far it goes at once, and what it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rsm.codec.record import RecordKind
from rsm.node.snapshotting.installing import SnapshotSender
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.raft.messages import Message, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotResult, SnapshotWant
from tests.cluster_stage import Call, Stage
from tests.formats_reader import snapshot_records
from tests.unit.node.shelf import (
    PART_BYTES,
    chunk_bytes,
    fill,
    grow_log,
    leave_behind,
    parts_of,
    shelf_stage,
    word,
)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Three shelves, one of which leads."""
    return shelf_stage(monkeypatch)


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
    assert len(indexes) >= 3
    assert node.journal.first_index <= kept + 1
    monkeypatch.undo()
    grow_log(stage, session)
    stage.settle()
    assert kept not in node.snapshot_files.indexes()
    assert len(node.snapshot_files.indexes()) <= 3
