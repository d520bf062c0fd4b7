"""Handlers: all or nothing, whatever they raise; pipelines, timers, identities, random numbers."""

from __future__ import annotations

from typing import Any

import pytest

import rsm
from rsm.codec.cbor import Reference
from rsm.limits import RESULT_BYTES_MAX, TIMERS_PER_ENTRY_MAX
from rsm.replica.answer import Status, decode
from rsm.replica.batch import FLAG_HASH_POINT, PIPELINE, encode_call, join_item
from tests.machines import SECOND, Everything, Log, contents


def system_state(log: Log) -> tuple[Any, ...]:
    """What a handler changes besides its own containers."""
    system = log.replica.system
    return dict(system.timers), dict(system.timer_due), system.ids, system.timer_ids, len(log.events())


def prepared() -> tuple[Log, int]:
    """A log with something in every container."""
    log = Log()
    session = log.open("ann")
    log.run(session, "put", "broken", 5)
    log.run(session, "plot", -1, "broken")
    log.run(session, "push", -1, "before")
    log.run(session, "later", 10**15, "far")
    return log, session


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raise", "key", "result", "event", "big", "reason", "surrogate"])
def test_a_handler_that_raises_leaves_nothing_behind(how: str) -> None:
    """Any exception, an answer, an event or a reason that cannot be encoded: handler_failed, and all is as before."""
    log, session = prepared()
    before, system = contents(log.replica), system_state(log)
    answer = log.send(session, "break_off", how)
    assert (answer.status, decode(answer.body)) == (Status.FAILED, ["handler_failed", -1])
    assert contents(log.replica) == before
    assert system_state(log) == system
    (failure,) = log.applied[-1].failures
    assert failure.name == "break_off"
    assert "Traceback" in failure.traceback
    assert log.replica.executor.failures == []
    log.replica.store.verify()


def test_a_rejection_carries_its_reason_and_leaves_nothing_behind() -> None:
    """`ctx.reject`: REJECTED with the reason, everything undone, and nothing for the local log."""
    log, session = prepared()
    before, system = contents(log.replica), system_state(log)
    answer = log.send(session, "break_off", "reject")
    assert (answer.status, decode(answer.body)) == (Status.REJECTED, ["as asked", -1])
    assert contents(log.replica) == before
    assert system_state(log) == system
    assert log.applied[-1].failures == []
    log.replica.store.verify()


def test_texts_of_exceptions_are_in_no_answer_and_no_root() -> None:
    """Two builds word the same error differently; answers and roots do not show it."""
    log, session = prepared()
    answer = log.send(session, "break_off", "raise")
    assert b"secret" not in answer.body
    assert "secret" in log.applied[-1].failures[0].traceback


@pytest.mark.parametrize("how", ["recursion", "memory", "interrupt", "exit"])
def test_what_depends_on_the_machine_stops_the_replica(how: str) -> None:
    """RecursionError, MemoryError and what is not an Exception are not deterministic: they come out of `apply`."""
    log, session = prepared()
    expected = {"recursion": RecursionError, "memory": MemoryError, "interrupt": KeyboardInterrupt, "exit": SystemExit}
    with pytest.raises(expected[how]):
        log.send(session, "break_off", how)


class Sum(rsm.Struct, frozen=True):
    """A struct with code of its own."""

    parts: tuple[int, ...]

    def __post_init__(self) -> None:
        if 13 in self.parts:
            raise ValueError("thirteen")
        if 0 in self.parts:
            raise ZeroDivisionError("zero")

    @property
    def mean(self) -> int:
        """Raises for no parts."""
        return sum(self.parts) // len(self.parts)


class Adder(rsm.StateMachine, name="adder", version=1):
    """A machine whose types run code."""

    total: int

    @rsm.command()
    def add(self, ctx: rsm.Context, parts: Sum) -> Sum:
        self.total += sum(parts.parts)
        return parts

    @rsm.command()
    def note(self, ctx: rsm.Context, mean: int) -> int:
        self.total += mean
        return self.total


