"""A cluster goes from one release to the next: node by node, then at one index on all."""

from __future__ import annotations

from typing import Any

import pytest

import rsm
from rsm.errors import CallerError, NotLeader
from rsm.testing.disk import Survival
from tests.cluster_stage import Call, Stage
from tests.divergence import cases, standing
from tests.unit.replica.test_releases import TillV1, TillV2, TillV3


class Told:
    """How an upgrade ended."""

    def __init__(self) -> None:
        self.index = 0
        self.error: Exception | None = None

    def done(self, index: int) -> None:
        self.index = index

    def fail(self, error: Exception) -> None:
        self.error = error

    @property
    def is_over(self) -> bool:
        return bool(self.index or self.error)


def started(*releases: type[rsm.StateMachine]) -> tuple[Stage, Any]:
    """A cluster that began under the first release; then node by node gets what is given."""
    stage = Stage(TillV1)
    stage.start()
    ann = stage.session("ann")
    stage.do(ann, "pay", "ann", -5)
    stage.settle()
    for number, release in enumerate(releases, 1):
        stage.machine_of[number] = release
        stage.kill(number)
        stage.start(number)
        stage.do(ann, "pay", "ann", 1)
    stage.settle()
    return stage, ann


def upgrade(stage: Stage, version: int) -> Told:
    told = Told()
    stage.leader().upgrade(version, told.done, told.fail)
    stage.until(lambda: told.is_over)
    return told


def versions(stage: Stage) -> set[int]:
    return {one.replica.definition.version for one in stage.members.values()}


def test_a_cluster_moves_on_at_one_index() -> None:
    stage, ann = started(TillV3, TillV3, TillV3)
    assert versions(stage) == {1}
    told = upgrade(stage, 3)
    assert told.error is None
    stage.settle()
    assert versions(stage) == {3}
    assert stage.do(ann, "pay", "ann", 1) == -100
    stage.settle()
    assert not any(cases(stage, number) for number in stage.members)


def test_it_is_refused_while_a_voter_lacks_the_release() -> None:
    stage, ann = started(TillV3, TillV3, TillV2)
    stage.leader().transfer(1, lambda _: None, lambda _: None)
    stage.until(lambda: stage.leads == 1)
    stage.run(1)
    told = upgrade(stage, 3)
    assert isinstance(told.error, CallerError)
    assert "node 3 ships versions 1 to 2: upgrade it before version 3" in str(told.error)
    assert upgrade(stage, 2).error is None
    stage.settle()
    assert versions(stage) == {2}
    assert "no way back to 1" in str(upgrade(stage, 1).error)
    stage.kill(3)
    stage.machine_of[3] = TillV3
    stage.start(3)
    stage.run(1)
    assert upgrade(stage, 3).error is None
    assert stage.do(ann, "pay", "ann", 1) == -100


def test_a_leader_without_the_release_says_so() -> None:
    stage, _ = started(TillV2, TillV2, TillV2)
    assert "does not ship version 3" in str(upgrade(stage, 3).error)


@pytest.mark.parametrize("who", ["follower", "leader"])
def test_a_node_without_the_release_waits_for_it(who: str) -> None:
    """It logs and votes, serves nobody, hands leadership over; upgraded, it goes on where it stopped."""
    stage, ann = started(TillV3, TillV3, TillV3)
    assert upgrade(stage, 3).error is None
    bad = stage.leader().node_id if who == "leader" else stage.follower()
    stage.kill(bad)
    stage.machine_of[bad] = TillV2
    stage.start(bad)
    stage.until(lambda: standing(stage, bad) == "outdated")
    assert "upgrade this node" in stage.members[bad].agreeing.reason
    for euros in (1, 2, 3):
        stage.do(ann, "pay", "ann", euros)
    stage.until(lambda: stage.members[bad].journal.last_index == stage.leader().journal.last_index)
    read = stage.look("word", "ann", to=bad, consistency="stale")
    stage.until(lambda: read.is_over)
    assert isinstance(read.error, NotLeader)
    other = next(number for number in stage.members if number not in (bad, stage.leads))
    stage.kill(other)  # its vote and its log count
    assert stage.do(ann, "pay", "ann", 1) == 500
    stage.start(other)
    stage.kill(bad)
    stage.machine_of[bad] = TillV3
    stage.start(bad)
    stage.settle()
    assert standing(stage, bad) == "well"
    assert versions(stage) == {3}


def test_an_outdated_leader_hands_over() -> None:
    stage, ann = started(TillV3, TillV3, TillV3)
    assert upgrade(stage, 3).error is None
    stage.settle()
    stage.kill(2)
    stage.machine_of[2] = TillV2
    stage.start(2)
    stage.until(lambda: standing(stage, 2) == "outdated" and stage.leads)
    stage.leader().transfer(2, lambda _: None, lambda _: None)
    stage.until(lambda: stage.leads not in (0, 2), 30)
    stage.run(2)
    assert stage.do(ann, "pay", "ann", 1) == -100
    assert not stage.failures


@pytest.mark.parametrize("survival", [Survival.NOTHING, Survival.TORN])
def test_a_crash_of_all_during_an_upgrade_loses_nothing(survival: Survival) -> None:
    stage, ann = started(TillV3, TillV3, TillV3)
    told = Told()
    stage.leader().upgrade(3, told.done, told.fail)
    call = stage.submit(Call(ann.item("pay", "ann", 4)))
    stage.run(0.012)
    for number in (1, 2, 3):
        stage.crash(number, survival, seed=number)
    stage.start()
    stage.settle()
    assert versions(stage) in ({1}, {2}, {3})
    assert call.times_told <= 1
    if versions(stage) != {3}:
        stage.run(1)
        assert upgrade(stage, 3).error is None
    stage.settle()
    assert versions(stage) == {3}
    assert not any(cases(stage, number) for number in stage.members)


def test_commands_go_on_around_an_upgrade() -> None:
    stage, ann = started(TillV3, TillV3, TillV3)
    calls = [stage.submit(Call(ann.item("pay", "ann", 1))) for _ in range(20)]
    told = Told()
    stage.leader().upgrade(3, told.done, told.fail)
    calls += [stage.submit(Call(ann.item("pay", "ann", 1))) for _ in range(20)]
    stage.until(lambda: told.is_over and all(call.times_told for call in calls))
    assert told.error is None
    assert all(call.answers and call.answers[0].status == 0 for call in calls)
    flips = [call.index for call in calls if call.index > told.index]
    assert flips
    stage.settle()


def test_a_migration_that_raises_is_not_even_logged() -> None:
    """It is tried first: so every node may go on with the release before, also one that ships no more than that."""
    stage, _ = started(TillV3, TillV3, TillV3)
    assert upgrade(stage, 2).error is None
    bad = stage.session("bad")
    stage.do(bad, "pay", "poison", 1)
    told = upgrade(stage, 3)
    assert str(told.error) == (
        "migrate_state of version 3 raises (ValueError: poison): version 2 stays in force, "
        "and every node may go on with it"
    )
    assert versions(stage) == {2}
    for number in (1, 2, 3):
        stage.kill(number)
        stage.machine_of[number] = TillV2
        stage.start(number)
    stage.do(bad, "pay", "poison", 1)
    stage.settle()
    assert not any(cases(stage, number) for number in stage.members)
