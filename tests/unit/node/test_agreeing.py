"""A node whose state differs: it is named, stops serving, keeps evidence, and heals; the others go on."""

from __future__ import annotations

import pytest

from tests.divergence import alter, cases, evidence, filled, heal, standing


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