def test_code_in_the_types_of_parameters_cannot_stop_a_replica() -> None:
    """A `__post_init__` that refuses is INVALID, one that breaks is handler_failed; properties may break too."""
    log = Log(Adder)
    session = log.open()
    assert log.send(session, "add", [[1, 2]]).status == Status.OK
    assert log.send(session, "add", [[13]]).status == Status.INVALID
    assert log.send(session, "add", [[0]]).status == Status.FAILED
    assert log.applied[-1].failures[0].name == "add"
    good = log.send(session, PIPELINE, ["add", 1, [[[2, 4]]]], ["note", 1, [Reference(0, ("mean",))]])
    assert good.status == Status.OK
    bad = log.send(session, PIPELINE, ["add", 1, [[[]]]], ["note", 1, [Reference(0, ("mean",))]])
    assert (bad.status, decode(bad.body)) == (Status.INVALID, ["reference", 1])
    assert contents(log.replica)["total"] == 12


# --- pipelines --------------------------------------------------------------------------------------------------------


def pipeline(log: Log, session: int, *steps: tuple[Any, ...]) -> Any:
    """Run steps given as (name, value, ...)."""
    return log.send(session, PIPELINE, *([name, 1, list(values)] for name, *values in steps))


def test_later_steps_use_results_fields_and_elements() -> None:
    """A reference stands for a result, a field of a struct by name, an element of a tuple by position."""
    log = Log()
    session = log.open()
    answer = pipeline(
        log,
        session,
        ("plot", 7, "seven"),
        ("put", Reference(0, ("label",)), Reference(0, ("x",))),
        ("put", "seven", 8),
        ("draw",),
        ("put", "id", Reference(3, (0,))),
        ("push", Reference(2, ()), "old value of seven"),
    )
    bodies = [decode(body) for body in decode(answer.body)]
    assert bodies[0] == [7, "seven"]
    assert bodies[2] == 7
    assert contents(log.replica)["words"] == {"seven": 8, "id": 1}
    assert contents(log.replica)["levels"] == {7: [(0, "old value of seven")]}


@pytest.mark.parametrize(
    ("steps", "status", "body"),
    [
        ([("put", "a", 1), ("drop", "zzz")], Status.REJECTED, ["no zzz", 1]),
        ([("put", "a", 1), ("put", "b", 2), ("break_off", "raise")], Status.FAILED, ["handler_failed", 2]),
        ([("put", "a", 1), ("nothing",)], Status.INVALID, ["unknown command", 1]),
        ([("put", "a", 1), ("put", "b", "c")], Status.INVALID, ["values", 1]),
        ([("put", "a", 1), ("put", "b", Reference(1, ()))], Status.INVALID, ["reference", 1]),
        ([("put", "a", 1), ("put", "b", Reference(9, ()))], Status.INVALID, ["reference", 1]),
        ([("put", "a", 1), ("put", "b", Reference(0, ("x",)))], Status.INVALID, ["reference", 1]),
        ([("plot", 1, "a"), ("put", "b", Reference(0, ("nope",)))], Status.INVALID, ["reference", 1]),
        ([("plot", 1, "a"), ("put", Reference(0, ("__doc__",)), 1)], Status.INVALID, ["reference", 1]),
        ([("plot", 1, "a"), ("put", "b", Reference(0, ("label",)))], Status.INVALID, ["values", 1]),
        ([("tell", "x", 3), ("later", 5, "t"), ("draw",), ("drop", "zzz")], Status.REJECTED, ["no zzz", 3]),
        ([("plot", 1, "a"), ("push", 1, "a"), ("rsm.cursor", "c", 0)], Status.INVALID, ["unknown command", 2]),
    ],
)
def test_a_pipeline_is_all_or_nothing(steps: list[tuple[Any, ...]], status: int, body: list[Any]) -> None:
    """The first step that fails is named, and the state, timers, ids and events of all steps are gone."""
    log, session = prepared()
    before, system = contents(log.replica), system_state(log)
    answer = pipeline(log, session, *steps)
    assert (answer.status, decode(answer.body)) == (status, body)
    assert contents(log.replica) == before
    assert system_state(log) == system
    assert log.run(session, "put", "after", 1) is None


@pytest.mark.parametrize("step", [None, [], ["put", 1], ["put", "1", ["a", 1]], [1, 1, []], ["put", 1, {}]])
def test_a_step_that_is_none_is_invalid(step: Any) -> None:
    """What stands in the place of a step must be [name, version, values]."""
    log = Log()
    session = log.open()
    answer = log.send(session, PIPELINE, ["put", 1, ["a", 1]], step)
    assert answer.status == Status.INVALID
    assert decode(answer.body)[1] == 1
    assert contents(log.replica)["words"] == {}


