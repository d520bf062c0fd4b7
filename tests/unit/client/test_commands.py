"""Commands through a client: results, refusals, keys, sessions, and what never reaches the log."""

from __future__ import annotations

import copy
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.limits import COMMAND_BYTES_MAX, KEY_LENGTH_MAX
from tests.machines import Bank, Everything

Deep14 = list[list[list[list[list[list[list[list[list[list[list[list[list[list[int]]]]]]]]]]]]]]


class Odd(rsm.StateMachine, name="odd", version=1, event=tuple[str, int]):
    """Commands that are hard on the client."""

    total: int

    @rsm.command(name="old_name")
    def new_name(self, ctx: rsm.Context, amount: int = 5, times: int = 1) -> int:
        self.total += amount * times
        return self.total

    @rsm.command()
    def deep(self, ctx: rsm.Context, values: Deep14) -> int:
        return 1

    @rsm.command()
    def text(self, ctx: rsm.Context, value: str) -> int:
        return len(value)

    @rsm.command()
    def lies(self, ctx: rsm.Context) -> int:
        self.total += 1
        return "text"  # type: ignore[return-value]

    @rsm.command()
    def tells_lies(self, ctx: rsm.Context) -> None:
        ctx.emit("not a pair")

    @rsm.query
    def sum(self) -> int:
        return self.total

    also_sum = rsm.query(lambda self: self.total)


def run_pipeline(client: Any, *steps: tuple[Any, ...]) -> None:
    """Send steps given as (name, value, ...) in one pipeline."""
    with client.pipeline() as scope:
        for name, *values in steps:
            getattr(scope, name)(*values)


def log_bytes(machine: Any) -> int:
    """How much the log holds."""
    return int(machine.status().log_bytes)


@pytest.fixture
def odd(tmp_path: Path) -> Any:
    """A client of the odd machine."""
    with rsm.open(Odd, tmp_path / "odd") as client:
        yield client


def test_a_renamed_command_keeps_its_name_in_the_log_and_its_own_in_the_class(odd: Any) -> None:
    """`name=` is for logs; callers use the method's name, with defaults and keywords."""
    assert odd.new_name() == 5
    assert odd.new_name(amount=1) == 6
    with odd.pipeline() as steps:
        steps.new_name(4)
    assert odd.sum() == odd.also_sum() == 10
    with pytest.raises(AttributeError, match="old_name"):
        odd.old_name(1)


BAD_CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str | None]] = [
    ("new_name", ("5",), {}, "amount"),
    ("new_name", (True,), {}, "amount"),
    ("new_name", (1.0,), {}, "amount"),
    ("new_name", (None,), {}, "amount"),
    ("new_name", (2**63,), {}, "amount"),
    ("new_name", (2**70,), {}, "amount"),
    ("new_name", (1, 2, 3), {}, None),
    ("new_name", (1,), {"amount": 2}, "amount"),
    ("new_name", (), {"unknown": 2}, "unknown"),
    ("text", (), {}, "value"),
    ("text", (b"bytes",), {}, "value"),
    ("text", ("half \ud800",), {}, "value"),
    ("deep", (5,), {}, "values"),
    ("deep", (object(),), {}, None),
]


@pytest.mark.parametrize(
    ("command", "args", "kwargs", "field"), BAD_CALLS, ids=[f"{c[0]}{c[1]!r:.20}" for c in BAD_CALLS]
)
def test_what_does_not_fit_names_the_field_and_reaches_no_log(
    odd: Any, command: str, args: Any, kwargs: Any, field: str | None
) -> None:
    """One line, the field's name, and not a byte more in the log."""
    before = log_bytes(odd)
    with pytest.raises(rsm.InvalidCommand) as caught:
        getattr(odd, command)(*args, **kwargs)
    assert "\n" not in str(caught.value)
    assert command.replace("new_name", "old_name") in str(caught.value)
    if field is not None:
        assert caught.value.field == field
    assert log_bytes(odd) == before
    assert odd.new_name(1) == 1


