"""Idempotency keys: the first answer is the answer, whoever asks again; an outcome is settled through the log."""

from __future__ import annotations

from typing import Any

import pytest

from rsm.limits import KEY_WINDOW_SECONDS
from rsm.replica import keys
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.batch import FLAG_HASH_POINT, OUTCOME, PIPELINE
from tests.machines import Log, contents


def outcome(log: Log, session: int, key: str, sent_at: int = 0) -> Any:
    """What the log says of a key."""
    return log.run(session, OUTCOME, key, sent_at)


def check_books(log: Log) -> None:
    """The order of keys, the keys and their bytes tell the same story."""
    system = log.replica.system
    assert sorted(system.key_order) == sorted(system.keys)
    assert system.key_bytes == sum(keys._cost(*key, record) for key, record in system.keys.items())


def test_the_first_answer_is_given_to_every_session_of_the_principal() -> None:
    """Another session, another process, after a close: the command does not run again."""
    log = Log()
    first = log.open("ann")
    answer = log.send(first, "put", "a", 1, key="k")
    log.close(first)
    second = log.open("ann")
    log.send(second, "put", "a", 2)
    state = contents(log.replica)
    assert log.send(second, "put", "a", 1, key="k") == answer
    assert contents(log.replica) == state
    check_books(log)


def test_keys_belong_to_their_principal() -> None:
    """Two principals may use the same key for different things."""
    log = Log()
    ann, bob = log.open("ann"), log.open("bob")
    assert log.run(ann, "put", "a", 1, key="k") is None
    assert log.run(bob, "put", "a", 2, key="k") == 1
    assert outcome(log, ann, "k") == ["applied", 0, b"\xc0"]
    assert outcome(log, bob, "other") == ["not_applied", 0, b""]
    assert log.send(ann, "put", "a", 3, key="other").status == Status.OK


@pytest.mark.parametrize("tail", [("put", "a", 2), ("drop", "a"), ("put", "b", 1)])
def test_the_same_key_with_something_else_is_an_error(tail: tuple[Any, ...]) -> None:
    """Other values or another command under a used key: KEY_REUSED, nothing runs, the first answer stays."""
    log = Log()
    session = log.open()
    first = log.send(session, "put", "a", 1, key="k")
    state = contents(log.replica)
    assert log.send(session, *tail, key="k").status == Status.KEY_REUSED
    assert contents(log.replica) == state
    assert log.send(session, "put", "a", 1, key="k") == first


def test_refusals_are_first_answers_too() -> None:
    """A command that was rejected, failed or did not fit does not get a second chance under its key."""
    log = Log()
    session = log.open()
    rejected = log.send(session, "drop", "a", key="rejected")
    failed = log.send(session, "break_off", "raise", key="failed")
    invalid = log.send(session, "put", "a", "1", key="invalid")
    log.run(session, "put", "a", 1)
    assert log.send(session, "drop", "a", key="rejected") == rejected
    assert rejected.status == Status.REJECTED
    assert log.send(session, "break_off", "raise", key="failed") == failed
    assert failed.status == Status.FAILED
    assert log.send(session, "put", "a", "1", key="invalid") == invalid
    assert invalid.status == Status.INVALID
    assert outcome(log, session, "rejected")[:2] == ["applied", Status.REJECTED]
    assert contents(log.replica)["count"] == 1


def test_a_pipeline_has_a_key_as_a_whole() -> None:
    """Its steps ran once; the repeated pipeline gets all their results."""
    log = Log()
    session = log.open()
    steps = [["put", 1, ["a", 1]], ["put", 1, ["a", 2]]]
    first = log.send(session, PIPELINE, *steps, key="k")
    assert log.send(session, PIPELINE, *steps, key="k") == first
    assert contents(log.replica)["count"] == 2


def test_an_outcome_of_not_applied_stops_late_copies() -> None:
    """After "not applied" the command cannot run under that key any more, from any session."""
    log = Log()
    session, other = log.open("ann"), log.open("ann")
    assert outcome(log, session, "k") == ["not_applied", 0, b""]
    assert log.send(other, "put", "a", 1, key="k").status == Status.KEY_VOIDED
    assert outcome(log, other, "k") == ["not_applied", 0, b""]
    assert contents(log.replica)["words"] == {}
    check_books(log)


def test_keys_live_for_the_window_of_log_time() -> None:
    """In the first entry beyond the window the key is forgotten, and its command would run again."""
    log = Log()
    session = log.open()
    log.run(session, "put", "a", 1, key="k")
    sent_at = log.now
    log.tick(KEY_WINDOW_SECONDS - 1)
    assert log.run(session, "put", "a", 1, key="k") is None
    assert outcome(log, session, "k", sent_at)[0] == "applied"
    log.tick(1)
    assert not log.replica.system.keys
    check_books(log)
    assert outcome(log, session, "k", sent_at) == ["expired", 0, b""]
    assert log.run(session, "put", "a", 1, key="k") == 1


