"""One node among others: starts and elections, commands exactly once, reads, handing over, and the end."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rsm.errors import Busy, CallerError, Closed, NotLeader
from rsm.limits import CLUSTER_COMMANDS_IN_FLIGHT_MAX, READS_WAITING_MAX
from rsm.raft.messages import TimeoutNow
from rsm.replica.answer import Status
from rsm.testing.disk import Survival
from tests.cluster_stage import Call, Look, Session, Stage


@pytest.fixture
def stage() -> Stage:
    """Three fresh nodes, one of which leads."""
    stage = Stage()
    stage.start()
    return stage


def test_the_first_start_needs_all_founders_and_later_ones_a_quorum() -> None:
    """Two of three empty nodes elect nobody; once all three have met, two are enough."""
    stage = Stage()
    stage.start(1, 2, leader=False)
    stage.run(5)
    assert stage.leads == 0
    assert all(node.is_recovering for node in stage.members.values())
    stage.start(3)
    stage.do(stage.session(), "put", "a", 1)
    stage.settle()
    assert not any(node.is_recovering for node in stage.members.values())
    for number in (1, 2, 3):
        stage.crash(number)
    stage.start(1, 3)
    assert stage.do(stage.session(), "put", "a", 2) == 1


def test_a_wiped_node_does_not_help_to_lose_what_it_acknowledged(stage: Stage) -> None:
    """With one node behind and one wiped, nobody is elected that lacks an acknowledged entry."""
    session = stage.session()
    leader = stage.leader().node_id
    behind, other = (number for number in (1, 2, 3) if number != leader)
    stage.partition((behind,), (leader, other))
    stage.do(session, "put", "a", 1)
    stage.kill(leader)
    stage.wipe(other)
    stage.partition()
    stage.start(other, leader=False)
    stage.run(10)
    assert stage.leads == 0
    assert stage.members[other].is_recovering
    stage.start(leader)
    assert stage.do(stage.session(), "put", "a", 2) == 1
    stage.settle()
    assert not stage.members[other].is_recovering


@pytest.mark.parametrize("survival", [Survival.TORN, Survival.REORDERED])
def test_all_nodes_lose_power_at_once(stage: Stage, survival: Survival) -> None:
    """Everything that was acknowledged is there again, whatever each disk lost of the rest."""
    session = stage.session()
    sizes = {f"k{number}": number for number in range(20)}
    for key, value in sizes.items():
        stage.do(session, "put", key, value)
    unanswered = 0
    for seed in range(4):
        calls = [stage.submit(Call(session.item("put", f"lost {n}", n))) for n in range(3)]
        for _ in range(seed):
            stage.step()
        for number in (1, 2, 3):
            stage.crash(number, survival, seed=10 * seed + number)
        unanswered += sum(not call.answers for call in calls)
        stage.start()
        machine: Any = stage.leader().replica.machine
        assert {key: machine.words[key] for key in sizes} == sizes
        session = stage.session()
    assert unanswered
    stage.settle()


def test_a_command_takes_effect_once_over_changes_of_leader(stage: Stage) -> None:
    """The same session and sequence, sent to the next leader too, gets the first answer and no second run."""
    session = stage.session()
    assert stage.do(session, "put", "count", 1) is None
    first = stage.leader().node_id
    item = session.item("push", 1, "once")
    lost = stage.submit(Call(item))
    index = stage.members[first].journal.last_index + 1
    stage.until(lambda: stage.members[stage.follower()].journal.last_index >= index)
    assert not lost.answers
    stage.crash(first)
    again = stage.settled(lambda: Call(item))
    third = stage.settled(lambda: Call(item))
    assert stage.leads != first
    assert again.answers == third.answers
    assert again.answers[0].status == Status.OK
    machine: Any = stage.leader().replica.machine
    assert [text for _, text in machine.levels[1].items()] == ["once"]
    stage.start(first)
    stage.settle()


def test_whoever_does_not_lead_says_who_does(stage: Stage) -> None:
    """NotLeader carries the leader's number and client address; of no leader, neither."""
    leader, follower = stage.leader().node_id, stage.follower()
    stage.run(0.2)
    call = stage.submit(Call(Session(1).item("put", "a", 1)), to=follower)
    assert isinstance(call.error, NotLeader)
    assert (call.error.leader_id, call.error.address) == (leader, f"client{leader}:1")
    read = stage.look("word", "a", to=follower)
    assert isinstance(read.error, NotLeader)
    stage.partition((follower,), tuple({1, 2, 3} - {follower}))
    stage.run(3)
    call = stage.submit(Call(Session(1).item("put", "a", 1)), to=follower)
    assert isinstance(call.error, NotLeader)
    assert call.error.leader_id in (None, leader)


