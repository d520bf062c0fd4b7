"""The queue between callers and the runner: nothing lost, nothing doubled, and items that say what their bytes say."""

from __future__ import annotations

import asyncio
import enum
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.codec import cbor
from rsm.errors import Busy, Closed, InvalidCommand
from rsm.limits import BATCH_COMMANDS_MAX, COMMANDS_IN_FLIGHT_MAX
from rsm.machine.definition import CommandSpec
from rsm.machine.values import Parameter, Signature
from rsm.node.submissions import Submission, Submissions, join_items
from rsm.replica.batch import decode_batch, encode_call, join_batch
from rsm.replica.sessions import Session

SPEC = cast(CommandSpec, SimpleNamespace(name="name", version=7))
PLAIN = {
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**63 - 1),
    str: st.text(),
    bytes: st.binary(),
    type(None): st.none(),
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[Signature, tuple[Any, ...]]:
    """A signature of plain types, and values that fit."""
    kinds = draw(st.lists(st.sampled_from(list(PLAIN)), max_size=6))
    signature = Signature("command", [Parameter(f"field_{n}", kind, None) for n, kind in enumerate(kinds)])
    return signature, tuple(draw(PLAIN[kind]) for kind in kinds)


@given(st.lists(st.tuples(calls(), st.integers(0, 3)), max_size=8))
def test_what_a_leader_knows_of_its_batch_is_what_the_batch_decodes_to(
    sent: list[tuple[tuple[Signature, tuple[Any, ...]], int]],
) -> None:
    """Items made of bound values equal those decoded from the bytes, in value and in type."""
    sessions = {number: Session(number, "", 0, 0) for number in (1, 2)}
    sessions[2].next_sequence = 70_000
    submissions = []
    for (signature, values), number in sent:
        bound = signature.bind(values, {})
        submission = Submission(number, encode_call("name", 7, [])[:-1] + cbor.encode_plain(bound))
        submission.spec, submission.values = SPEC, bound
        submissions.append(submission)
    items, known = join_items(sessions, submissions)
    decoded = decode_batch(join_batch(1, 0, 0, items)).items
    assert repr(known) == repr(decoded)


def test_one_submission_that_knows_nothing_has_the_batch_decoded() -> None:
    """Half of a batch is no batch: without everybody's values, and with keys, there are only bytes."""
    known, unknown, keyed = (Submission(1, encode_call("name", 7, []), key) for key in (None, None, "key"))
    for submission in (known, keyed):
        submission.spec, submission.values = SPEC, []
    assert join_items({}, [known])[1] == [[1, 1, 1, "name", 7, []]]
    assert join_items({}, [known, unknown])[1] is None
    assert join_items({}, [known, keyed])[1] is None


class Side(enum.IntEnum):
    """A member equals its number."""

    SELL = 1


def test_values_are_bound_as_what_they_travel_as() -> None:
    """A member that equals its number is bound as the number; what only looks alike is refused."""
    signature = Signature("command", [Parameter("text", str, None), Parameter("number", int, None)])
    assert list(map(type, signature.bind(("x", Side.SELL), {}))) == [str, int]
    with pytest.raises(InvalidCommand, match="number"):
        signature.bind(("x", True), {})
    with pytest.raises(InvalidCommand, match="data"):
        Signature("command", [Parameter("data", bytes, None)]).bind((bytearray(b"x"),), {})


def test_many_threads_put_and_each_command_is_taken_once() -> None:
    """Four threads race one consumer that sleeps whenever the queue is empty: all arrive, in each thread's order."""
    queue = Submissions()
    count = 5_000

    def put(thread: int) -> None:
        for number in range(count):
            queue.put(Submission(thread, number.to_bytes(4, "big")))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    taken: list[Submission] = []
    while len(taken) < 4 * count:
        batch = queue.take(10.0)
        assert 0 < len(batch) <= BATCH_COMMANDS_MAX
        taken += batch
    for thread in threads:
        thread.join()
    for number in range(4):
        calls = [int.from_bytes(one.call, "big") for one in taken if one.session == number]
        assert calls == list(range(count))


def test_a_queue_that_refuses_loses_nothing() -> None:
    """While threads put, the queue closes: every command can be taken or was refused to its caller, never both."""
    for _ in range(20):
        queue = Submissions()
        refused: list[int] = []
        accepted: list[int] = []

        def put(thread: int, queue: Submissions = queue, refused: list[int] = refused) -> None:
            for number in range(200):
                try:
                    queue.put(Submission(thread, bytes(1)))
                except Closed:
                    refused.append(thread * 1000 + number)

        threads = [threading.Thread(target=put, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        accepted += [1] * len(queue.take(1.0))
        queue.refuse(lambda: Closed("closed"))
        for thread in threads:
            thread.join()
        while batch := queue.take(0):
            accepted += [1] * len(batch)
        assert len(accepted) + len(refused) == 600


def test_a_full_queue_holds_threads_and_tells_event_loops() -> None:
    """At the bound a thread waits until there is room; a coroutine gets `Busy`."""
    queue = Submissions()
    for _ in range(COMMANDS_IN_FLIGHT_MAX):
        queue.put(Submission(1, b""))

    async def put() -> None:
        queue.put(Submission(1, b""))

    with pytest.raises(Busy):
        asyncio.run(put())
    waiting = threading.Thread(target=queue.put, args=(Submission(2, b"last"),))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    queue.take(0)
    waiting.join(10)
    assert not waiting.is_alive()
    left: list[Submission] = []
    while batch := queue.take(0):
        left += batch
    assert left[-1].call == b"last"
