"""Commands of old versions on a replica: splits, drops and steps that see the state, atomic and alike everywhere."""

from __future__ import annotations

from typing import Any

import pytest

import rsm
from rsm.limits import UPCAST_PARTS_MAX
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.system import Timer
from rsm.replica.trace import CommandTrace, TracingReplica
from rsm.state.leaf import encode
from rsm.testing import strict
from tests.machines import SECOND, Log, contents


class Order(rsm.Struct):
    """What rests."""

    owner: str
    price: int


class Shop(rsm.StateMachine, name="shop", version=1, event=tuple[str, int]):
    """Orders by number; `replace` and `ping` have no handlers any more."""

    orders: rsm.Map[int, Order]
    drawn: rsm.Map[int, int]
    taken: int

    @rsm.command(version=3)
    def place(self, ctx: rsm.Context, owner: str, price: int, tag: str) -> Order:
        if price < 0:
            ctx.reject("below zero")
        if price == 13:
            raise RuntimeError("unlucky")
        number = ctx.new_id()
        self.orders[number] = order = Order(owner, price)
        self.drawn[number] = ctx.random("fee").below(1_000_000_000)
        ctx.emit(("placed", number))
        return order

    @rsm.command(version=1)
    def cancel(self, ctx: rsm.Context, number: int) -> int:
        if number not in self.orders:
            ctx.reject(f"no order {number}")
        ctx.emit(("cancelled", number))
        self.drawn[-number] = ctx.random("fee").below(1_000_000_000)
        return self.orders.pop(number).price  # type: ignore[no-any-return]

    @rsm.command(version=2)
    def later(self, ctx: rsm.Context, owner: str, price: int, delay: int) -> int:
        return ctx.schedule(ctx.now + delay, Shop.place, owner, price, "later")

    place_of_old = rsm.upcast_fields(
        "place",
        from_version=1,
        old={"owner": str, "price": str},
        convert={"price": int},
    )
    place_without_tag = rsm.upcast_fields(
        "place", from_version=2, old={"owner": str, "price": int}, default={"tag": ""}
    )

    @rsm.upcast("replace", from_version=1, into={"cancel": 1, "place": 1})
    def replace_as_two(number: int, owner: str, price: str) -> rsm.Split:
        return rsm.split(("cancel", number), ("place", owner, price), answers=1)

    @rsm.upcast("ping", from_version=1)
    def ping_is_gone(text: str) -> rsm.Drop:
        return rsm.drop(Order(text, 1))

    @rsm.upcast("later", from_version=1, reads_state=True)
    def later_as_the_last(self, price: int, delay: int) -> tuple[str, int, int] | rsm.Drop:
        if not self.orders:
            return rsm.drop(-1)
        if delay == 99:
            self.taken += 1
        last = max(self.orders)
        return self.orders[last].owner, price, delay

    @rsm.upcast("swap", from_version=1, into={"replace": 1, "ping": 1})
    def swap_as_three(number: int, other: int, price: str) -> rsm.Split:
        return rsm.split(("replace", number, "a", price), ("ping", "b"), ("replace", other, "c", price), answers=0)

    @rsm.upcast("flood", from_version=1, into={"flood": 2})
    def flood_1(count: int) -> rsm.Split:
        return rsm.split(*[("flood", count)] * count, answers=0)

    @rsm.upcast("flood", from_version=2, into={"place": 3})
    def flood_2(count: int) -> rsm.Split:
        return rsm.split(*[("place", "f", 1, "")] * count, answers=0)


def shop() -> tuple[Log, int]:
    """A shop with one order, and a session."""
    log = Log(Shop)
    session = log.open("ann")
    assert log.run(session, "place", "ann", 5, "", version=3) == ["ann", 5]
    return log, session


def everything(log: Log) -> Any:
    """All that a command may change."""
    system = log.replica.system
    return contents(log.replica), system.ids, system.event_count, dict(system.timer_due), log.values_of_events()


def test_a_command_of_an_old_version_runs_as_the_newest() -> None:
    """Through however many steps."""
    log, session = shop()
    assert log.run(session, "place", "bob", "7", version=1) == ["bob", 7]
    assert log.run(session, "place", "bob", 8, version=2) == ["bob", 8]
    assert log.replayed().root() == log.replica.root()


