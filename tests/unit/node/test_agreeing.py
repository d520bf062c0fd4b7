"""A node whose state differs: it is named, stops serving, keeps evidence, and heals; the others go on."""

from __future__ import annotations

from typing import Any

import pytest

from rsm.node.member import Member
from rsm.replica.agreement import Case
from rsm.replica.replica import Replica
from tests.cluster_stage import Look, Stage, member


def alter(node: Member, key: str = "a", value: int = 999, *, tracked: bool = True) -> None:
    """Change a node's state, and nobody else's: with its sums as an unequal handler would, or behind their back."""
    words = node.replica.store.containers["words"]
    if tracked:
        node.replica.store.begin()
        words[key] = value
        node.replica.store.end()
    else:
        dict.__setitem__(words, key, value)


def filled(nodes: int = 3, **options: Any) -> tuple[Stage, Any]:
    stage = Stage(nodes=nodes, **options)
    stage.start()
    ann = stage.session("ann")
    for number in range(10):
        stage.do(ann, "put", f"key {number}", number)
    stage.settle()
    return stage, ann


def cases(stage: Stage, number: int) -> dict[int, Case]:
    return stage.members[number].replica.agreement.cases


def standing(stage: Stage, number: int) -> str:
    return stage.members[number].agreeing.standing


@pytest.mark.parametrize("who", ["follower", "leader"])
@pytest.mark.parametrize("tracked", [True, False])
def test_a_state_that_changed_once_is_named_and_healed(who: str, tracked: bool) -> None:
    stage, ann = filled()
    bad = stage.leader().node_id if who == "leader" else stage.follower()
    alter(stage.members[bad], tracked=tracked)
    stage.until(lambda: bool(stage.do(ann, "put", "more", 1)) or standing(stage, bad) not in ("well", "suspect"))
    stage.until(lambda: all(case.returned.get(bad) for n in stage.members for case in cases(stage, n).values()) and cases(stage, bad), 60)
    stage.settle()
    assert not stage.failures
    for number in stage.members:
        (case,) = cases(stage, number).values()
        assert case.state == "decided" and case.minority == (bad,) and case.out == ()
        assert standing(stage, number) == "well"
    assert cases(stage, 1) == cases(stage, 2) == cases(stage, 3)
    if who == "leader":
        assert stage.leader().node_id != bad
    evidence = [path for path in stage.files(bad, "evidence/") if path.endswith("bundle.json")]
    assert len(evidence) == 1
