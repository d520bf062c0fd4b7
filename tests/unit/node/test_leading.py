"""What a node does while it leads: it activates the machine, keeps the log's time, fires timers, confirms roots."""

from __future__ import annotations

from typing import Any

import pytest

from rsm.codec.record import RecordKind
from rsm.raft.messages import Attest
from rsm.replica.answer import decode
from rsm.replica.batch import ACTIVATE, ATTEST, CONFIRMED, DISPUTE, RETURNED, Batch, decode_batch
from tests.cluster_stage import Stage
from tests.machines import SECOND

DAY = 24 * 3600.0


@pytest.fixture
def stage() -> Stage:
    """Three fresh nodes, one of which leads."""
    stage = Stage()
    stage.start()
    return stage


def batches(stage: Stage) -> list[Batch]:
    """Every batch in the leader's log, which holds all of it."""
    journal = stage.leader().journal
    assert journal.first_index == 1
    return [decode_batch(entry.payload) for entry in journal.read(1) if entry.kind is RecordKind.BATCH]


def commands(stage: Stage, name: str) -> list[Any]:
    return [item for batch in batches(stage) for item in batch.items if item[3] == name]


def lead(stage: Stage, number: int) -> None:
    """Let this node lead."""
    if stage.leader().node_id != number:
        stage.run(0.3)
        stage.leader().transfer(number, lambda _: None, lambda _: None)
        stage.until(lambda: stage.leads == number)


def test_the_machine_is_activated_once(stage: Stage) -> None:
    """However often the leader changes, one entry says under which schema and with which seed the machine runs."""
    for number in (1, 2, 3, 1):
        lead(stage, number)
        stage.do(stage.session(), "put", "a", number)
    assert len(commands(stage, ACTIVATE)) == 1
    seeds = {one.replica.system.seed for one in stage.members.values()}
    assert len(seeds) == 1
    assert len(seeds.pop()) == 16


def test_roots_are_confirmed_by_a_quorum(stage: Stage) -> None:
    """An idle cluster closes its hash interval within seconds, with three nodes and with two, and not with one."""
    stage.do(stage.session(), "put", "a", 1)
    index = stage.leader().applied_index
    before = stage.now
    stage.until(lambda: all(one.replica.confirmed_index >= index for one in stage.members.values()))
    assert stage.now - before < 3
    stage.kill(stage.follower())
    stage.do(stage.session(), "put", "a", 2)
    index = stage.leader().applied_index
    stage.until(lambda: stage.leader().replica.confirmed_index >= index)
    for _, root in (item[5] for item in commands(stage, CONFIRMED)):
        assert len(root) == 16
    entries = len(batches(stage))
    stage.run(5)
    assert len(batches(stage)) == entries


def test_nothing_is_confirmed_that_a_quorum_does_not_have(stage: Stage) -> None:
    """Three nodes with three states: no confirmation comes, and nobody is in the minority; all go on."""
    stage.settle()
    stage.lose = lambda _sender, _receiver, message: isinstance(message, Attest) and bool(message.rerun)
    confirmed = stage.leader().replica.confirmed_index
    for number in stage.members:
        plant(stage, number, number)
    stage.do(stage.session(), "put", "a", 1)
    stage.run(4)
    assert stage.leader().replica.confirmed_index == confirmed
    (case,) = stage.leader().replica.agreement.cases.values()
    assert case.state == "reexecuting"
    assert case.minority == ()
    assert {one.agreeing.standing for one in stage.members.values()} == {"well"}
    assert stage.failures == {}


def plant(stage: Stage, number: int, value: int) -> None:
    """Change a node's state behind the log's back."""
    replica: Any = stage.members[number].replica
    replica.store.begin()
    replica.machine.words["planted"] = value
    replica.store.end()