def test_a_split_is_one_step_of_several_commands() -> None:
    """At one index and position, in order; the declared part answers, events and random streams are their own."""
    log, session = shop()
    assert log.run(session, "replace", 1, "bob", "9") == ["bob", 9]
    assert contents(log.replica)["orders"] == {2: Order("bob", 9)}
    drawn = contents(log.replica)["drawn"]
    assert len({drawn[1], drawn[-1], drawn[2]}) == 3
    events = [event for _, event in log.events()][-2:]
    assert [decode(event.packed) for event in events] == [["cancelled", 1], ["placed", 2]]
    assert [(event.index, event.position, event.step, event.number) for event in events] == [
        (log.replica.index, 0, 0, 0),
        (log.replica.index, 0, 0, 1),
    ]
    assert log.replayed().root() == log.replica.root()


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ((7, "bob", "9"), (Status.REJECTED, ["no order 7", -1])),
        ((1, "bob", "-1"), (Status.REJECTED, ["below zero", -1])),
        ((1, "bob", "13"), (Status.FAILED, ["handler_failed", -1])),
        ((1, "bob", "no number"), (Status.INVALID, ["values", -1])),
        ((1, "bob", str(2**64)), (Status.INVALID, ["values", -1])),
        ((1, "bob"), (Status.INVALID, ["values", -1])),
    ],
)
def test_a_split_of_which_a_part_fails_leaves_nothing(values: tuple[Any, ...], answer: tuple[int, Any]) -> None:
    """Whichever part it is, and however it fails."""
    log, session = shop()
    before = everything(log)
    given = log.send(session, "replace", *values)
    assert (given.status, decode(given.body)) == answer
    assert everything(log) == before
    assert log.run(session, "place", "bob", "7", version=1) == ["bob", 7]
    assert contents(log.replica)["drawn"][2] == log.replayed().machine.drawn[2]  # type: ignore[attr-defined]


def test_splits_lead_to_splits() -> None:
    """Their parts may be commands that are old, or no more, themselves."""
    log, session = shop()
    log.run(session, "place", "bob", 6, "", version=3)
    assert log.run(session, "swap", 1, 2, "3") == ["a", 3]
    assert contents(log.replica)["orders"] == {3: Order("a", 3), 4: Order("c", 3)}
    numbers = [event.number for _, event in log.events() if event.index == log.replica.index]
    assert numbers == [0, 1, 2, 3]
    before = everything(log)
    assert decode(log.send(session, "swap", 3, 9, "3").body) == ["no order 9", -1]
    assert everything(log) == before
    assert log.replayed().root() == log.replica.root()


def test_what_one_command_becomes_is_bounded() -> None:
    """Through however many splits."""
    log, session = shop()
    assert log.run(session, "flood", 7) == ["f", 1]
    assert len(contents(log.replica)["orders"]) == 1 + 7 * 7
    before = everything(log)
    given = log.send(session, "flood", 8)
    assert given == Answer(Status.INVALID, given.body)
    assert decode(given.body) == [f"an old command becomes at most {UPCAST_PARTS_MAX}", -1]
    assert everything(log) == before
    assert log.run(session, "flood", 2) == ["f", 1]


def test_a_drop_answers_and_does_nothing() -> None:
    """Its result travels as any other."""
    log, session = shop()
    before = everything(log)
    assert log.run(session, "ping", "hello") == ["hello", 1]
    assert everything(log) == before
    assert log.send(session, "ping", "hello", version=2).status == Status.INVALID
    assert log.send(session, "ping", 5).status == Status.INVALID


def test_a_step_sees_the_state_and_cannot_change_it() -> None:
    """It sees what the commands before it in the same batch have done."""
    log, session = shop()
    before = everything(log)
    assert log.send(session, "later", 4, 99).status == Status.INVALID
    assert "state can be changed only inside a command" in log.applied[-1].failures[0].traceback
    assert everything(log) == before
    assert log.run(session, "later", 4, SECOND) == 1
    log.run(session, "place", "bob", "7", version=1)
    log.tick(2)
    assert contents(log.replica)["orders"][3] == Order("ann", 4)
    log.run(session, "cancel", 1)
    log.run(session, "cancel", 2)
    log.run(session, "cancel", 3)
    assert log.run(session, "later", 4, SECOND) == -1
    assert log.replayed().root() == log.replica.root()


