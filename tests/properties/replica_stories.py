"""Random logs: a list of plain data from which a log of any machine in `tests.machines` is built.

Also a program: given a file of stories (MessagePack), it prints the roots and answers of each, for other processes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from rsm.codec.cbor import Reference
from rsm.replica.batch import (
    CLOSE_SESSION,
    CURSOR,
    FLAG_HASH_POINT,
    KEEP_ALIVE,
    OPEN_SESSION,
    OUTCOME,
    PIPELINE,
    join_item,
)
from rsm.replica.batch import encode_call as encode_system_call
from tests.machines import SECOND, Log

WORDS = ("a", "b", "éclair", "日本", "zz", "")
words = st.sampled_from(WORDS)
small = st.integers(-3, 5)

calls = st.one_of(
    st.tuples(st.just("put"), words, st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just("drop"), words),
    st.tuples(st.just("plot"), small, words),
    st.tuples(st.just("trim")),
    st.tuples(st.just("push"), small, words),
    st.tuples(st.just("pop"), small),
    st.tuples(st.just("tell"), words, st.integers(0, 3)),
    st.tuples(st.just("later"), st.sampled_from([0, SECOND, 5 * SECOND, 60 * SECOND]), st.sampled_from(["x", "boom"])),
    st.tuples(st.just("later"), st.just(0), st.just("again again x")),
    st.tuples(st.just("unschedule"), st.integers(1, 8)),
    st.tuples(st.just("draw")),
    st.tuples(st.just("break_off"), st.sampled_from(["reject", "raise", "result", "event", "key"])),
    st.tuples(st.just("nothing"), small),
    st.tuples(st.just("put"), words, words),
)
pipelines = st.tuples(st.just("pipeline"), st.lists(calls, min_size=1, max_size=4), st.booleans())
system_calls = st.one_of(
    st.tuples(st.just(OUTCOME), st.sampled_from(["k1", "k2", "k3"]), st.sampled_from([0, 1])),
    st.tuples(st.just(CURSOR), words, st.integers(0, 9)),
    st.tuples(st.just(KEEP_ALIVE)),
)
# Which session, how far off its next number the sequence is (0 mostly), how many answers it still waits for, the key.
items = st.tuples(
    st.just("item"),
    st.integers(0, 3),
    st.sampled_from([0, 0, 0, 0, 0, -1, -2, 1]),
    st.sampled_from([0, 1, 3, 99]),
    st.sampled_from([None, None, None, "k1", "k2", "k3"]),
    st.one_of(calls, calls, calls, pipelines, system_calls),
)
openings = st.tuples(st.just("open"), st.sampled_from(["ann", "bob", "bad"]), st.sampled_from([0, 0, 3, 30]))
closings = st.tuples(st.just("close"), st.integers(0, 3))
# A batch: seconds that pass before it, whether it is a hash point, its parts.
batches = st.tuples(
    st.sampled_from([0, 0, 0.5, 2, 40, 86_400]),
    st.booleans(),
    st.lists(st.one_of(items, items, items, items, openings, closings), max_size=6),
)
stories = st.lists(batches, min_size=1, max_size=14)


def tell(story: Any, log: Log) -> Log:
    """Build the story's log, batch by batch."""
    log.open("ann")
    log.open("bob", ttl_seconds=30)
    for seconds, is_hash_point, story_parts in story:
        log.now += int(seconds * SECOND)
        log.entry(joined(story_parts, log), FLAG_HASH_POINT if is_hash_point else 0)
    return log


def joined(story_parts: Any, log: Log) -> list[bytes]:
    """The items of a batch. Sequence numbers count on within it, as a client's would."""
    numbers = sorted(log.replica.sessions) or [1]
    following: dict[int, int] = {}
    result = []
    for kind, *rest in story_parts:
        if kind == "open":
            result.append(join_item(0, 0, 0, encode_system_call(OPEN_SESSION, 1, [rest[0], rest[1] * SECOND])))
        elif kind == "close":
            result.append(join_item(0, 0, 0, encode_system_call(CLOSE_SESSION, 1, [numbers[rest[0] % len(numbers)]])))
        else:
            which, off, waiting, key, call = rest
            number = numbers[which % len(numbers)]
            session = log.replica.sessions.get(number)
            expected = following.setdefault(number, 1 if session is None else session.next_sequence)
            sequence = max(1, expected + off)
            if sequence == expected:
                following[number] = expected + 1
            result.append(join_item(number, sequence, max(0, sequence - waiting), encoded(call), key))
    return result


def encoded(call: Any) -> bytes:
    """A command, a system command, or a pipeline whose later steps refer to the first one's result."""
    name, *values = call
    if name == "pipeline":
        steps = [[step[0], 1, list(step[1:])] for step in values[0]]
        if values[1] and len(steps) > 1:
            steps[-1][2] = [Reference(0, ()) if isinstance(value, int) else value for value in steps[-1][2]]
        return encode_system_call(PIPELINE, 1, steps)
    return encode_system_call(name, 1, values)


def account(log: Log) -> list[Any]:
    """Everything that two copies of the log must agree on."""
    answers = [[[answer.status, answer.body] for answer in applied.answers] for applied in log.applied]
    roots = [applied.root for applied in log.applied]
    failures = [[failure.index, failure.position, failure.name] for one in log.applied for failure in one.failures]
    events = [[e.index, e.position, e.step, e.number, e.packed] for _, e in log.events()]
    return [answers, roots, log.replica.root(), failures, events]


if __name__ == "__main__":
    for told in msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes()):
        sys.stdout.write(msgspec.msgpack.encode(account(tell(told, Log()))).hex() + "\n")
