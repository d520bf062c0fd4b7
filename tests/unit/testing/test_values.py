"""Random commands of a machine are valid, cover its commands, and follow from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Literal

import msgspec
import pytest

import rsm
from rsm.errors import CallerError
from rsm.testing.values import draw_value, machine_workload
from tests.machines import Bank, Everything


class Side(Enum):
    """Of an order."""

    BUY = "buy"
    SELL = "sell"


class Order(rsm.Struct, frozen=True):
    """A nested value."""

    side: Side
    price: Annotated[int, rsm.Meta(gt=0, multiple_of=5)]
    tags: tuple[str, ...]


class Shop(rsm.StateMachine, name="shop", version=1):
    """Bounds of every kind."""

    count: int

    @rsm.command()
    def place(self, ctx: rsm.Context, order: Order, size: Annotated[int, rsm.Meta(ge=1, le=3)]) -> int:
        return size

    @rsm.command(name="other_name")
    def rename(
        self,
        ctx: rsm.Context,
        name: Annotated[str, rsm.Meta(min_length=3, max_length=5)],
        kind: Literal["a", "b"],
        blob: Annotated[bytes, rsm.Meta(max_length=2)] | None,
    ) -> None:
        return None


class Strict(rsm.StateMachine, name="strict", version=1):
    """A pattern, which no generator guesses."""

    count: int

    @rsm.command()
    def check(self, ctx: rsm.Context, code: Annotated[str, rsm.Meta(pattern="(?a)^[0-9]{12}X$")]) -> int:
        return 1


def calls(machine: type[rsm.StateMachine], seed: int, count: int = 300) -> Iterator[tuple[str, list[object]]]:
    draw, chance = machine_workload(machine.definition), random.Random(seed)
    return (draw(chance, number) for number in range(count))


@pytest.mark.parametrize("machine", [Bank, Everything, Shop])
def test_commands_are_valid_and_all_of_them_occur(machine: type[rsm.StateMachine]) -> None:
    """Every call decodes with the schema of its command, and every command is called."""
    seen = set()
    for name, values in calls(machine, 1):
        spec = machine.definition.commands[name]
        spec.signature.decode(spec.signature.encode(values))
        seen.add(name)
    assert seen == set(machine.definition.commands)


def test_a_seed_is_a_workload() -> None:
    """The same seed makes the same calls."""
    assert list(calls(Shop, 1)) == list(calls(Shop, 1)) != list(calls(Shop, 2))


def test_values_meet() -> None:
    """Pools are small: of a few hundred deposits many go to the same account."""
    accounts = [values[0] for _, values in calls(Bank, 3)]
    assert len(set(accounts)) < 20


def test_ends_of_ranges_occur() -> None:
    """Bounds are where machines break: the least and the greatest value are drawn now and then."""
    chance = random.Random(1)
    drawn = {draw_value(Annotated[int, msgspec.Meta(ge=-7, le=100_000)], chance) for _ in range(2000)}
    assert {-7, 100_000, 0} <= drawn
    assert min(drawn) >= -7


def test_what_the_types_do_not_say_must_be_given() -> None:
    """A schema that random values never meet is told with what to do about it."""
    with pytest.raises(CallerError, match="workload"):
        next(calls(Strict, 1))


class Silent(rsm.StateMachine, name="silent", version=1):
    """Nobody can tell it anything."""

    count: int


def test_a_machine_without_commands() -> None:
    """Nothing can be simulated of it."""
    with pytest.raises(CallerError, match="no commands"):
        machine_workload(Silent.definition)
