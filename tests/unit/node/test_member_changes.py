"""Members come and go, one at a time, while the cluster works."""

from __future__ import annotations

import pytest

from rsm.errors import CallerError, NotLeader
from rsm.testing.disk import FaultDisk
from tests.cluster_stage import Stage, member


@pytest.fixture
def stage() -> Stage:
    """Three fresh nodes, one of which leads, and a command in their log."""
    stage = Stage()
    stage.start()
    stage.do(stage.session(), "put", "a", 1)
    return stage


class Change:
    """A change on its way."""

    def __init__(self, stage: Stage, action: str, number: int) -> None:
        self.index = 0
        self.error: Exception | None = None
        stage.leader().change(action, member(number), self._done, self._fail)  # type: ignore[arg-type]  # a name

    def _done(self, index: int) -> None:
        self.index = index

    def _fail(self, error: Exception) -> None:
        self.error = error


def changed(stage: Stage, action: str, number: int) -> int:
    """Carry out a change; its index."""
    change = Change(stage, action, number)
    stage.until(lambda: change.index or change.error)
    assert change.error is None, change.error
    return change.index


def join(stage: Stage, number: int) -> None:
    """Start a new node, which nobody knows yet."""
    stage.disks[number] = FaultDisk()
    stage.start(number)


def test_a_node_is_added(stage: Stage) -> None:
    """It follows, catches up, and gets its vote; then it counts for a quorum."""
    join(stage, 4)
    change = Change(stage, "add", 4)
    stage.step()
    assert 4 not in stage.leader().configuration.voters
    stage.until(lambda: change.index)
    assert stage.leader().configuration.voters == (1, 2, 3, 4)
    stage.settle()
    assert stage.members[4].configuration == stage.leader().configuration
    first = stage.leader().node_id
    second = next(number for number in (1, 2, 3) if number != first)
    stage.kill(second)
    assert stage.do(stage.session(), "put", "a", 2) == 1
    stage.kill(4)
    stage.start(4)
    stage.kill(first)
    stage.run(5)
    assert stage.leads == 0
    stage.start(first, second)
    assert stage.do(stage.session(), "put", "a", 3) == 2


def test_a_node_that_is_away_is_added_without_a_vote(stage: Stage) -> None:
    """Until it has caught up it joins only, so that it cannot stop the cluster."""
    change = Change(stage, "add", 4)
    stage.run(3)
    assert (change.index, change.error) == (0, None)
    assert stage.leader().configuration.voters == (1, 2, 3)
    stage.kill(stage.follower())
    assert stage.do(stage.session(), "put", "a", 2) == 1
    join(stage, 4)
    stage.until(lambda: change.index)
    assert stage.leader().configuration.voters == (1, 2, 3, 4)


def test_a_learner_follows_and_can_be_promoted(stage: Stage) -> None:
    """It has the state, and no vote; nobody waits for it; later it gets one."""
    join(stage, 4)
    changed(stage, "add_learner", 4)
    stage.settle()
    stage.run(1)
    assert stage.leader().configuration.voters == (1, 2, 3)
    read = stage.look("word", "a", to=4, consistency="stale")
    assert read.seen == 1
    stage.kill(4)
    assert stage.do(stage.session(), "put", "a", 2) == 1
    stage.start(4)
    changed(stage, "add", 4)
    assert stage.leader().configuration.voters == (1, 2, 3, 4)


def test_a_follower_is_removed(stage: Stage) -> None:
    """It learns of it, disturbs nobody, and the others need only each other."""
    number = stage.follower()
    changed(stage, "remove", number)
    term = stage.leader().term
    stage.run(4)
    assert stage.leader().term == term
    assert stage.members[number].configuration.get(number) is None
    stage.kill(number)
    left = tuple(sorted({1, 2, 3} - {number}))
    assert stage.leader().configuration.voters == left
    assert stage.do(stage.session(), "put", "a", 2) == 1
    stage.settle(*left)


def test_the_leader_removes_itself(stage: Stage) -> None:
    """Its removal is committed without it, who asked is told, and another one leads."""
    first = stage.leader().node_id
    index = changed(stage, "remove", first)
    stage.until(lambda: stage.leads not in (0, first))
    left = tuple(sorted({1, 2, 3} - {first}))
    assert stage.leader().configuration.voters == left
    assert stage.leader().commit_index >= index
    term = stage.leader().term
    assert stage.do(stage.session(), "put", "a", 2) == 1
    stage.run(4)
    assert stage.leader().term == term
    stage.settle(*left)


def test_down_to_one_and_up_again(stage: Stage) -> None:
    """All others are removed, one after another; the last one goes on alone and cannot be removed."""
    leader = stage.leader()
    for number in sorted({1, 2, 3} - {leader.node_id}):
        changed(stage, "remove", number)
        stage.kill(number)
    assert stage.do(stage.session(), "put", "a", 2) == 1
    change = Change(stage, "remove", leader.node_id)
    assert isinstance(change.error, CallerError)
    number = stage.disks.keys().__iter__().__next__()
    number = next(number for number in (1, 2, 3) if number != leader.node_id)
    stage.wipe(number)
    stage.start(number)
    changed(stage, "add", number)
    stage.settle(leader.node_id, number)


def test_what_is_refused(stage: Stage) -> None:
    """A second change while one is on its way, members that are there or are not, too low numbers, other nodes."""
    first, second = Change(stage, "add", 4), Change(stage, "add_learner", 5)
    assert first.error is None
    assert isinstance(second.error, CallerError)
    assert "under way" in str(second.error)
    stage.run(1)
    for action, number, text in (
        ("add", 1, "is a member already"),
        ("add_learner", 4, "is a member already"),
        ("remove", 9, "is not a member"),
        ("add", 0, "rising number"),
    ):
        change = Change(stage, action, number)
        assert change.error is not None
        assert text in str(change.error)
    failed: list[Exception] = []
    follower = stage.members[stage.follower()]
    follower.change("remove", member(1), lambda _: None, failed.append)
    assert isinstance(failed[0], NotLeader)


def test_a_change_whose_leader_is_deposed_is_told_so(stage: Stage) -> None:
    """Who asked may ask the next leader, where it has happened or has not."""
    old = stage.leader().node_id
    stage.partition((old,), tuple({1, 2, 3} - {old}))
    failed: list[Exception] = []
    stage.members[old].change("add_learner", member(4), lambda _: None, failed.append)
    stage.until(lambda: failed)
    assert isinstance(failed[0], NotLeader)
    stage.partition()
    changed(stage, "add_learner", 5)
    stage.settle()
    assert stage.members[old].configuration.ids == (1, 2, 3, 5)


def test_a_restarted_node_knows_the_members(stage: Stage) -> None:
    """The configuration is the latest in the log, also after a start from a snapshot."""
    join(stage, 4)
    changed(stage, "add", 4)
    stage.do(stage.session(), "put", "a", 2)
    wanted = stage.leader().snapshots.ask()
    stage.until(wanted.done)
    stage.settle()
    for number in (1, 2, 3, 4):
        stage.crash(number)
    stage.start(1, 2, 3)
    assert stage.leader().configuration.voters == (1, 2, 3, 4)
    stage.start(4)
    stage.settle()