def test_a_deposed_leader_serves_no_linearizable_read(stage: Stage) -> None:
    """A leader that is cut off answers no such read; a stale one it does."""
    session = stage.session()
    stage.do(session, "put", "a", 1)
    old = stage.leader().node_id
    others = tuple({1, 2, 3} - {old})
    stage.partition((old,), others)
    read = stage.look("word", "a", to=old)
    stale = stage.look("word", "a", to=old, consistency="stale")
    stage.until(lambda: stage.leads in others)
    stage.do(session, "put", "a", 2)
    stage.until(lambda: read.is_over)
    assert isinstance(read.error, NotLeader)
    assert stale.seen == 1
    stage.partition()
    fresh = stage.look("word", "a")
    stage.until(lambda: fresh.is_over)
    assert fresh.seen == 2


def test_reads_at_least_wait_for_their_index(stage: Stage) -> None:
    """On any node, a read that wants an index runs when that is applied and not before."""
    session, follower = stage.session(), stage.follower()
    stage.do(session, "put", "a", 1)
    stage.run(0.5)
    index = stage.leader().commit_index
    stage.partition((follower,), tuple({1, 2, 3} - {follower}))
    stage.do(session, "put", "a", 2)
    read = stage.look("word", "a", to=follower, consistency="at_least", index=index + 1)
    known = stage.look("word", "a", to=follower, consistency="at_least", index=index)
    stage.run(0.3)
    assert known.seen == 1
    assert not read.is_over
    stage.partition()
    stage.until(lambda: read.is_over)
    assert read.seen == 2
    assert read.at_index is not None
    assert read.at_index > index


