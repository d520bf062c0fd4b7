"""A chain of upcasters is whole or the class is refused; a command of any version becomes one of the newest."""

from __future__ import annotations

import enum
import re
from typing import Any

import pytest

import rsm
from rsm.errors import DefinitionError, InvalidCommand
from rsm.machine.machine import containers_of
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.executor import Executor
from rsm.replica.system import System
from rsm.state.store import Store


class Unit(enum.Enum):
    CENT = "c"
    EURO = "e"


class Money(rsm.Struct, frozen=True):
    amount: int
    unit: Unit


def dollars(to: str, amount: int) -> tuple[str, int]:
    """One step: euros become cents."""
    return to, amount * 100


def with_unit(to: str, cents: int) -> tuple[str, int, Unit]:
    """One step that adds a field."""
    return to, cents, Unit.CENT


def as_money(to: str, cents: int, unit: Unit) -> tuple[str, Money]:
    """One step that makes a struct of two fields."""
    return to, Money(cents, unit)


def with_money(to: str, cents: int, unit: Unit) -> tuple[str, int, Unit]:
    """One step that keeps what it should put together."""
    return to, cents, unit


def machine(version: int, *steps: tuple[str, int, Any], command_version: int = 4) -> Any:
    """A machine whose one command stands at a version, with these upcasters."""

    def deposit(self: Any, ctx: rsm.Context, to: str, money: Money) -> list[Any]:
        return [to, money.amount, money.unit]

    body: dict[str, Any] = {"deposit": rsm.command(version=command_version)(deposit), "__module__": __name__}
    for number, (name, from_version, step) in enumerate(steps):
        body[f"_step_{number}"] = rsm.upcast(name, from_version=from_version)(step)
    return type("Made", (rsm.StateMachine,), body, name="made", version=version)


WHOLE = [("deposit", 1, dollars), ("deposit", 2, with_unit), ("deposit", 3, as_money)]


def no_result(to: str, amount: int): ...  # type: ignore[no-untyped-def]
def any_result(to: str, amount: int) -> Any: ...
def list_result(to: str, amount: int) -> list[int]: ...
def bare_result(to: str, amount: int) -> tuple: ...  # type: ignore[type-arg,empty-body]
def open_result(to: str, amount: int) -> tuple[int, ...]: ...  # type: ignore[empty-body]
def one_value(to: str, amount: int) -> tuple[str]: ...  # type: ignore[empty-body]
def three_values(to: str, amount: int) -> tuple[str, int, int]: ...  # type: ignore[empty-body]
def no_values(to: str, amount: int) -> tuple[()]: ...  # type: ignore[empty-body]
def untyped(to, amount) -> tuple[str, int]: ...  # type: ignore[no-untyped-def,empty-body]
def of_float(to: str, amount: float) -> tuple[str, int]: ...  # type: ignore[empty-body]
def with_self(self, to: str, amount: int) -> tuple[str, int]: ...  # type: ignore[no-untyped-def,empty-body]
def starred(*values: int) -> tuple[str, int]: ...  # type: ignore[empty-body]
def unresolved(to: str, amount: int) -> tuple[str, Nowhere]: ...  # type: ignore[name-defined,empty-body]  # noqa: F821


FIRST = "<upcaster deposit v1 -> v2>"
BAD: list[tuple[list[tuple[str, Any, Any]], str]] = [
    ([*WHOLE[:1], *WHOLE[2:]], "command deposit: the chain of upcasters has a gap: nothing leads from version 2 to 3"),
    (WHOLE[:2], "command deposit: the chain of upcasters has a gap: nothing leads from version 3 to 4"),
    ([WHOLE[0]], "command deposit: the chain of upcasters has a gap: nothing leads from version 2 to 3"),
    ([*WHOLE, ("deposit", 2, with_unit)], "<upcaster deposit v2 -> v3>: declared twice"),
    ([*WHOLE, ("deposit", 4, dollars)], "<upcaster deposit v4 -> v5>: command 'deposit' is at version 4"),
    ([*WHOLE, ("deposit", 9, dollars)], "<upcaster deposit v9 -> v10>: command 'deposit' is at version 4"),
    ([*WHOLE, ("deposit", 0, dollars)], "<upcaster deposit v0 -> v1>: command 'deposit' is at version 4"),
    ([*WHOLE, ("deposit", -1, dollars)], "<upcaster deposit v-1 -> v0>: command 'deposit' is at version 4"),
    ([("deposit", True, dollars), *WHOLE[1:]], "upcaster of deposit: from_version must be an int from 1, not True"),
    ([("deposit", "1", dollars), *WHOLE[1:]], "upcaster of deposit: from_version must be an int from 1, not '1'"),
    ([*WHOLE, ("withdraw", 1, dollars)], "<upcaster withdraw v1 -> v2>: there is no command 'withdraw'"),
    ([("deposit", 1, no_result), *WHOLE[1:]], f"{FIRST}: declare its result"),
    ([("deposit", 1, any_result), *WHOLE[1:]], f"{FIRST}: declare its result"),
    ([("deposit", 1, list_result), *WHOLE[1:]], f"{FIRST}: declare its result"),
    ([("deposit", 1, open_result), *WHOLE[1:]], f"{FIRST}: declare its result"),
    ([("deposit", 1, bare_result), *WHOLE[1:]], f"{FIRST}: gives 0 values, version 2 takes 2"),
    ([("deposit", 1, one_value), *WHOLE[1:]], f"{FIRST}: gives 1 values, version 2 takes 2"),
    ([("deposit", 1, three_values), *WHOLE[1:]], f"{FIRST}: gives 3 values, version 2 takes 2"),
    ([("deposit", 1, no_values), *WHOLE[1:]], f"{FIRST}: gives 0 values, version 2 takes 2"),
    ([*WHOLE[:2], ("deposit", 3, with_money)], "<upcaster deposit v3 -> v4>: gives 3 values, version 4 takes 2"),
    ([("deposit", 1, untyped), *WHOLE[1:]], f"{FIRST}: parameter 'to' has no type"),
    ([("deposit", 1, of_float), *WHOLE[1:]], f"{FIRST}: parameter 'amount': float cannot travel"),
    ([("deposit", 1, with_self), *WHOLE[1:]], f"{FIRST}: parameter 'self' has no type"),
    ([("deposit", 1, starred), *WHOLE[1:]], f"{FIRST}: parameter 'values' must be positional"),
    ([("deposit", 1, unresolved), *WHOLE[1:]], f"{FIRST}: name 'Nowhere' is not defined"),
]