def test_unknown_names_are_errors_of_attributes(odd: Any) -> None:
    """A typing mistake, state, and private names: AttributeError that says what it is; a proxy can be examined."""
    with pytest.raises(AttributeError, match="has no command or query 'nothing'"):
        _ = odd.nothing
    with pytest.raises(AttributeError, match="state of the machine"):
        _ = odd.total
    with pytest.raises(AttributeError, match="not a command"):
        _ = odd.pipeline().sum
    assert not hasattr(odd, "__len__")
    copied = copy.copy(odd)
    assert copied.sum() == 0


def test_values_as_deep_as_they_are_declared_travel(odd: Any) -> None:
    """What the client lets through, every replica can decode; deeper is refused at the edge."""
    value: Any = 1
    for _ in range(14):
        value = [value]
    assert odd.deep(value) == 1
    with odd.pipeline() as steps:
        with pytest.raises(rsm.InvalidCommand):
            steps.deep([value])
        steps.new_name(1)
    assert odd.sum() == 1


def test_an_oversized_command_is_refused_before_the_log(odd: Any) -> None:
    """COMMAND_BYTES_MAX holds for commands and for pipelines; the largest that fits, fits."""
    before = log_bytes(odd)
    with pytest.raises(rsm.LimitExceeded, match=str(COMMAND_BYTES_MAX)):
        odd.text("x" * COMMAND_BYTES_MAX)
    with pytest.raises(rsm.LimitExceeded):
        run_pipeline(odd, *[("text", "x" * (COMMAND_BYTES_MAX // 2))] * 3)
    assert log_bytes(odd) == before
    assert odd.text("x" * (COMMAND_BYTES_MAX - 100)) == COMMAND_BYTES_MAX - 100


def test_a_result_that_is_not_as_declared_says_that_the_command_took_effect(odd: Any) -> None:
    """The handler's mistake must not look as if nothing had happened; in a pipeline too."""
    with pytest.raises(rsm.CallerError, match="took effect"):
        odd.lies()
    with pytest.raises(rsm.CallerError, match="took effect"), odd.pipeline() as steps:
        steps.lies()
    assert odd.sum() == 2


def test_an_event_that_is_not_as_declared_is_refused(odd: Any) -> None:
    """It fails the command that emits it; once in the log it would stop every consumer."""
    with pytest.raises(rsm.HandlerFailed):
        odd.tells_lies()
    assert list(odd.events()) == []


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["raise", "key", "result", "event", "big", "reason", "surrogate"])
def test_a_handler_that_fails_is_told_in_the_local_log_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    """The caller gets `HandlerFailed` without the text; the log gets the traceback once, replays included."""
    caplog.set_level(logging.INFO, "rsm")
    with rsm.open(Everything, tmp_path / "m") as machine:
        with pytest.raises(rsm.HandlerFailed) as caught:
            machine.break_off(how)
        assert "secret" not in str(caught.value)
        assert machine.put("a", 1) is None
    failures = [record.getMessage() for record in caplog.records if "handler_failed" in record.getMessage()]
    assert len(failures) == 1
    assert "Traceback" in failures[0]
    caplog.clear()
    with rsm.open(Everything, tmp_path / "m") as machine:
        assert machine.word("a") == 1
        assert machine.word("broken") is None
    assert caplog.records == []


def test_a_rejection_has_its_reason_and_a_pipelines_step(tmp_path: Path) -> None:
    """`reason` is what the handler said; the message names the step of a pipeline, and nothing of it stands."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        with pytest.raises(rsm.Rejected) as caught:
            machine.drop("x")
        assert (str(caught.value), caught.value.reason, caught.value.step) == ("no x", "no x", None)
        with pytest.raises(rsm.Rejected) as caught:
            run_pipeline(machine, ("put", "a", 1), ("tell", "never", 3), ("drop", "x"))
        assert (caught.value.reason, caught.value.step) == ("no x", 2)
        assert "step 2" in str(caught.value)
        with pytest.raises(rsm.HandlerFailed, match="step 1") as failed:
            run_pipeline(machine, ("put", "a", 1), ("break_off", "raise"))
        assert failed.value.step == 1
        assert machine.word("a") is None
        assert list(machine.events()) == []


@pytest.mark.parametrize("how", ["recursion", "memory", "interrupt", "exit"])
def test_a_handler_that_cannot_be_deterministic_stops_the_machine(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Everyone who waits gets `Closed` with the cause, nobody hangs, nothing is thrown at the caller as its own."""
    machine = rsm.open(Everything, tmp_path / "m")
    machine.put("a", 1)
    follower: list[BaseException] = []

    def follow() -> None:
        try:
            for _ in machine.events(follow=True):
                pass
        except BaseException as error:
            follower.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    pending = [machine.put.send("b", 1), machine.break_off.send(how), machine.put.send("c", 1)]
    answers = []
    for one in pending:
        try:
            answers.append(one.result(10))
        except rsm.Closed as error:
            answers.append(error)
    assert isinstance(answers[1], rsm.Closed)
    assert isinstance(answers[2], rsm.Closed)
    kinds = {"recursion": RecursionError, "memory": MemoryError, "interrupt": KeyboardInterrupt, "exit": SystemExit}
    assert isinstance(answers[1].__cause__, kinds[how])
    assert kinds[how].__name__ in str(answers[1])
    thread.join(10)
    assert [type(error) for error in follower] == [rsm.Closed]
    for call in (lambda: machine.put("d", 1), lambda: machine.word("a"), machine.status, machine.snapshot):
        with pytest.raises(rsm.Closed, match="has stopped"):
            call()
    machine.close()
    machine.close()
    # The directory is free, but the log holds an entry that cannot be applied: one line, not a traceback of the
    # handler.
    with pytest.raises(rsm.RsmError, match=kinds[how].__name__) as caught:
        rsm.open(Everything, tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_a_handler_cannot_use_a_client_of_its_own_machine(tmp_path: Path) -> None:
    """It would wait for itself; instead it fails like any other handler."""
    clients: list[Any] = []

    class Selfish(rsm.StateMachine, name="selfish", version=1):
        total: int

        @rsm.command()
        def go(self, ctx: rsm.Context, how: int) -> int:
            client = clients[0]
            if how == 0:
                client.go(1)
            elif how == 1:
                client.sum()
            elif how == 2:
                list(client.events())
            elif how == 3:
                client.close()
            self.total += 1
            return self.total

        @rsm.query
        def sum(self) -> int:
            return self.total

    with rsm.open(Selfish, tmp_path / "m") as client:
        clients.append(client)
        for how in range(4):
            with pytest.raises(rsm.HandlerFailed):
                client.go.send(how).result(10)
        assert client.go(9) == 1


# --- keys, sessions ---------------------------------------------------------------------------------------------------


def test_a_key_gives_its_first_answer_to_any_process(tmp_path: Path) -> None:
    """After a reopen the command does not run again; other arguments are an error; a rejection is kept as well."""
    with rsm.open(Bank, tmp_path / "m") as bank:
        assert bank.once("k").deposit("ann", 5) == 5
        assert bank.deposit("ann", 5) == 10
    with rsm.open(Bank, tmp_path / "m") as bank:
        assert bank.once("k").deposit("ann", 5) == 5
        with pytest.raises(rsm.KeyReused):
            bank.once("k").deposit("ann", 6)
        assert bank.balance("ann") == 10
        assert bank.outcome("k") == rsm.Outcome("applied", 5)
    with rsm.open(Bank, tmp_path / "m", principal="other") as bank:
        assert bank.once("k").deposit("ann", 6) == 16


def test_outcomes_settle_keys(tmp_path: Path) -> None:
    """Applied with its answer or its rejection; not applied, and then never."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        machine.once("put").put("a", 1)
        with pytest.raises(rsm.Rejected):
            machine.once("drop").drop("x")
        assert machine.outcome("put") == rsm.Outcome("applied", None)
        assert machine.outcome("drop") == rsm.Outcome("applied", None, "no x")
        assert machine.outcome("lost") == rsm.Outcome("not_applied")
        with pytest.raises(rsm.KeyVoided):
            machine.once("lost").put("a", 2)
        assert machine.once("self").outcome("self") == rsm.Outcome("not_applied")
        assert machine.word("a") == 1
    with rsm.open(Everything, tmp_path / "m") as machine, pytest.raises(rsm.KeyVoided):
        machine.once("self").put("a", 2)


def test_a_whole_pipeline_runs_once_under_a_key(tmp_path: Path) -> None:
    """Repeated, it gives the results of the first time."""
    with rsm.open(Bank, tmp_path / "m") as bank:
        for _ in range(2):
            with bank.once("both").pipeline() as steps:
                ann = steps.deposit("ann", 5)
                bob = steps.deposit("bob", ann)
            assert (rsm.result(ann), rsm.result(bob)) == (5, 5)
        assert bank.outcome("both").state == "applied"


def test_events_are_read_through_a_keyed_view_too(tmp_path: Path) -> None:
    """The view's key is for commands; a cursor that moved under it would be a reused key."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        machine.tell("x", 600)
        assert len(list(machine.once("k").events("c"))) == 600
        assert machine.once("k").put("a", 1) is None


@pytest.mark.parametrize("key", ["", "k" * (KEY_LENGTH_MAX + 1), "\ud800", b"bytes", None, 5])
def test_a_key_must_be_text_that_a_log_can_hold(tmp_path: Path, key: Any) -> None:
    """Refused where it is given, for keys, outcomes and cursors; the machine is unharmed."""
    with rsm.open(Bank, tmp_path / "m") as bank:
        with pytest.raises(rsm.InvalidCommand):
            bank.once(key)
        with pytest.raises(rsm.InvalidCommand):
            bank.outcome(key)
        if key is not None:
            with pytest.raises(rsm.InvalidCommand):
                list(bank.events(key))
        assert bank.once("k" * KEY_LENGTH_MAX).deposit("ann", 1) == 1


def test_sessions_end_when_they_are_closed_and_with_their_process(tmp_path: Path) -> None:
    """Closing runs the handler at once; what was left open ends before anyone else speaks in the next process."""
    with rsm.open(Everything, tmp_path / "m", principal="owner") as machine:
        with machine.session(principal="ann") as ann:
            ann.put("a", 1)
        assert machine.word("ended ann") is not None
        with pytest.raises(rsm.SessionExpired):
            ann.put("a", 2)
        ann.close()
        machine.session(principal="left")
        lasting = machine.session(principal="lasting", ttl_seconds=3600)
        lasting.put("b", 1)
        with pytest.raises(rsm.CallerError, match="once"):
            machine.once("k").close()
    with rsm.open(Everything, tmp_path / "m", principal="next") as machine:
        assert machine.word("ended left") is not None
        assert machine.word("ended owner") is not None
        assert machine.word("ended lasting") is None
        assert [event.value[0] for event in machine.events()] == ["ended"] * 3
        assert machine.status().sessions == 2


def test_an_idle_machine_ends_silent_sessions_in_time(tmp_path: Path) -> None:
    """Nobody needs to send anything for a time to live to pass."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        machine.session(principal="quiet", ttl_seconds=0.05)
        event = next(machine.events(follow=True))
        assert event.value[0] == "ended"
        assert machine.word("ended quiet") is not None


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 10**9])
def test_a_time_to_live_has_bounds(tmp_path: Path, ttl: float) -> None:
    """Not zero, not negative, not for ever; the tiniest one still ends."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        with pytest.raises(rsm.InvalidCommand, match="ttl_seconds"):
            machine.session(ttl_seconds=ttl)
        machine.session(principal="tiny", ttl_seconds=1e-12)
        assert next(machine.events(follow=True)).value[0] == "ended"


# --- queries, pipelines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["scalar", "map", "sorted", "set", "queue", "table"])
def test_queries_cannot_write(tmp_path: Path, where: str) -> None:
    """Neither a query nor a stream changes anything; the machine goes on with the same root."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        machine.plot(1, "a")
        machine.push(1, "a")
        with pytest.raises((TypeError, AttributeError)):
            machine.spoil(where)
        with pytest.raises((TypeError, AttributeError)):
            list(machine.spoil_slowly(where))
        assert machine.put("a", 1) is None
    with rsm.open(Everything, tmp_path / "m") as machine:
        assert machine.word("a") == 1


def test_a_stream_shows_one_index_while_commands_flow(tmp_path: Path) -> None:
    """What is written after the stream was asked for is not in it, however slowly it is read."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        for number in range(2000):
            machine.put.send(f"k{number:04}", number)
        machine.put("z", 1)
        stream = machine.all_words()
        machine.put("k0000", -1)
        machine.drop("k1999")
        machine.put("new", -1)
        seen = [next(stream)]
        machine.put("k1000", -1)
        seen += list(stream)
        assert seen == [(f"k{number:04}", number) for number in range(2000)] + [("z", 1)]
        dropped = machine.all_words()
        next(dropped)
        del dropped
        machine.put("after", 1)
        assert dict(machine.all_words())["new"] == -1


def test_pipelines_refuse_what_could_not_mean_anything(tmp_path: Path) -> None:
    """Results of another pipeline, steps after the end, results before the end, too many steps."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        with machine.pipeline() as first:
            number = first.tell("x", 3)
            with pytest.raises(rsm.CallerError, match="has not run"):
                rsm.result(number)
            with pytest.raises(TypeError, match="iterated"):
                list(number)
        assert rsm.result(number) == 3
        with pytest.raises(rsm.CallerError, match="has ended"):
            first.tell("y", 1)
        with machine.pipeline() as second:
            with pytest.raises(rsm.InvalidCommand, match="another pipeline"):
                second.put("a", number)
            second.put("a", rsm.result(number))
        with pytest.raises(rsm.InvalidCommand):
            machine.put("a", number)
        with pytest.raises(rsm.LimitExceeded):
            run_pipeline(machine, *[("put", "b", 1)] * 257)
        with machine.pipeline():
            pass
        with pytest.raises(AttributeError):
            run_pipeline(machine, ("put", "b", 1), ("nothing",))
        assert machine.word("a") == 3
        assert machine.word("b") is None


def test_results_and_their_fields_go_into_later_steps(tmp_path: Path) -> None:
    """A struct's field by name, a tuple's element by position, also inside a list of values."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        with machine.pipeline() as steps:
            point = steps.plot(7, "seven")
            steps.put(point.label, point.x)
            drawn = steps.draw()
            steps.put("id", drawn[0])
            with pytest.raises(AttributeError):
                _ = point._hidden
        assert machine.word("seven") == 7
        assert machine.word("id") == 1
        assert rsm.result(point).label == "seven"
        scope = machine.pipeline()
        with scope as steps:
            steps.put("x", steps.plot(8, "eight").x)
        scope = machine.pipeline()
        scope.put("x", scope.plot(9, "nine").nothing)
        with pytest.raises(rsm.InvalidCommand, match="step 1"):
            scope.__exit__(None, None, None)
        assert machine.word("x") == 8


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_relative_path_stays_good_when_the_process_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots and segments are made where the machine is, not where the process went; a slash at the end is fine."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with rsm.open(Bank, "data/bank/") as bank:
        bank.deposit("ann", 5)
        os.chdir("elsewhere")
        bank.snapshot()
    assert os.listdir(tmp_path / "elsewhere") == []
    with rsm.open(Bank, tmp_path / "data" / "bank") as bank:
        assert bank.balance("ann") == 5


@pytest.mark.parametrize(
    "options", [{"durability": "Fsync"}, {"durability": None}, {"snapshot_log_bytes": 0}, {"snapshot_log_bytes": "1"}]
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any]) -> None:
    """A typing mistake in `durability` must not mean less of it."""
    with pytest.raises(rsm.CallerError):
        rsm.open(Bank, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


def test_only_machines_can_be_opened(tmp_path: Path) -> None:
    """A plain class, an instance, a class without a name: DefinitionError."""

    class Nameless(rsm.StateMachine):
        pass

    for what in (object, Bank(), Nameless, None):
        with pytest.raises(rsm.DefinitionError):
            rsm.open(what, tmp_path / "m")  # type: ignore[type-var]


def test_an_answer_tells_its_index(tmp_path: Path) -> None:
    """Of the entry that answered, or of the state that was read; a repeat's answer is of a later entry; 0 before."""
    with rsm.open(Bank, tmp_path / "bank") as bank:
        first = bank.deposit.send("ann", 1)
        first.result()
        assert first.index == bank.status().index
        before = first.index
        indexes = []
        for _ in range(2):
            repeat = bank.once("key").deposit.send("ann", 1)
            assert repeat.result() == 2
            indexes.append(repeat.index)
        assert before < indexes[0] < indexes[1]
        read = bank.balance.send("ann")
        assert read.result() == 2
        assert read.index >= indexes[1]
