"""`ack="confirmed"`: an answer comes when a quorum has the state behind it, and never from a leader that differs."""

from __future__ import annotations

import pytest

from rsm.errors import Busy, NotLeader
from rsm.node.agreement import confirming
from rsm.node.agreement.confirming import Confirming
from rsm.raft.messages import AppendReply, Message
from rsm.replica.answer import Answer, decode
from rsm.replica.batch import decode_batch
from tests.cluster_stage import LATENCY_SECONDS, STEP_SECONDS, Call, Session, Stage
from tests.unit.node.test_agreeing import alter


class ConfirmedCall(Call):
    """Commands whose answers wait until they are confirmed."""

    def __init__(self, *items: bytes) -> None:
        super().__init__(*items)
        self.wants_confirmation = True


def led(nodes: int = 3) -> tuple[Stage, Session]:
    """A stage on which all is confirmed, and a session."""
    stage = Stage(nodes=nodes)
    stage.start()
    ann = stage.session("ann")
    stage.do(ann, "put", "a", 1)
    stage.settle()
    return stage, ann


def hash_points(stage: Stage, after: int) -> int:
    """How many entries behind an index ask for a root."""
    journal = stage.leader().journal
    entries = journal.read(after + 1, journal.last_index)
    return sum(bool(entry.payload) and decode_batch(entry.payload).is_hash_point for entry in entries)


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_an_answer_comes_when_it_is_confirmed(nodes: int) -> None:
    """Two or three round trips, not the second that an idle leader leaves between hash points."""
    stage, ann = led(nodes)
    leader, began = stage.leader(), stage.now
    call = stage.submit(ConfirmedCall(ann.item("put", "a", 2)))
    compared = -1
    while not call.times_told:
        compared = leader.replica.compared_index
        stage.step()
    assert (call.times_told, decode(call.answers[0].body)) == (1, 1)
    assert compared < call.index <= leader.replica.compared_index
    round_trips = (stage.now - began) / (2 * (LATENCY_SECONDS + STEP_SECONDS))
    assert round_trips < 5


def mute_roots(stage: Stage, leader: int) -> None:
    """No reply with a root behind the last confirmed one comes through, the acknowledgements before it do."""

    def lose(_sender: int, _receiver: int, message: Message) -> bool:
        compared = stage.members[leader].replica.compared_index
        return isinstance(message, AppendReply) and message.root_index > compared

    stage.lose = lose


def test_nothing_is_confirmed_without_a_quorum() -> None:
    """A command that is applied waits until the others' roots are heard, one that asks for less in its batch not."""
    stage, ann = led()
    leader = stage.leader().node_id
    mute_roots(stage, leader)
    item = ann.item("put", "a", 3)
    plain, call = Call(item), ConfirmedCall(ann.item("put", "a", 4))
    stage.submit(plain, leader)
    stage.submit(call, leader)
    stage.until(lambda: plain.times_told)
    stage.run(0.3)
    assert stage.members[leader].applied_index >= plain.index
    assert call.times_told == 0
    stage.lose = lambda *_: False
    stage.until(lambda: call.times_told)
    assert call.answers


def test_a_thousand_on_their_way_share_hash_points() -> None:
    """Commands that are sent one by one without waiting are confirmed together: few roots are taken for them."""
    stage, ann = led()
    before = stage.leader().journal.last_index
    calls = []
    for number in range(1000):
        calls.append(stage.submit(ConfirmedCall(ann.item("put", "a", number))))
        if number % 10 == 9:
            stage.step()
    stage.until(lambda: all(call.times_told for call in calls))
    assert all(call.answers for call in calls)
    batches = len({call.index for call in calls})
    taken = hash_points(stage, before)
    assert batches > 50
    assert taken < batches / 3
    stage.settle()
    assert hash_points(stage, before) <= taken + 1


@pytest.mark.parametrize("tracked", [True, False])
def test_a_leader_that_differs_never_gives_its_own_answer(tracked: bool) -> None:
    """What its altered state would say is only told by an unconfirmed command; the next leader knows the right one."""
    stage, ann = led()
    bad = stage.leader()
    alter(bad, "a", 999, tracked=tracked)
    call = stage.submit(ConfirmedCall(item := ann.item("put", "a", 5)))
    stage.until(lambda: call.times_told)
    assert call.answers == []
    assert isinstance(call.error, NotLeader)
    stage.until(lambda: stage.leads not in (0, bad.node_id))
    again = stage.settled(lambda: ConfirmedCall(item))
    assert decode(again.answers[0].body) == 1


def test_another_leader_remembers_and_confirms() -> None:
    """A leader that steps down tells who waits; the retry gets the remembered answer, confirmed there."""
    stage, ann = led()
    leader = stage.leader().node_id
    mute_roots(stage, leader)
    item = ann.item("put", "a", 6)
    call = stage.submit(ConfirmedCall(item), leader)
    stage.until(lambda: stage.members[leader].leading.confirming.commands)
    assert not call.times_told
    stage.lose = lambda *_: False
    stage.partition((leader,), tuple({1, 2, 3} - {leader}))
    stage.until(lambda: call.times_told)
    assert isinstance(call.error, NotLeader)
    stage.partition()
    again = stage.settled(lambda: ConfirmedCall(item))
    assert decode(again.answers[0].body) == 1
    assert stage.leader().replica.compared_index >= again.index


def test_too_many_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded in number and in bytes, and counted down again."""
    kept = Confirming()
    kept.want(7)
    assert kept.wants_hash_point(0)
    call = ConfirmedCall(Session(1).item("put", "a", 1))
    kept.keep(7, call, [Answer(0, b"x" * 100)])
    assert kept.refusal() is None
    for name in ("CONFIRMATIONS_WAITING_MAX", "CONFIRMATION_BYTES_MAX"):
        with monkeypatch.context() as patch:
            patch.setattr(confirming, name, 1)
            assert isinstance(kept.refusal(), Busy)
            kept.release(6)
            assert isinstance(kept.refusal(), Busy)
    kept.release(7)
    assert (kept.commands, call.index, call.times_told, kept.refusal()) == (0, 7, 1, None)


def test_one_hash_point_at_a_time() -> None:
    """The next one is asked for when the one on its way is confirmed, and only if something waits behind it."""
    kept = Confirming()
    kept.want(5)
    assert kept.wants_hash_point(0)
    kept.proposed_hash_point(5)
    assert not kept.wants_hash_point(0)
    kept.want(6)
    assert not kept.wants_hash_point(4)
    assert kept.wants_hash_point(5)
    kept.proposed_hash_point(8)
    assert not kept.wants_hash_point(5)
    assert not kept.wants_hash_point(8)
    assert not kept.is_waiting(8)