def test_a_full_queue_is_busy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and reads beyond the bounds are told so at once; the others are answered."""
    assert (CLUSTER_COMMANDS_IN_FLIGHT_MAX, READS_WAITING_MAX) > (100, 100)
    monkeypatch.setattr("rsm.node.leading.CLUSTER_COMMANDS_IN_FLIGHT_MAX", 3)
    monkeypatch.setattr("rsm.node.member.READS_WAITING_MAX", 2)
    session = stage.session()
    leader = stage.leader()
    calls = [stage.submit(Call(session.item("put", "a", n))) for n in range(4)]
    assert isinstance(calls[3].error, Busy)
    assert calls[3].error.retry_seconds > 0
    reads = [stage.look("word", "a") for _ in range(3)]
    assert isinstance(reads[2].error, Busy)
    stage.until(lambda: all(call.answers for call in calls[:3]) and all(read.is_over for read in reads))
    assert reads[0].error is None
    assert leader.is_leader


def test_leadership_is_handed_over(stage: Stage) -> None:
    """To the node that is named, or to any; whoever asks is told the new leader, and nobody waits for a time-out."""
    target = stage.follower()
    done: list[int] = []
    failed: list[Exception] = []
    before = stage.now
    stage.leader().transfer(target, done.append, failed.append)
    stage.until(lambda: done or failed)
    assert (done, failed) == ([target], [])
    assert stage.now - before < 0.4
    stage.leader().transfer(0, done.append, failed.append)
    stage.until(lambda: len(done) > 1 or failed)
    assert done[1] != target
    stage.leader().transfer(9, done.append, failed.append)
    assert isinstance(failed[0], CallerError)
    stage.members[target].transfer(0, done.append, failed.append)
    assert isinstance(failed[1], NotLeader)


def test_a_transfer_that_fails_ends_in_time(stage: Stage) -> None:
    """The target does not hear of it: the leader says so and takes commands again; every asker is told."""
    target = stage.follower()
    session = stage.session()
    stage.lose = lambda _sender, _receiver, message: isinstance(message, TimeoutNow)
    done: list[int] = []
    failed: list[Exception] = []
    leader = stage.leader()
    leader.transfer(target, done.append, failed.append)
    leader.transfer(target, done.append, failed.append)
    call = stage.submit(Call(session.item("put", "a", 1)), to=leader.node_id)
    assert isinstance(call.error, NotLeader)
    stage.until(lambda: len(failed) == 2, seconds=3)
    assert done == []
    assert all(isinstance(error, CallerError) for error in failed)
    session.sequence = 0
    assert stage.do(session, "put", "a", 2) is None
    assert leader.is_leader


def test_close_tells_everybody(stage: Stage) -> None:
    """Commands, reads, changes, transfers and snapshots that wait: each is told once, and the directory is free."""
    leader = stage.leader()
    stage.lose = lambda _sender, _receiver, _message: True
    session = Session(1)
    calls = [stage.submit(Call(session.item("put", "a", n))) for n in range(2)]
    read = stage.look("word", "a")
    later = stage.look("word", "a", consistency="at_least", index=10**6)
    snapshot = leader.snapshots.ask()
    failed: list[Exception] = []
    leader.change("remove", stage.founders.members[stage.follower() - 1], lambda _: None, failed.append)
    stage.step()
    calls.append(stage.submit(Call(session.item("put", "a", 3))))
    leader.transfer(0, lambda _: None, failed.append)
    leader.close()
    assert [call.times_told for call in calls] == [1, 1, 1]
    assert all(isinstance(call.error, NotLeader | Closed) for call in calls)
    assert isinstance(read.error, Closed | NotLeader)
    assert isinstance(later.error, Closed)
    assert isinstance(snapshot.exception(timeout=0), Closed)
    assert len(failed) == 2
    assert not stage.disks[leader.node_id].is_locked("data/lock")
    del stage.members[leader.node_id]
    stage.lose = lambda _sender, _receiver, _message: False
    stage.start(leader.node_id)


def test_a_group_of_one_needs_nobody() -> None:
    """It leads, answers, reads, and after a power cut with a torn tail it leads again and has all it acknowledged."""
    stage = Stage(nodes=1)
    stage.start()
    session = stage.session()
    for number in range(10):
        stage.do(session, "put", "a", number)
    stage.submit(Call(session.item("put", "a", 99)))
    stage.members[1].flush(stage.now)
    stage.crash(1, Survival.TORN, seed=3)
    stage.start()
    read: Look = stage.look("word", "a")
    stage.until(lambda: read.is_over)
    assert read.seen in (9, 99)


def test_lost_messages_cost_time_only(stage: Stage) -> None:
    """With a third of all messages lost, commands are answered, each takes effect once, and roots agree."""
    session = stage.session()
    chance = random.Random(7)
    stage.lose = lambda _sender, _receiver, _message: chance.random() < 0.3
    for number in range(30):
        assert stage.do(session, "push", 1, str(number)) == number
    stage.settle()


def test_messages_leave_before_entries_are_applied(stage: Stage) -> None:
    """A turn that brings entries and news of a commit sends, and begins to sync, before it applies: the others wait for
    the messages.
    """
    session = stage.session()
    leader = stage.leader()
    sent: list[tuple[int, int]] = []

    def dispatch() -> None:
        sent.append((leader.applied_index, len(leader.outbox)))

    leader.dispatch = dispatch
    before = leader.applied_index
    call = stage.submit(Call(session.item("put", "a", 1)))
    stage.until(lambda: call.answers)
    assert leader.applied_index > before
    assert sent[0][0] == before