def pipeline(log: Log, session: int, *steps: tuple[Any, ...]) -> Answer:
    """Steps as (name, version, values)."""
    return log.send(session, "rsm.pipeline", *[[name, version, list(values)] for name, version, values in steps])


def test_old_commands_are_steps_of_pipelines() -> None:
    """All or nothing over splits and all; the failing step is named."""
    log, session = shop()
    given = pipeline(log, session, ("place", 1, ("x", "1")), ("replace", 1, (1, "y", "2")), ("ping", 1, ("z",)))
    assert [decode(body) for body in decode(given.body)] == [["x", 1], ["y", 2], ["z", 1]]
    identities = [(event.step, event.number) for _, event in log.events() if event.index == log.replica.index]
    assert identities == [(0, 0), (1, 0), (1, 1)]
    before = everything(log)
    given = pipeline(log, session, ("place", 1, ("x", "1")), ("replace", 1, (2, "y", "-2")))
    assert (given.status, decode(given.body)) == (Status.REJECTED, ["below zero", 1])
    assert everything(log) == before


def test_retries_are_told_by_what_was_sent() -> None:
    """Name, version and values as the client sent them: the key of an old command is not that of a newer one."""
    log, session = shop()
    first = log.send(session, "replace", 1, "bob", "9", key="k")
    sequence = log.next_sequence(session)
    again = log.send(session, "replace", 1, "bob", "9", sequence=sequence - 1)
    assert again == first
    assert log.send(session, "replace", 1, "bob", "9", key="k") == first
    assert log.send(session, "replace", 1, "bob", "8", key="k").status == Status.KEY_REUSED
    other = log.send(session, "place", "x", "7", version=1, key="p")
    assert other.status == Status.OK
    assert log.send(session, "place", "x", 7, version=2, key="p").status == Status.KEY_REUSED
    assert log.send(session, "place", "x", 7, "", version=3, key="p").status == Status.KEY_REUSED
    assert log.send(session, "place", "x", "7", version=1, key="p") == other


def test_a_timer_of_an_old_version_goes_the_same_way() -> None:
    """It was stored by older code; what it has become runs when it is due."""
    log, _ = shop()
    executor = log.replica.executor
    log.replica.store.begin()
    for number, (name, version, values) in enumerate([("place", 1, ["t", "1"]), ("replace", 1, [1, "u", "2"])]):
        key = (log.now + SECOND, 100 + number)
        log.replica.system.timers[key] = Timer(name, version, encode(values))
        log.replica.system.timer_due[key[1]] = key[0]
    log.replica.store.end()
    log.tick(2)
    assert sorted(contents(log.replica)["orders"].items()) == [(2, Order("t", 1)), (3, Order("u", 2))]
    assert (executor._parts, executor._first_event_number, executor.context._part) == (0, 0, 0)


def test_a_trace_tells_of_the_whole_command() -> None:
    """A split is one command with all its writes."""
    log, session = shop()
    log.run(session, "replace", 1, "bob", "9")
    told: list[CommandTrace] = []
    replica = TracingReplica(Shop, told.append)
    for entry in log.entries:
        replica.apply(entry)
    last = told[-1]
    assert (last.name, last.status, len(last.events)) == ("replace", Status.OK, 2)
    assert {write.container for write in last.writes} >= {"orders", "drawn"}


def test_strict_mode_runs_old_commands_twice() -> None:
    """Splits and steps that see the state do the same on a restored copy."""
    with strict():
        log, session = shop()
        log.run(session, "replace", 1, "bob", "9")
        log.run(session, "later", 4, SECOND)
        assert log.send(session, "swap", 2, 2, "3").status == Status.REJECTED
        log.tick(2)
    assert log.replayed().root() == log.replica.root()
