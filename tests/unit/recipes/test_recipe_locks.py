"""The lock of docs/recipes.md: one holder at a time, leases that end by log time, tokens that only rise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.replica.answer import decode
from rsm.testing.disk import Survival
from tests.cluster_stage import Stage
from tests.machines import Log, contents
from tests.unit.recipes.recipes import Locks


def rejected(log: Log, session: int, name: str, *values: Any) -> str:
    """The reason why a command was rejected."""
    answer = log.send(session, name, *values)
    assert answer.status != 0
    return str(decode(answer.body)[0])


@pytest.fixture
def log() -> Log:
    """A machine without locks."""
    return Log(Locks)


def held(log: Log) -> dict[str, str]:
    """Who owns what."""
    return {lock: lease.owner for lock, lease in contents(log.replica)["leases"].items()}


def test_a_lease_ends_when_its_time_is_over(log: Log) -> None:
    """A nanosecond before its end the lock is held, and a renewal counts from now; then it is anybody's."""
    ann, bob = log.open(), log.open()
    token = log.run(ann, "acquire", "door", "ann", 10)
    assert log.run(ann, "acquire", "door", "ann", 10) is None
    log.now += 10 * 10**9 - 1
    assert log.run(bob, "acquire", "door", "bob", 10) is None
    log.run(ann, "renew", "door", token, 5)
    log.now += 5 * 10**9 - 1
    log.tick()
    assert held(log) == {"door": "ann"}
    log.now += 1
    log.tick()
    assert held(log) == {}
    assert log.run(bob, "acquire", "door", "bob", 10) > token
    assert len(log.replica.system.timers) == 1


def test_who_comes_late_can_do_nothing(log: Log) -> None:
    """Renewing or releasing with a token whose lease has ended is rejected, and leaves the new holder's lock alone."""
    ann, bob = log.open(), log.open()
    old = log.run(ann, "acquire", "door", "ann", 1)
    log.tick(1)
    new = log.run(bob, "acquire", "door", "bob", 60)
    assert new > old
    for name, more in (("renew", (60,)), ("release", ())):
        assert rejected(log, ann, name, "door", old, *more) == f"door: the lease of token {old} has ended"
    assert rejected(log, ann, "expire", "door") == "this is for timers"
    assert held(log) == {"door": "bob"}
    log.run(bob, "release", "door", new)
    assert held(log) == {}
    assert len(log.replica.system.timers) == 0


def test_the_end_of_a_session_lets_go_of_its_own_locks(log: Log) -> None:
    """Also when it is the second lease under this name; others keep theirs, and no timer is left behind."""
    ann, bob = log.open("ann", ttl_seconds=30), log.open()
    for lock in ("a", "b"):
        log.run(ann, "acquire", lock, "ann", 3600)
    log.run(bob, "acquire", "c", "bob", 3600)
    log.tick(31)
    assert held(log) == {"c": "bob"}
    assert len(log.replica.system.timers) == 1
    log.close(bob)
    assert held(log) == {}
    assert len(log.replica.system.timers) == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "renew", "release", "wait", "end"]),
        st.integers(0, 2),
        st.sampled_from(["a", "b"]),
        st.integers(1, 5),
    ),
    max_size=40,
)


@given(STEPS)
def test_there_is_one_holder_at_a_time(steps: list[tuple[str, int, str, int]]) -> None:
    """Against a plain model: a lock is given when nobody's lease lasts, and each token is above all before it."""
    log = Log(Locks)
    sessions = [log.open() for _ in range(3)]
    leases: dict[str, tuple[int, int, int]] = {}  # lock -> (who, token, end)
    last: dict[tuple[int, str], int] = {}
    newest = 0
    for action, who, lock, seconds in steps:
        if action == "wait":
            log.tick(seconds)
        leases = {name: lease for name, lease in leases.items() if lease[2] > log.now}
        token = last.get((who, lock), 0)
        is_held = lock in leases and leases[lock][:2] == (who, token)
        if action == "acquire":
            given_token = log.run(sessions[who], "acquire", lock, str(who), seconds)
            assert (given_token is None) == (lock in leases)
            if given_token is not None:
                assert given_token > newest
                newest = last[who, lock] = given_token
                leases[lock] = (who, given_token, log.now + seconds * 10**9)
        elif action == "renew":
            assert (log.send(sessions[who], "renew", lock, token, seconds).status == 0) == is_held
            if is_held:
                leases[lock] = (who, token, log.now + seconds * 10**9)
        elif action == "release":
            assert (log.send(sessions[who], "release", lock, token).status == 0) == is_held
            if is_held:
                del leases[lock]
        elif action == "end":
            log.close(sessions[who])
            sessions[who] = log.open()
            leases = {name: lease for name, lease in leases.items() if lease[0] != who}
        assert held(log) == {name: str(lease[0]) for name, lease in leases.items()}
    assert log.replayed().root() == log.replica.root()


def test_a_dead_holder_on_a_cluster_whose_leader_dies_too() -> None:
    """Nobody renews, the leader loses its power: the lease ends all the same, and the token of the next is higher."""
    stage = Stage(Locks)
    stage.start()
    ann, bob = stage.session(), stage.session()
    token = stage.do(ann, "acquire", "door", "ann", 5)
    stage.run(2)
    assert stage.do(bob, "acquire", "door", "bob", 60) is None
    stage.crash(stage.leads, Survival.TORN)
    stage.run(5)
    assert stage.do(bob, "acquire", "door", "bob", 60) > token
    stage.start()
    stage.settle()
    owners = {node.replica.machine.leases["door"].owner for node in stage.members.values()}  # type: ignore[attr-defined]
    assert owners == {"bob"}