@pytest.mark.parametrize(("steps", "message"), BAD)
def test_a_broken_chain_is_refused_by_name(steps: list[tuple[str, Any, Any]], message: str) -> None:
    """Gaps, doubles, steps that lead nowhere or backwards, wrong numbers of values, unknown commands."""
    with pytest.raises(DefinitionError, match=f"^{re.escape(message)}"):
        machine(1, *steps)


@pytest.mark.parametrize("steps", [WHOLE, WHOLE[::-1], [WHOLE[1], WHOLE[2], WHOLE[0]]])
def test_a_whole_chain_leads_from_any_version_to_the_newest(steps: list[tuple[str, int, Any]]) -> None:
    """In whatever order the steps are declared."""
    spec = machine(1, *steps).definition.commands["deposit"]
    assert spec.upcast(1, ["ann", 5]) == ["ann", [500, "c"]]
    assert spec.upcast(2, ["ann", 5]) == ["ann", [5, "c"]]
    assert spec.upcast(3, ["ann", 5, "e"]) == ["ann", [5, "e"]]
    assert spec.upcast(4, ["ann", [5, "e"]]) == ["ann", [5, "e"]]
    assert [spec.signature_at(version) is not None for version in range(6)] == [False, True, True, True, True, False]


def test_a_chain_may_begin_later() -> None:
    """Versions that nobody uses any more are left out at the old end; a command without a chain has none."""
    spec = machine(1, *WHOLE[1:]).definition.commands["deposit"]
    assert [spec.signature_at(version) is not None for version in range(6)] == [False, False, True, True, True, False]
    assert machine(1).definition.commands["deposit"].steps == {}


@pytest.mark.parametrize(
    ("version", "values", "field"),
    [(1, ["ann"], None), (1, ["ann", "5"], "amount"), (3, ["ann", 5, "x"], "unit"), (2, [1, 5], "to")],
)
def test_old_values_are_checked_against_their_own_schema(version: int, values: list[Any], field: str | None) -> None:
    """The error names the field of the version that the client spoke."""
    spec = machine(1, *WHOLE).definition.commands["deposit"]
    with pytest.raises(InvalidCommand) as caught:
        spec.upcast(version, values)
    assert caught.value.field == field


def raises(to: str, amount: int) -> tuple[str, int]:
    """A step that fails."""
    raise RuntimeError("no")


def lies(to: str, amount: int) -> tuple[str, int]:
    """A step that gives other values than it says."""
    return to, "five"  # type: ignore[return-value]


def too_many(to: str, amount: int) -> tuple[str, int]:
    """A step that gives more values than it says."""
    return to, amount, 1  # type: ignore[return-value]


def unencodable(to: str, amount: int) -> tuple[str, int]:
    """A step that gives what cannot travel."""
    return to, object()  # type: ignore[return-value]


def run(made: Any, version: int, values: list[Any]) -> Answer:
    """A command of a version, as a replica runs it."""
    instance, system = made(), System()
    store = Store({**containers_of(instance), **containers_of(system)})
    executor = Executor(instance, system, store)
    spec = made.definition.commands["deposit"]
    store.begin()
    return executor.run(spec, version, spec.signature.encode(values))


def test_a_command_of_an_old_version_runs_as_the_newest() -> None:
    """From the values in the log to the handler's typed arguments."""
    made = machine(1, *WHOLE)
    assert run(made, 1, ["ann", 5]) == Answer(Status.OK, bytes.fromhex("93a3616e6ecd01f4a163"))
    assert decode(run(made, 3, ["ann", 5, "e"]).body) == ["ann", 5, "e"]
    assert run(made, 5, ["ann", 5]).status == Status.INVALID
    assert run(made, 0, ["ann", 5]).status == Status.INVALID
    assert run(made, -1, ["ann", 5]).status == Status.INVALID


@pytest.mark.parametrize("step", [raises, lies, too_many, unencodable])
def test_a_step_that_fails_makes_the_command_invalid(step: Any) -> None:
    """The same on every replica, and nothing of the handler runs."""
    answer = run(machine(1, ("deposit", 1, step), *WHOLE[1:]), 1, ["ann", 5])
    assert answer.status == Status.INVALID
