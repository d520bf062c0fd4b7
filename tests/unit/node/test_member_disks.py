"""A node whose disk fails while it runs: full, or unable to sync."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rsm.errors import RsmError, StorageError
from rsm.testing.disk import Survival
from tests.cluster_stage import Call, Stage

LARGE = "x" * 10_000


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Three fresh nodes, one of which leads. Their logs are hardly written ahead: that would be room on a full disk."""
    monkeypatch.setattr("rsm.node.storage.log_tail.PREALLOCATION_BYTES", 1024)
    stage = Stage()
    stage.start()
    return stage


def fill(stage: Stage, number: int) -> None:
    """No byte more fits on a node's disk."""
    stage.disks[number].space_bytes = stage.disks[number].used_bytes()


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_full_disk_stops_one_node_at_most(stage: Stage, who: str) -> None:
    """The cluster goes on without it, nothing is lost or done twice, and it comes back when there is room."""
    session = stage.session()
    full = stage.leader().node_id if who == "leader" else stage.follower()
    fill(stage, full)
    for number in range(12):
        assert stage.do(session, "push", 1, f"{number} {LARGE}") == number
    assert stage.failures == {}
    assert stage.leads != full
    stage.disks[full].space_bytes = None
    stage.settle()
    machine: Any = stage.members[full].replica.machine
    assert [text.split()[0] for _, text in machine.levels[1].items()] == [str(number) for number in range(12)]


@pytest.mark.parametrize("room", range(0, 100_000, 12_500))
def test_the_leaders_disk_fills_up_under_load(stage: Stage, room: int) -> None:
    """Wherever in its work: what was committed before is applied there, and the node neither stops nor skips."""
    session = stage.session()
    full = stage.leader().node_id
    stage.disks[full].space_bytes = stage.disks[full].used_bytes() + room
    items = [session.item("push", 1, f"{number} {LARGE}") for number in range(16)]
    for start in range(0, 16, 2):
        stage.submit(Call(*items[start : start + 1]), to=full)
        stage.submit(Call(*items[start + 1 : start + 2]), to=full)
        stage.step()
    stage.run(0.1)
    for item in items:
        assert stage.settled(lambda item=item: Call(item)).answers[0].status == 0  # type: ignore[misc]  # a bound default
    assert stage.failures == {}
    assert stage.leads != full
    stage.disks[full].space_bytes = None
    stage.settle()


@pytest.mark.parametrize("who", ["leader", "follower"])
def test_a_failing_sync_stops_the_node(stage: Stage, who: str) -> None:
    """What is on that disk is in doubt: the node raises, the others go on, and a new start catches up."""
    session = stage.session()
    bad = stage.leader().node_id if who == "leader" else stage.follower()
    disk = stage.disks[bad]
    disk.fail_sync_at = disk.syncs + 1
    assert stage.do(session, "put", "a", 1) is None
    assert stage.do(session, "put", "a", 2) == 1
    assert isinstance(stage.failures[bad], StorageError)
    stage.crash(bad, Survival.TORN)
    stage.start(bad)
    assert stage.do(session, "put", "a", 3) == 2
    stage.settle()


def test_a_full_disk_takes_no_snapshot_and_goes_on() -> None:
    """A snapshot that does not fit is not there; whoever asked is told; the node goes on."""
    stage = Stage(snapshot_log_bytes=10_000_000)
    stage.start()
    session = stage.session()
    for number in range(20):
        stage.do(session, "put", f"{number} {random.Random(number).randbytes(10_000).hex()}", number)
    number = stage.follower()
    node, disk = stage.members[number], stage.disks[number]
    wanted = node.snapshots.ask()
    disk.space_bytes = disk.used_bytes() + 30_000
    for value in range(3):
        stage.do(session, "put", "a", value)
    stage.run(2)
    assert stage.failures == {}
    assert node.snapshots.last_index == 0
    assert isinstance(wanted.exception(timeout=0), RsmError)
    disk.space_bytes = None
    again = node.snapshots.ask()
    stage.do(session, "put", "a", 7)
    stage.run(2)
    assert again.result(timeout=0) == node.snapshots.last_index > 0
