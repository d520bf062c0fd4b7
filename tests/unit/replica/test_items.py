"""What a log may hold in the place of an item: anything, and no item may stop a replica."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest

from rsm.codec.cbor import REFERENCE_TAG, Reference
from rsm.replica.answer import Status, decode
from tests.machines import Log


def encode_reference(encoder: cbor2.CBOREncoder, value: Any) -> None:
    """References, as the codec writes them."""
    encoder.encode_semantic(REFERENCE_TAG, [value.step, list(value.path)])


def batch_of(items: Any, stamp: int) -> bytes:
    """The payload of a batch whose items nobody checked."""
    return cbor2.dumps([1, 1, stamp, 0, items], default=encode_reference)


STRANGE: list[Any] = [
    None,
    7,
    "sixsix",
    b"sixsix",
    [],
    {},
    {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6},
    {0: 1, 1: 1, 2: 1, 3: "put", 4: 1, 5: []},
    Reference(0, ()),
    [1, 1, 0, "put", 1],
    [1, 1, 0, "put", 1, ["a", 1], "key", "more"],
    ["1", 1, 0, "put", 1, ["a", 1]],
    [True, 1, 0, "put", 1, ["a", 1]],
    [[], 1, 0, "put", 1, ["a", 1]],
    [1, "1", 0, "put", 1, ["a", 1]],
    [1, 1, None, "put", 1, ["a", 1]],
    [1, 1, 0, b"put", 1, ["a", 1]],
    [1, 1, 0, "put", "1", ["a", 1]],
    [1, 1, 0, "put", 1, {1: 2}],
]
STRANGE_IDS = [repr(item)[:40] for item in STRANGE]


@pytest.mark.parametrize("item", STRANGE, ids=STRANGE_IDS)
def test_a_malformed_item_is_answered_and_takes_no_sequence_number(item: Any) -> None:
    """Whatever stands in the place of an item is INVALID, and the session goes on as if it had not been sent."""
    log = Log()
    session = log.open()
    payload = batch_of([item, [session, 1, 0, "put", 1, ["a", 1]]], log.now)
    entry = log.entries[-1]
    applied = log.apply(type(entry)(index=len(log.entries) + 1, term=1, kind=entry.kind, payload=payload))
    assert [answer.status for answer in applied.answers] == [Status.INVALID, Status.OK]
    assert log.next_sequence(session) == 2


ODD: list[tuple[list[Any], int]] = [
    (["put", 1, "ab"], Status.INVALID),
    (["put", 1, ["a"]], Status.INVALID),
    (["put", 1, ["a", 1, 2]], Status.INVALID),
    (["put", 1, ["a", "1"]], Status.INVALID),
    (["put", 1, ["a", True]], Status.INVALID),
    (["put", 1, [Reference(0, ()), 1]], Status.INVALID),
    (["put", 9, ["a", 1]], Status.INVALID),
    (["put", -1, ["a", 1]], Status.INVALID),
    (["nothing", 1, []], Status.INVALID),
    (["rsm.activate", 1, ["x", 1, {}, b""]], Status.INVALID),
    (["rsm.close_session", 1, [1]], Status.INVALID),
    (["rsm.outcome", 1, ["", 0]], Status.INVALID),
    (["rsm.outcome", 1, ["k" * 256, 0]], Status.INVALID),
    (["rsm.cursor", 1, ["", 0]], Status.INVALID),
    (["rsm.cursor", 1, ["c", 1]], Status.INVALID),
    (["rsm.cursor", 1, ["c", 2**64 - 1]], Status.INVALID),
    (["rsm.pipeline", 1, []], Status.INVALID),
    (["rsm.pipeline", 1, ["x"]], Status.INVALID),
    (["rsm.pipeline", 1, [["put", 1, ["a", 1]]] * 257], Status.INVALID),
    (["put", 1, ["a", 1], ""], Status.INVALID),
    (["put", 1, ["a", 1], "k" * 256], Status.INVALID),
    (["put", 1, ["a", 1], 5], Status.INVALID),
    (["rsm.outcome", 1, ["key", 0], "key"], Status.INVALID),
    (["rsm.cursor", 1, ["c", 0], "key"], Status.INVALID),
    (["rsm.keep_alive", 1, [], "key"], Status.INVALID),
]


@pytest.mark.parametrize(("tail", "status"), ODD, ids=[repr(tail)[:50] for tail, _ in ODD])
def test_an_odd_command_of_a_session_is_invalid_and_counts(tail: list[Any], status: int) -> None:
    """A well-formed item that names nothing, or does not fit, changes no state and takes its sequence number."""
    log = Log()
    session = log.open()
    payload = batch_of([[session, 1, 0, *tail], [session, 2, 0, "rsm.keep_alive", 1, []]], log.now)
    entry = log.entries[-1]
    applied = log.apply(type(entry)(index=len(log.entries) + 1, term=1, kind=entry.kind, payload=payload))
    assert [answer.status for answer in applied.answers] == [status, Status.OK]
    assert not log.replica.system.keys
    assert not log.replica.system.cursors
    assert not log.replica.system.key_order


def test_leader_commands_need_session_zero_and_sessions_need_to_exist() -> None:
    """Nobody but the leader opens sessions or activates, and a command without a session has an unknown outcome."""
    log = Log()
    assert log.lead("put", "a", 1).status == Status.SESSION_EXPIRED
    assert log.send(77, "put", "a", 1, sequence=1).status == Status.SESSION_EXPIRED
    session = log.open()
    answer = log.send(session, "rsm.open_session", "mallory", 0)
    assert (answer.status, decode(answer.body)) == (Status.INVALID, ["unknown command", -1])


def test_open_session_refuses_what_does_not_fit() -> None:
    """A principal that is no text, a time to live beyond the bound or below zero: INVALID, no session."""
    log = Log()
    for values in ([b"x", 0], ["x", -1], ["x", 2**63 - 1], ["x"], ["x", 0, 0]):
        assert log.lead("rsm.open_session", *values).status == Status.INVALID
    assert not log.replica.sessions


def test_no_batch_of_another_machine_version_is_applied() -> None:
    """Entries run under the version that is active; anything else stops the replica."""
    from rsm.errors import DivergenceError
    from rsm.replica.batch import join_batch

    log = Log()
    entry = log.entries[-1]
    with pytest.raises(DivergenceError, match="machine version 2"):
        log.apply(type(entry)(index=2, term=1, kind=entry.kind, payload=join_batch(2, log.now, 0, [])))
    with pytest.raises(DivergenceError, match="entry 4 was handed"):
        log.apply(type(entry)(index=4, term=1, kind=entry.kind, payload=join_batch(1, log.now, 0, [])))
