"""A node whose state differs: it is named, stops serving, keeps evidence, and heals; the others go on."""

from __future__ import annotations

import pytest

from tests.cluster_stage import Stage
from tests.divergence import Buggy, alter, cases, evidence, filled, heal, standing
from tests.machines import Everything


@pytest.mark.parametrize("who", ["follower", "leader"])
@pytest.mark.parametrize("tracked", [True, False])
def test_a_state_that_changed_once_is_named_and_healed(who: str, tracked: bool) -> None:
    """Whoever it is, and whether its sums know of it or not: one case, one verdict, one bundle, and it is back."""
    stage, ann = filled()
    bad = stage.leader().node_id if who == "leader" else stage.follower()
    alter(stage.members[bad], tracked=tracked)
    stage.until(lambda: bool(stage.do(ann, "put", "more", 1)) or standing(stage, bad) not in ("well", "suspect"))
    heal(stage, bad)
    for number in stage.members:
        (case,) = cases(stage, number).values()
        assert case.state == "decided"
        assert case.minority == (bad,)
    if who == "leader":
        assert stage.leader().node_id != bad
    assert len(evidence(stage, bad)) == 1


def test_a_node_that_returned_and_differs_again_at_the_same_index_is_out_again() -> None:
    """The bug is deployed once more, and the log is replayed from before it."""
    stage = Stage()
    stage.machine_of = {2: Buggy}
    stage.start()
    ann = stage.session("ann")
    stage.do(ann, "put", "bad", 5)
    stage.until(lambda: standing(stage, 2) == "out", 30)
    for machine, is_out in ((Everything, False), (Buggy, True)):
        stage.kill(2)
        stage.machine_of[2] = machine
        stage.start(2)
        stage.until(lambda is_out=is_out: (2 in stage.leader().replica.agreement.out()) is is_out, 60)  # type: ignore[misc]


def test_what_a_node_reported_before_is_no_proof_that_it_has_returned() -> None:
    """It was well for several hash points, and then the bug is deployed once more: it is out, and stays out."""
    stage = Stage()
    stage.machine_of = {2: Buggy}
    stage.start()
    ann = stage.session("ann")
    stage.do(ann, "put", "bad", 5)
    stage.until(lambda: standing(stage, 2) == "out", 30)
    for machine, is_out in ((Everything, False), (Buggy, True)):
        stage.kill(2)
        stage.machine_of[2] = machine
        stage.start(2)
        stage.until(lambda is_out=is_out: (2 in stage.leader().replica.agreement.out()) is is_out, 60)  # type: ignore[misc]
        for value in range(4 if not is_out else 0):
            stage.do(ann, "put", "x", value)
            stage.run(2.5)
    for _ in range(100):
        stage.run(0.05)
        assert 2 in stage.leader().replica.agreement.out()
