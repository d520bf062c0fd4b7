"""A tracing replica applies as any other does, and tells what each command did."""

from __future__ import annotations

import msgspec
import pytest

from rsm.codec.record import Entry, RecordKind
from rsm.replica.answer import Status
from rsm.replica.batch import encode_call, join_batch, join_item
from rsm.replica.trace import BEGIN, SESSION_END, CommandTrace, PackedTrace, TracingReplica, Write, pack
from rsm.state.leaf import ABSENT, encode
from tests.machines import Everything, Log, Point


def traced(log: Log) -> list[CommandTrace]:
    """The traces of a log; the roots are those of a plain replica."""
    traces: list[CommandTrace] = []
    replica = TracingReplica(Everything, traces.append)
    for entry in log.entries:
        replica.apply(entry)
    assert replica.root() == log.replica.root()
    assert [trace.status for trace in traces if trace.position >= 0] == [
        answer.status for applied in log.applied for answer in applied.answers
    ]
    return traces


def last(log: Log) -> CommandTrace:
    """The trace of the last command."""
    return traced(log)[-1]


def test_a_command_tells_its_writes_as_it_left_them() -> None:
    """One write a leaf, in the order of the first one, under the container's name, with the value after the command."""
    log = Log()
    session = log.open()
    log.send(session, "put", "a", 1)
    log.send(session, "put", "a", 7)
    trace = last(log)
    assert (trace.name, trace.position, trace.status, trace.body) == ("put", 0, 0, encode(1))
    assert trace.index == log.replica.index
    assert trace.writes == (Write("words", "a", 7), Write("scalars", "count", 2))
    log.send(session, "drop", "a")
    assert last(log).writes == (Write("words", "a", ABSENT),)


def test_every_kind_of_container_is_told() -> None:
    """Sorted maps, sets, queues and tables by their leaf keys."""
    log = Log()
    session = log.open()
    log.send(session, "plot", 3, "x")
    point = Point(3, "x")
    assert last(log).writes == (
        Write("points", (3, "x"), point),
        Write("scalars", "last", point),
        Write("seen", b"x", None),
    )
    log.send(session, "push", 4, "one")
    assert last(log).writes == (Write("line", 0, 4), Write("levels", (4, 0), "one"))


@pytest.mark.parametrize("how", ["reject", "raise", "result", "event"])
def test_what_was_rolled_back_is_not_told(how: str) -> None:
    """A command that failed wrote nothing; its answer is told."""
    log = Log()
    log.send(log.open(), "break_off", how)
    trace = last(log)
    assert trace.status != Status.OK
    assert trace.writes == ()
    assert trace.events == ()


def test_a_write_that_changes_nothing_is_left_out() -> None:
    """It makes no difference: a side that writes the same value again is not a different one."""
    log = Log()
    session = log.open()
    log.send(session, "put", "a", 1)
    log.send(session, "put", "a", 1)
    assert last(log).writes == (Write("scalars", "count", 2),)


def test_events_are_told() -> None:
    """As the bytes that were emitted."""
    log = Log()
    log.send(log.open(), "tell", "hello", 2)
    assert last(log).events == (encode(("hello", 0)), encode(("hello", 1)))


def test_two_commands_of_one_batch_are_told_apart() -> None:
    """Also when both write the same leaf."""
    log = Log()
    session = log.open()
    items = [join_item(session, number, 0, encode_call("put", 1, ["a", number])) for number in (1, 2)]
    payload = join_batch(1, log.now, 0, items)
    log.apply(Entry(index=len(log.entries) + 1, term=1, kind=RecordKind.BATCH, payload=payload))
    first, second = traced(log)[-2:]
    assert (first.position, first.writes[0]) == (0, Write("words", "a", 1))
    assert (second.position, second.writes[0]) == (1, Write("words", "a", 2))


def test_what_comes_before_the_commands_is_told() -> None:
    """The clock, sessions that expire, timers: each by itself, at positions below 0."""
    log = Log()
    session = log.open()
    log.open("ann", ttl_seconds=5)
    log.send(session, "later", 3 * 10**9, "ding")
    log.tick(10)
    begin, ended, timer = traced(log)[-3:]
    assert begin.name == BEGIN
    assert begin.writes == (Write("rsm.scalars", "clock", log.now),)
    assert ended.name == SESSION_END
    assert Write("words", "ended ann", 2) in ended.writes
    assert timer.name == "ring"
    assert timer.status == Status.OK
    assert any(write.container == "rsm.timers" and write.value is ABSENT for write in timer.writes)
    assert Write("scalars", "count", 1) in timer.writes
    assert begin.position < ended.position < timer.position < 0
    assert len(timer.events) == 1


def test_a_closed_session_and_a_pipeline_are_one_command_each() -> None:
    """What they set off is part of them."""
    log = Log()
    session = log.open("ann")
    log.send(session, "rsm.pipeline", ["put", 1, ["a", 1]], ["put", 1, ["b", 2]])
    pipeline = last(log)
    assert pipeline.name == "rsm.pipeline"
    assert [write.leaf_key for write in pipeline.writes] == ["a", "count", "b"]
    log.close(session)
    closing = last(log)
    assert closing.name == "rsm.close_session"
    assert Write("words", "ended ann", session) in closing.writes


def test_a_malformed_item_is_told() -> None:
    """An item that is none has an answer too."""
    log = Log()
    log.entry([b"\x01"])
    assert last(log).name == "(malformed)"


def test_a_packed_trace_comes_back() -> None:
    """Equal traces are equal bytes, and the bytes decode to what was packed; a leaf that is gone has no value."""
    log = Log()
    session = log.open()
    log.send(session, "put", "a", 1)
    log.send(session, "drop", "a")
    packed = pack(last(log))
    assert packed.writes == (("words", encode(("a",))),)
    assert msgspec.msgpack.decode(encode(packed), type=PackedTrace) == packed
    assert encode(pack(last(log))) == encode(packed)
