"""The counter of docs/recipes.md: under a key once, whoever repeats it, wherever it was when it failed."""

from __future__ import annotations

import pytest

import rsm
from rsm.testing.disk import Survival
from tests.cluster_stage import Call, Stage
from tests.machines import Log
from tests.unit.recipes.recipes import Counter


def test_a_key_counts_once_and_a_bare_call_each_time() -> None:
    """In one session, in another one, and after a replay."""
    log = Log(Counter)
    ann, bob = log.open(), log.open()
    assert log.run(ann, "add", "x", 3, key="order") == 3
    assert log.run(ann, "add", "x", 3, key="order") == 3
    assert log.run(bob, "add", "x", 3, key="order") == 3
    assert log.run(bob, "add", "x", 3) == 6
    assert log.send(bob, "add", "x", 4, key="order").status != 0
    assert log.replayed().root() == log.replica.root()


def test_a_sum_that_does_not_fit_is_not_kept(tmp_path: object) -> None:
    """Beyond 64 bits the handler fails, and the count stays."""
    with rsm.open(Counter, f"{tmp_path}/counter", durability="os") as counter:
        assert counter.add("x", 2**63 - 1) == 2**63 - 1
        with pytest.raises(rsm.HandlerFailed):
            counter.add("x")
        assert counter.value("x") == 2**63 - 1


@pytest.mark.parametrize("when", range(0, 40, 5))
def test_a_caller_that_repeats_itself_through_a_crash_of_the_leader(when: int) -> None:
    """Wherever in its way the command was when the leader lost its power, the same key counts it once."""
    stage = Stage(Counter)
    stage.start()
    session = stage.session()
    assert stage.do(session, "add", "x", 1, key="first") == 1
    leader = stage.leads
    stage.submit(Call(session.item("add", "x", 10, key="second")))
    for _ in range(when // 5):
        stage.step()
    stage.crash(leader, Survival.NOTHING)
    again = stage.session()
    assert stage.do(again, "add", "x", 10, key="second") == 11
    assert stage.do(again, "add", "x", 1, key="first") == 1
    stage.start()
    stage.settle()