def test_a_node_with_another_state_is_named(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The leader logs which node and index; the verdict is in the log; the others go on."""
    number = stage.follower()
    stage.settle()
    plant(stage, number, 1)
    session = stage.session()
    stage.do(session, "put", "a", 1)
    stage.until(lambda: commands(stage, RETURNED))
    assert any("roots differ" in text and f"node={number}" in text for text in caplog.messages)
    assert len(commands(stage, DISPUTE)) == 1
    assert sorted(item[5][1] for item in commands(stage, ATTEST)) == [1, 2, 3]
    assert stage.do(session, "put", "a", 2) == 1
    stage.settle()
    assert stage.failures == {}


def test_timers_fire_once_over_changes_of_leader(stage: Stage) -> None:
    """Each timer fires when it is due, once, and an idle cluster wakes up for it."""
    session = stage.session()
    for number in range(1, 7):
        stage.do(session, "later", number * SECOND // 2, f"ring {number}")
    for number in (1, 2, 3, 1):
        lead(stage, number)
        stage.run(0.8)
    stage.settle()
    for node in stage.members.values():
        rings = [decode(event.packed) for event in node.replica.ring]
        assert [ring[1] for ring in rings if ring[0] == "ring"] == [f"ring {number}" for number in range(1, 7)]


@pytest.mark.parametrize("offset_seconds", [300 * DAY, 70 * 365 * DAY, -300 * DAY])
@pytest.mark.parametrize("voters", [3, 2])
def test_a_leader_with_a_wrong_wall_clock_is_not_believed(stage: Stage, offset_seconds: float, voters: int) -> None:
    """Its stamps are those of the others, however few elect it, so no session and no key expires; then time goes on."""
    session = stage.session(ttl_seconds=3600)
    stage.settle()
    wrong = stage.follower()
    right = 6 - wrong - stage.leader().node_id
    stage.wall_offset_seconds[wrong] = offset_seconds
    before = stage.leader().replica.system.clock
    if voters == 2:
        stage.kill(right)
    lead(stage, wrong)
    stage.do(session, "put", "a", 1)
    stage.run(1)
    assert stage.do(session, "put", "a", 2) == 1
    clock = stage.members[wrong].replica.system.clock
    assert before < clock < before + 60 * SECOND
    stage.start()
    lead(stage, right)
    assert stage.do(session, "put", "a", 3) == 2
    assert before < stage.leader().replica.system.clock < before + 120 * SECOND


def test_log_time_never_runs_backwards(stage: Stage) -> None:
    """Leaders whose wall clocks differ by half a minute: stamps rise all the same, and at the pace of time."""
    stage.wall_offset_seconds = {1: 25.0, 2: -25.0}
    session = stage.session()
    for number in (1, 2, 3, 2, 1):
        lead(stage, number)
        for value in range(3):
            stage.do(session, "put", "a", value)
        stage.run(0.2)
    stamps = [batch.stamp for batch in batches(stage)]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] < 90 * SECOND


def test_a_restarted_cluster_goes_on_in_time(stage: Stage) -> None:
    """After a night in the dark, log time is that of the wall clocks again."""
    session = stage.session(ttl_seconds=600)
    stage.do(session, "put", "a", 1)
    for number in (1, 2, 3):
        stage.crash(number)
    stage.now += 12 * 3600
    stage.start()
    stage.do(stage.session(), "put", "a", 2)
    clock = stage.leader().replica.system.clock
    assert abs(clock - stage.wall_clock(1)) < 60 * SECOND
    assert session.number not in stage.leader().replica.sessions


def test_a_leader_that_was_cut_off_changes_nothing(stage: Stage) -> None:
    """What it proposed and did not commit is never applied; who waited is told; the others' log holds."""
    session = stage.session()
    old = stage.leader().node_id
    stage.partition((old,), tuple({1, 2, 3} - {old}))
    from tests.cluster_stage import Call

    other = stage.session
    lost = [Call(session.item("put", f"lost {number}", number)) for number in range(3)]
    for call in lost:
        stage.submit(call, to=old)
    stage.until(lambda: stage.leads not in (0, old))
    stage.do(other(), "put", "kept", 1)
    stage.until(lambda: all(call.times_told == 1 for call in lost))
    stage.partition()
    stage.settle()
    machine: Any = stage.members[old].replica.machine
    assert "kept" in machine.words
    assert not [key for key in machine.words if key.startswith("lost")]
    assert all(call.times_told == 1 and not call.answers for call in lost)