def test_steps_have_identities_of_their_own() -> None:
    """Random numbers and events of one step are not those of another, and ids are never given twice."""
    log = Log()
    session = log.open()
    answer = pipeline(log, session, ("draw",), ("draw",), ("tell", "x", 2), ("tell", "y", 1))
    first, second = (decode(body) for body in decode(answer.body)[:2])
    assert (first[0], second[0]) == (1, 2)
    assert first[1:] != second[1:]
    assert [(e.position, e.step, e.number) for _, e in log.events()] == [(0, 2, 0), (0, 2, 1), (0, 3, 0)]


def test_the_results_of_a_pipeline_are_bounded_together() -> None:
    """256 steps of a mebibyte each would be one answer of 256; the step that exceeds the bound is named."""

    class Echo(rsm.StateMachine, name="echo", version=1):
        @rsm.command()
        def echo(self, ctx: rsm.Context, size: int) -> bytes:
            return bytes(size)

    log = Log(Echo)
    session = log.open()
    half = RESULT_BYTES_MAX // 2
    assert pipeline(log, session, ("echo", half - 10), ("echo", half - 10)).status == Status.OK
    answer = pipeline(log, session, ("echo", half), ("echo", half))
    assert answer.status == Status.REJECTED
    assert decode(answer.body)[1] == 1


# --- timers -----------------------------------------------------------------------------------------------------------


def rung(log: Log) -> list[str]:
    """The texts that timers told, in order."""
    return [value[1] for value in log.values_of_events() if value[0] == "ring"]


def test_timers_fire_in_order_of_time_then_id_before_the_commands() -> None:
    """Due timers come first in the batch that makes them due, oldest time first, then oldest id."""
    log = Log()
    session = log.open()
    for delay, text in ((30, "c"), (10, "a"), (30, "d"), (20, "b"), (99, "later")):
        log.run(session, "later", delay * SECOND, text)
    log.tick(9)
    assert rung(log) == []
    log.now += 21 * SECOND
    log.send(session, "tell", "command", 1)
    assert [value[:2] for value in log.values_of_events()] == [
        ["ring", "a"],
        ["ring", "b"],
        ["ring", "c"],
        ["ring", "d"],
        ["command", 0],
    ]
    assert log.replica.next_due() == log.now - 30 * SECOND + 99 * SECOND
    events = [event for _, event in log.events()]
    identities = [(e.index, e.position, e.step, e.number) for e in events]
    assert identities == sorted(set(identities))
    assert all(event.position < 0 for event in events[:4])
    assert events[4].position == 0
    assert [value[2:] for value in log.values_of_events()[:4]] == [[log.now, 0]] * 4


def test_only_so_many_timers_fire_before_one_batch() -> None:
    """The rest waits for the next entry, in order."""
    log = Log()
    session = log.open()
    texts = [f"t{number}" for number in range(TIMERS_PER_ENTRY_MAX + 10)]
    for text in texts:
        log.run(session, "later", SECOND, text)
    log.tick(1)
    assert rung(log) == texts[:TIMERS_PER_ENTRY_MAX]
    log.tick()
    assert rung(log) == texts


def test_timers_made_by_timers_wait_for_the_next_entry() -> None:
    """A timer that schedules itself at once cannot hold up a batch."""
    log = Log()
    session = log.open()
    log.run(session, "later", 0, "again again done")
    assert rung(log) == []
    for expected in (1, 2, 3, 3):
        log.tick()
        assert len(rung(log)) == expected


def test_a_timer_that_raises_is_gone_and_undone() -> None:
    """It is not tried again, its changes are undone, the others fire; the failure is for the local log."""
    log = Log()
    session = log.open()
    log.run(session, "later", 1, "boom")
    log.run(session, "later", 1, "fine")
    log.tick(1)
    assert rung(log) == ["fine"]
    assert contents(log.replica)["count"] == 1
    assert [failure.name for failure in log.applied[-1].failures] == ["ring"]
    log.tick(1)
    assert not log.replica.system.timers
    assert not log.replica.system.timer_due


