"""The forms of an upcaster: field by field, split, drop and with a view of the state; what none of them may be."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import pytest

import rsm
from rsm.errors import DefinitionError, InvalidCommand
from rsm.machine.definition import CommandSpec
from rsm.replica.compatibility import check_schema
from rsm.state.leaf import encode


class Unit(enum.Enum):
    CENT = "c"
    EURO = "e"


def to_cents(euros: str) -> int:
    """A pure conversion."""
    whole, _, rest = euros.partition(".")
    return int(whole) * 100 + int((rest + "00")[:2])


def made(command: Any, steps: Mapping[str, Any], **others: Any) -> Any:
    """A machine with one command `pay`, these steps, and perhaps other members."""
    body: dict[str, Any] = {"__module__": __name__, "__annotations__": {"total": int}, **others, **steps}
    if command is not None:
        body["pay"] = command
    return type("Made", (rsm.StateMachine,), body, name="made", version=1)


@rsm.command(version=2)
def pay(self: Any, ctx: rsm.Context, to: str, cents: int, unit: Unit, tags: list[str]) -> int:
    return cents


def fields(**changes: Any) -> Any:
    """The step to `pay`, with something changed."""
    given: dict[str, Any] = {
        "old": {"euros": str, "to": str, "note": str},
        "rename": {"euros": "cents"},
        "convert": {"cents": to_cents},
        "default": {"unit": Unit.CENT, "tags": []},
        "remove": ("note",),
    }
    return rsm.upcast_fields("pay", from_version=1, **{**given, **changes})


def spec_of(machine: Any) -> CommandSpec:
    """The command `pay`."""
    return machine.definition.commands["pay"]  # type: ignore[no-any-return]


def test_fields_are_renamed_converted_defaulted_and_removed() -> None:
    """Each value of the next version comes from where it is said to."""
    spec = spec_of(made(pay, {"old": fields()}))
    assert spec.upcast(1, ["12.5", "ann", "hi"]) == ["ann", 1250, "c", []]
    assert spec.lead(1, rsm_encode(["12.5", "ann", "hi"]), no_state) == ("ann", 1250, Unit.CENT, [])
    assert spec_of(made(pay, {"old": fields(remove="note")})).upcast(1, ["1", "b", ""]) == ["b", 100, "c", []]


def rsm_encode(values: list[Any]) -> bytes:
    """Plain values as a replica has them."""
    return encode(values)


def no_state(*_: Any) -> Any:
    """For steps that see no state."""
    raise AssertionError("it asked for the state")


def test_a_step_that_needs_no_check_gives_what_a_decoder_would() -> None:
    """A default that was written as it travels is the member that it stands for; a list is a new one every time."""

    def unit(self: Any, ctx: rsm.Context, cents: int, unit: Unit) -> None: ...
    def tags(self: Any, ctx: rsm.Context, cents: int, tags: list[int]) -> None: ...

    old = rsm.upcast_fields("pay", from_version=1, old={"cents": int}, default={"unit": "e"})
    spec = spec_of(made(rsm.command(version=2, name="pay")(unit), {"old": old}))
    assert spec.chains[1].links[0][3]
    assert spec.lead(1, rsm_encode([5]), no_state) == (5, Unit.EURO)
    old = rsm.upcast_fields("pay", from_version=1, old={"cents": int}, default={"tags": [1]})
    spec = spec_of(made(rsm.command(version=2, name="pay")(tags), {"old": old}))
    for _ in range(2):
        led = spec.lead(1, rsm_encode([5]), no_state)
        assert led == (5, [1])
        led[1].append(2)  # type: ignore[index]
    old = rsm.upcast_fields("pay", from_version=1, old={"cents": int, "unit": Annotated[str, rsm.Meta(max_length=3)]})
    spec = spec_of(made(rsm.command(version=2, name="pay")(unit), {"old": old}))
    assert not spec.chains[1].links[0][3]
    assert spec.lead(1, rsm_encode([5, "c"]), no_state) == (5, Unit.CENT)
    with pytest.raises(msgspec.ValidationError):
        spec.lead(1, rsm_encode([5, "x"]), no_state)


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"rename": {"euro": "cents"}}, "renames 'euro', which version 1 does not have"),
    ({"rename": {"euros": "money"}}, "renames 'euros' to 'money', which version 2 does not have"),
    ({"rename": {}}, "'euros' of version 1 goes nowhere: rename it, or remove=('euros',)"),
    ({"remove": ()}, "'note' of version 1 goes nowhere: rename it, or remove=('note',)"),
    ({"remove": ("note", "notes")}, "removes 'notes', which version 1 does not have"),
    ({"remove": ("note", "euros")}, "'cents' of version 2 comes from nowhere"),
    ({"default": {"unit": Unit.CENT}}, "'tags' of version 2 comes from nowhere: rename a field to it, or give default"),
    ({"default": {"unit": Unit.CENT, "tags": [], "x": 1}}, "gives a default to 'x', which version 2 does not have"),
    ({"default": {"unit": Unit.CENT, "tags": [], "to": ""}}, "gives a default to 'to', which version 1 has"),
    ({"default": {"unit": "pound", "tags": []}}, "the default of: unit: "),
    ({"default": {"unit": Unit.CENT, "tags": [1]}}, "the default of: tags[0]: "),
    ({"convert": {}}, "'euros' is str, 'cents' of version 2 is int: give convert={'cents': ...}"),
    ({"convert": {"cents": to_cents, "x": to_cents}}, "converts 'x', which version 2 does not have"),
    ({"convert": {"cents": 100}}, "converts 'cents' with 100, which cannot be called"),
    ({"old": {"euros": float, "to": str, "note": str}}, "parameter 'euros': float cannot travel"),
    ({"rename": {"euros": "cents", "note": "cents"}, "remove": ()}, "two fields of version 1 have one name in version"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_FIELDS)
def test_a_field_without_a_place_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    """When the class is created, and saying what to do."""
    with pytest.raises(DefinitionError) as caught:
        made(pay, {"old": fields(**changes)})
    assert str(caught.value).startswith("<upcaster pay v1 -> v2>: ")
    assert message in str(caught.value)


def test_one_step_serves_several_machines() -> None:
    """A step in a mixin is linked anew in each machine that inherits it."""

    class Steps:
        older = rsm.upcast_fields("pay", from_version=1, old={"to": str}, default={"cents": 5})

    def other(self: Any, ctx: rsm.Context, cents: int, to: str) -> None: ...
    def one(self: Any, ctx: rsm.Context, to: str, cents: int) -> None: ...

    machines = []
    for handler in (one, other):
        body = {"__module__": __name__, "pay": rsm.command(version=2, name="pay")(handler)}
        machines.append(type("Made", (Steps, rsm.StateMachine), body, name="made", version=1))
    assert [spec_of(machine).upcast(1, ["ann"]) for machine in machines] == [["ann", 5], [5, "ann"]]


# --- splits and drops -------------------------------------------------------------------------------------------------


@rsm.command(version=1)
def add(self: Any, ctx: rsm.Context, cents: int) -> int:
    return cents


def as_two(cents: int) -> rsm.Split:
    """A split."""
    return rsm.split(("add", cents), ("add", -cents), answers=0)


def gone(cents: int) -> rsm.Drop:
    """A drop."""
    return rsm.drop("gone")


def perhaps(cents: int) -> tuple[int] | rsm.Drop:
    """Values, or a drop."""
    return (cents,) if cents else rsm.drop(0)


def step(function: Any, from_version: int = 1, name: str = "pay", **options: Any) -> Any:
    """A step of `pay`."""
    return rsm.upcast(name, from_version=from_version, **options)(function)


def test_a_command_may_end_in_a_split_or_a_drop() -> None:
    """It needs no handler then; the schema knows its old versions only, and a log that holds them may be opened."""
    machine = made(None, {"end": step(as_two, into={"add": 1})}, add=add)
    definition = machine.definition
    spec = spec_of(machine)
    assert spec.is_retired
    assert list(definition.methods) == ["add"]
    assert definition.schema()["commands"]["pay"] == {"1": [["cents", "int"]]}
    check_schema(definition, "made", 1, definition.schema())
    ended = spec.upcast(1, [5])
    assert isinstance(ended, rsm.Split)
    assert (ended.parts, ended.answers) == ((("add", 5), ("add", -5)), 0)
    assert repr(ended) == "rsm.split(('add', 5), ('add', -5), answers=0)"
    dropped = spec_of(made(None, {"end": step(gone)}, add=add)).upcast(1, [5])
    assert isinstance(dropped, rsm.Drop)
    assert repr(dropped) == "rsm.drop('gone')"
    with pytest.raises(InvalidCommand):
        spec.upcast(2, [5])
    with pytest.raises(InvalidCommand):
        spec.upcast(0, [5])


def test_a_step_may_give_values_or_end() -> None:
    """As its result says; older versions lead through it."""

    def handler(self: Any, ctx: rsm.Context, cents: int) -> None: ...

    older = rsm.upcast_fields(
        "pay", from_version=1, old={"euros": str}, rename={"euros": "cents"}, convert={"cents": int}
    )
    machine = made(rsm.command(version=3, name="pay")(handler), {"older": older, "old": step(perhaps, 2)})
    assert spec_of(machine).upcast(1, ["5"]) == [5]
    assert isinstance(spec_of(machine).upcast(1, ["0"]), rsm.Drop)


def ends_elsewhere(cents: int) -> rsm.Split:
    """A split into what it does not name."""
    return rsm.split(("sub", cents), answers=0)


def ends_in_nothing(cents: int) -> rsm.Split:
    """A split without parts."""
    return rsm.split(answers=0)


def ends_in_many(cents: int) -> rsm.Split:
    """A split of too many parts."""
    return rsm.split(*[("add", cents)] * 65, answers=0)


def answers_nobody(cents: int) -> rsm.Split:
    """A split whose answer is none of its parts."""
    return rsm.split(("add", cents), answers=1)


def answers_from_behind(cents: int) -> rsm.Split:
    """A split whose answer is counted from the end."""
    return rsm.split(("add", cents), answers=-1)


def no_tuple(cents: int) -> rsm.Split:
    """A split whose part is no tuple."""
    return rsm.split("add", answers=0)  # type: ignore[arg-type]


def drops_after_all(cents: int) -> rsm.Split:
    """A drop where a split was declared."""
    return rsm.drop()  # type: ignore[return-value]


def values_after_all(cents: int) -> rsm.Split:
    """Values where a split was declared."""
    return (cents,)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "function",
    [
        ends_elsewhere,
        ends_in_nothing,
        ends_in_many,
        answers_nobody,
        answers_from_behind,
        no_tuple,
        drops_after_all,
        values_after_all,
    ],
)
def test_a_step_that_ends_otherwise_than_declared_is_invalid(function: Any) -> None:
    """The same on every replica; the step by hand says what is wrong."""
    spec = spec_of(made(None, {"end": step(function, into={"add": 1})}, add=add))
    with pytest.raises(InvalidCommand, match="the upcaster from version 1 raised"):
        spec.lead(1, rsm_encode([5]), no_state)
    with pytest.raises((TypeError, ValueError), match="<upcaster pay v1 -> add v1>"):
        spec.upcast(1, [5])


def splits_after_all(cents: int) -> tuple[int]:
    """A split where values were declared."""
    return rsm.split(("add", cents), answers=0)  # type: ignore[return-value]


def test_a_split_that_was_not_declared_is_invalid() -> None:
    """It names no commands, so none could be found."""

    def handler(self: Any, ctx: rsm.Context, cents: int) -> None: ...

    spec = spec_of(made(rsm.command(version=2, name="pay")(handler), {"old": step(splits_after_all)}, add=add))
    with pytest.raises(InvalidCommand, match="the upcaster from version 1 raised"):
        spec.lead(1, rsm_encode([5]), no_state)


# --- what a chain may not be ------------------------------------------------------------------------------------------


def values(cents: int) -> tuple[int]:
    """Values only."""
    return (cents,)


def to_self(cents: int) -> rsm.Split:
    """A split into itself."""
    return rsm.split(("pay", cents), answers=0)


def sees(self, cents: int) -> tuple[int]:  # type: ignore[no-untyped-def]
    """A step that sees the state."""
    return (cents + self.total,)


@rsm.command(version=3, name="add")
def add_3(self: Any, ctx: rsm.Context, cents: int) -> int:
    return cents


BAD_CHAINS: list[tuple[list[Any], Any, str]] = [
    (
        [step(values)],
        None,
        "<upcaster pay v1 -> v2>: there is no command 'pay': declare it in version 2, or let this step return "
        "rsm.Split or rsm.Drop",
    ),
    ([step(perhaps)], None, "<upcaster pay v1 -> v2>: there is no command 'pay'"),
    ([step(as_two)], add, "<upcaster pay v1 -> v2>: say into which commands it splits: into={name: version, ...}"),
    (
        [step(gone, into={"add": 1})],
        add,
        "<upcaster pay v1 -> add v1>: has into=..., so declare its result: -> rsm.Split",
    ),
    (
        [step(as_two, into={"sub": 1})],
        add,
        "<upcaster pay v1 -> sub v1>: splits into 'sub', and there is no such command: name one of this machine",
    ),
    (
        [step(as_two, into={"add": 2})],
        add,
        "<upcaster pay v1 -> add v2>: splits into 'add' of version 2, which nothing leads on from: known are 1",
    ),
    (
        [step(as_two, into={"add": 1})],
        add_3,
        "<upcaster pay v1 -> add v1>: splits into 'add' of version 1, which nothing leads on from: known are 3",
    ),
    ([step(as_two, into={"add": "1"})], add, "<upcaster pay v1 -> add v1>: splits into 'add' of version '1'"),
    (
        [step(to_self, into={"pay": 1})],
        add,
        "<upcaster pay v1 -> pay v1>: upcasters lead in a circle, pay v1 -> pay v1: split into later versions, which "
        "end at a handler",
    ),
    (
        [step(as_two, into={"add": 1}), step(to_self, name="add", into={"pay": 1}), step(values, 2, name="add")],
        add_3,
        "<upcaster add v1 -> pay v1>: upcasters lead in a circle, add v1 -> pay v1 -> add v1",
    ),
    (
        [step(gone), step(gone, 3)],
        add,
        "command pay: the chain of upcasters has a gap: nothing leads from version 2 to",
    ),
    ([step(gone), step(gone)], add, "<upcaster pay v1 -> v2>: declared twice"),
    ([step(sees)], add, "<upcaster pay v1 -> v2>: there is no command 'pay'"),
]


@pytest.mark.parametrize(("steps", "other", "message"), BAD_CHAINS)
def test_a_chain_that_leads_nowhere_is_refused_by_name(steps: list[Any], other: Any, message: str) -> None:
    """Commands and versions that do not exist, circles, forms without their other half."""
    with pytest.raises(DefinitionError, match=f"^{re.escape(message)}"):
        made(None, {f"step_{number}": step for number, step in enumerate(steps)}, add=other)


def test_a_step_that_sees_the_state_says_so() -> None:
    """Nobody reads the state by accident; without a machine the step says why it cannot run."""

    def handler(self: Any, ctx: rsm.Context, cents: int) -> None: ...

    current = rsm.command(version=2, name="pay")(handler)
    message = "parameter 'self' has no type: a step sees the values only; one that must see the state says reads_state"
    with pytest.raises(DefinitionError, match=message):
        made(current, {"old": step(sees)})
    with pytest.raises(DefinitionError, match="reads_state=True: its first parameter is self, without a type"):
        made(current, {"old": step(values, reads_state=True)})
    spec = spec_of(made(current, {"old": step(sees, reads_state=True)}))
    with pytest.raises(InvalidCommand, match="reads the state, so it can run only where a command is applied"):
        spec.upcast(1, [5])
    machine = made(current, {"old": step(sees, reads_state=True)})()
    assert spec_of(type(machine)).upcast(1, [5], machine) == [5]


def test_steps_may_be_static_methods() -> None:
    """Some editors ask for it."""
    spec = spec_of(made(None, {"end": rsm.upcast("pay", from_version=1)(staticmethod(gone))}))
    assert isinstance(spec.upcast(1, [5]), rsm.Drop)