def test_an_outcome_is_expired_only_when_something_may_have_been_dropped() -> None:
    """A key never seen is "not applied" as long as no key as young as it has been dropped."""
    log = Log()
    session = log.open()
    log.run(session, "put", "a", 1, key="old")
    log.tick(KEY_WINDOW_SECONDS)
    assert outcome(log, session, "young", log.now - 1) == ["not_applied", 0, b""]


def test_only_so_many_keys_expire_before_one_batch() -> None:
    """A burst of expired keys is dropped in slices, so that no batch waits for all of them."""
    log = Log()
    session = log.open()
    for number in range(100):
        log.send(session, "put", "a", number, key=f"k{number}")
    log.tick(KEY_WINDOW_SECONDS)
    assert len(log.replica.system.keys) == 36
    check_books(log)
    log.tick()
    assert not log.replica.system.keys
    check_books(log)


def test_no_key_is_dropped_for_want_of_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the bytes are full, commands under new keys are rejected unrun; old keys stand until they expire."""
    monkeypatch.setattr(keys, "KEY_BYTES_MAX", 5 * (keys.KEY_OVERHEAD_BYTES + 1))
    log = Log()
    session = log.open()
    statuses = []
    for number in range(8):
        log.now += 1
        statuses.append(log.send(session, "put", "a", number, key=f"k{number}").status)
        check_books(log)
    assert statuses == [Status.OK] * 5 + [Status.REJECTED] * 3
    assert [key for _, key in log.replica.system.key_order] == ["k0", "k1", "k2", "k3", "k4"]
    assert decode(log.replica.query("word", ["a"])) == 4
    assert log.send(session, OUTCOME, "k5", 0).status == Status.REJECTED
    assert outcome(log, session, "k0", 1)[0] == "applied"
    log.tick(KEY_WINDOW_SECONDS)
    assert log.send(session, "put", "a", 9, key="k9").status == Status.OK


def test_settling_a_key_that_is_too_old_to_know_marks_nothing() -> None:
    """ "expired" leaves no trace: no mark, no bytes."""
    log = Log()
    session = log.open()
    log.run(session, "put", "a", 1, key="k")
    log.tick(KEY_WINDOW_SECONDS)
    assert outcome(log, session, "k", 1) == ["expired", 0, b""]
    assert not log.replica.system.keys
    check_books(log)


def test_an_outcome_cannot_be_asked_under_the_key_itself() -> None:
    """The mark and the answer would be booked twice, and the second expiry would stop the replica."""
    log = Log()
    session = log.open()
    assert log.send(session, OUTCOME, "k", 0, key="k").status == Status.INVALID
    assert log.send(session, OUTCOME, "k", 0).status == Status.OK
    log.tick(KEY_WINDOW_SECONDS)
    log.tick()
    check_books(log)
    assert not log.replica.system.keys


def test_keys_survive_a_snapshot() -> None:
    """A replica from a snapshot gives the first answer, drops the same keys at the same entry, has the same root."""
    log = Log()
    session = log.open("ann")
    first = log.send(session, "put", "a", 1, key="k")
    outcome(log, session, "void")
    log.entry([], FLAG_HASH_POINT)
    restored = log.restored()
    again = log.send(session, "put", "a", 1, key="k")
    assert again == first
    assert restored.apply(log.entries[-1]).answers == [first]
    log.send(session, "put", "a", 1, key="void")
    assert restored.apply(log.entries[-1]).answers[0].status == Status.KEY_VOIDED
    log.tick(KEY_WINDOW_SECONDS)
    restored.apply(log.entries[-1])
    root = log.entry([], FLAG_HASH_POINT).root
    assert restored.apply(log.entries[-1]).root == root
    assert dict(restored.system.keys) == {}


def test_run_once_does_not_run_what_is_known() -> None:
    """The first answer comes from the record, whatever the command would say today."""
    log = Log()
    system = log.replica.system
    log.replica.store.begin()
    answer = keys.run_once(system, "p", "k", 5, lambda: Answer(0, b"\x01"))
    assert keys.run_once(system, "p", "k", 5, lambda: Answer(0, b"\x02")) == answer
    record = system.keys["p", "k"]
    assert (record.created, record.status, record.body) == (system.clock, 0, b"\x01")
    log.replica.store.end()
    assert decode(answer.body) == 1
