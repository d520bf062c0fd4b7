"""What a member of a cluster gives its feed: what it applies, confirmed snapshots only; and how often roots come."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from rsm.codec.record import Entry
from rsm.errors import CallerError
from rsm.node.fed_member import FedMember
from tests.client_service import FakeService
from tests.cluster_stage import Stage
from tests.machines import Log


def fed(stage: Stage, number: int) -> FedMember:
    return FedMember(stage.members[number], stage.disks[number], 1.0, FakeService(Log()))


def test_whatever_is_applied_is_told_once_and_in_order() -> None:
    """On every node, with the root of a hash point, and with the time that it took by the stopwatch."""
    stage = Stage()
    stage.start()
    told: dict[int, list[tuple[Entry, bytes | None, float]]] = {number: [] for number in stage.members}
    begun = {}
    for number, member in stage.members.items():
        begun[number] = member.applied_index
        member.stopwatch = map(float, count()).__next__
        member.on_applied = lambda *what, number=number: told[number].append(what)
    ann = stage.session("ann")
    for value in range(70):
        stage.do(ann, "put", "a", value)
    stage.settle()
    for number, member in stage.members.items():
        entries = [entry for entry, _, _ in told[number]]
        assert [entry.index for entry in entries] == list(range(begun[number] + 1, member.applied_index + 1))
        assert entries == list(member.journal.read(begun[number] + 1))[: len(entries)]
        roots = {entry.index: root for entry, root, _ in told[number] if root is not None}
        assert roots
        assert roots.items() <= member.replica.roots.items()
        assert {seconds for _, _, seconds in told[number]} == {1.0}


def test_only_confirmed_snapshots_are_given() -> None:
    """One that no quorum has confirmed yet is none; what is read is the log, and its chain."""
    stage = Stage(snapshot_log_bytes=1 << 30)
    stage.start()
    ann = stage.session("ann")
    stage.do(ann, "put", "a", 1)
    stage.settle()
    member = stage.leader()
    node = fed(stage, member.node_id)
    wanted = node.ask_snapshot()
    stage.until(wanted.done)
    index = wanted.result()
    stage.until(lambda: member.replica.compared_index >= index)
    assert node.snapshots() == [index]
    member.replica.compared_index = index - 1
    assert node.snapshots() == []
    file = node.open_snapshot(index)
    assert file.size() > 64
    file.close()
    assert node.read(1, 3, 1) == list(member.journal.read(1, 1))
    assert node.chain_at(member.journal.last_index) == member.journal.last_chain
    with pytest.raises(CallerError):
        node.read(member.journal.last_index + 1, member.journal.last_index + 2, 100)


def test_a_snapshot_that_is_installed_is_another_state() -> None:
    """A node that was down too long gets one, and its feed is told to begin anew."""
    stage = Stage(snapshot_log_bytes=2_000, segment_bytes_min=1_000)
    stage.start()
    ann = stage.session("ann")
    down = stage.follower()
    stage.crash(down)
    for value in range(150):
        stage.do(ann, "put", f"key {value}", value)
    stage.start(down)
    swaps: list[int] = []
    member = stage.members[down]
    member.on_swapped = lambda: swaps.append(member.replica.index)
    stage.settle()
    assert swaps
    assert member.journal.first_index > 1


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, True), (1.0, False)])
def test_a_root_with_every_change(seconds: float, expected: bool) -> None:
    """With 0 every entry that changes something is a hash point, timers included; and then there is silence."""
    stage = Stage(hash_seconds=seconds)
    stage.start()
    ann = stage.session("ann")
    found: dict[int, Any] = {}
    member = stage.leader()
    member.on_applied = lambda entry, root, _: found.update({entry.index: root})
    changes = []
    for value in range(10):
        stage.do(ann, "put", "a", value)
        changes.append(member.applied_index)
    stage.do(ann, "later", 50_000_000, "x")
    stage.until(lambda: member.replica.system.timers.first() is None)
    changes.append(max(found))
    assert all(found.get(index) for index in changes) == expected
    stage.settle()
    quiet = member.applied_index
    for _ in range(400):
        stage.step()
    assert member.applied_index - quiet <= 2


def test_confirmations_go_with_the_next_change() -> None:
    """Where every change is a hash point, each is one entry, and not one more to confirm it; the last goes alone."""
    stage = Stage(hash_seconds=0.0)
    stage.start()
    ann = stage.session("ann")
    stage.settle()
    member = stage.leader()
    before = member.applied_index
    for value in range(20):
        stage.do(ann, "put", "a", value)
        stage.run(0.1)
    assert member.applied_index - before <= 22
    assert member.replica.confirmed_index >= member.applied_index - 3
    last = member.applied_index
    stage.run(2.0)
    assert member.replica.confirmed_index >= last