def test_timers_can_be_taken_back_once() -> None:
    """`cancel` says whether there was something to cancel: not after it fired, not twice, not for an unknown id."""
    log = Log()
    session = log.open()
    timer = log.run(session, "later", SECOND, "never")
    other = log.run(session, "later", SECOND, "fires")
    assert log.run(session, "unschedule", timer) is True
    assert log.run(session, "unschedule", timer) is False
    assert log.run(session, "unschedule", 10**6) is False
    log.tick(1)
    assert rung(log) == ["fires"]
    assert log.run(session, "unschedule", other) is False
    assert log.replica.next_due() is None


def test_a_timer_may_take_back_another_of_the_same_entry() -> None:
    """The one that was taken back does not fire, although both were due."""

    class Race(rsm.StateMachine, name="race", version=1):
        fired: rsm.Queue[int]

        @rsm.command()
        def start(self, ctx: rsm.Context) -> int:
            second = ctx.schedule(ctx.now + 2, Race.fire, 2)
            return ctx.schedule(ctx.now + 1, Race.stop, second)

        @rsm.command()
        def stop(self, ctx: rsm.Context, timer: int) -> bool:
            self.fired.push(1)
            return ctx.cancel(timer)

        @rsm.command()
        def fire(self, ctx: rsm.Context, number: int) -> None:
            self.fired.push(number)

    log = Log(Race)
    log.run(log.open(), "start")
    log.tick(1)
    assert contents(log.replica)["fired"] == [(0, 1)]


def test_schedule_refuses_what_does_not_fit() -> None:
    """A time that is no log time, values that are not the command's, a command of another machine: handler_failed."""

    class Bad(rsm.StateMachine, name="bad", version=1):
        @rsm.command()
        def go(self, ctx: rsm.Context, how: int) -> int:
            if how == 0:
                return ctx.schedule(-1, Bad.go, 1)
            if how == 1:
                return ctx.schedule(ctx.now, Bad.go, "text")  # type: ignore[arg-type]
            if how == 2:
                return ctx.schedule(ctx.now, Everything.ring, "text")
            if how == 3:
                return ctx.schedule(2**63, Bad.go, 1)
            if how == 4:
                return ctx.schedule(2**64, Bad.go, 1)
            return ctx.schedule(True, Bad.go, 1)

    log = Log(Bad)
    session = log.open()
    for how in range(6):
        assert log.send(session, "go", how).status == Status.FAILED
        assert not log.replica.system.timers
    log.replica.store.verify()


def test_timers_survive_a_snapshot() -> None:
    """A replica from a snapshot fires the same timers in the same entries, with the same roots."""
    log = Log()
    session = log.open()
    for delay, text in ((30, "c"), (10, "a"), (30, "again d"), (20, "boom")):
        log.run(session, "later", delay * SECOND, text)
    log.entry([], FLAG_HASH_POINT)
    restored = log.restored()
    for _ in range(6):
        log.now += 7 * SECOND
        root = log.entry([], FLAG_HASH_POINT).root
        assert restored.apply(log.entries[-1]).root == root
    assert rung(log) == ["a", "c", "again d", "d"]
    assert [event for _, event in restored.ring.after(0, 100)] == [event for _, event in log.events()]


# --- log time, random numbers -----------------------------------------------------------------------------------------


def test_log_time_never_runs_backwards() -> None:
    """A stamp before the last one is not believed; no timer and no session is disturbed by it."""
    log = Log()
    session = log.open()
    log.run(session, "later", 0, "x")
    log.now -= 100 * SECOND
    log.tick()
    assert log.replica.system.clock == log.now + 100 * SECOND
    assert log.values_of_events()[0][2] == log.now + 100 * SECOND


def test_random_numbers_depend_on_identity_and_seed_alone() -> None:
    """A replay draws the same numbers; another position, another index or another seed draws others."""
    log = Log()
    session = log.open()
    drawn = [log.run(session, "draw")[1:] for _ in range(5)]
    items = [join_item(session, 6 + n, 0, encode_call("draw", 1, [])) for n in range(5)]
    drawn += [decode(answer.body)[1:] for answer in log.entry(items).answers]
    assert len({tuple(pair) for pair in drawn}) == 10
    assert log.replayed().root() == log.replica.root()
