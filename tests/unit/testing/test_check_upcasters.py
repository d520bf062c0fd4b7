"""`rsm.testing.check_upcasters` passes what keeps the laws, and names what breaks each of them."""

from __future__ import annotations

import enum
import itertools
import re
from typing import Annotated, Any

import pytest

import rsm
from rsm.errors import CallerError
from rsm.testing import UpcasterLawError, check_upcasters


class Side(enum.Enum):
    BUY = "b"
    SELL = "s"


def to_ticks(price: str) -> int:
    """A pure conversion that refuses most texts."""
    whole, _, rest = price.partition(".")
    return int(whole) * 100 + int((rest + "00")[:2])


class Sound(rsm.StateMachine, name="sound", version=1):
    """A step of every form, none of which breaks a law."""

    prices: rsm.Map[int, int]
    last: int

    @rsm.command(version=4)
    def place(self, ctx: rsm.Context, side: Side, price: int, tag: str) -> int:
        number = ctx.new_id() % 50
        self.prices[number] = price
        self.last = ctx.random("x").below(10)
        return number

    place_1 = rsm.upcast_fields(
        "place", from_version=1, old={"side": Side, "px": str}, rename={"px": "price"}, convert={"price": to_ticks}
    )
    place_2 = rsm.upcast_fields("place", from_version=2, old={"side": Side, "price": int}, default={"tag": "none"})

    @rsm.upcast("place", from_version=3, reads_state=True)
    def place_3(self, side: Side, price: int, tag: str) -> tuple[Side, int, str] | rsm.Drop:
        if price in self.prices.values():
            return rsm.drop(-1)
        return side, price, tag or str(self.last)

    @rsm.downcast("place", to_version=3)
    def to_place_3(side: Side, price: int, tag: str) -> tuple[Side, int, str]:
        return side, price, tag

    @rsm.downcast("place", to_version=2, lossless=True)
    def to_place_2(side: Side, price: int, tag: str) -> tuple[Side, int]:
        return side, price

    @rsm.upcast("both", from_version=1, into={"place": 2})
    def both(price: int) -> rsm.Split:
        return rsm.split(("place", Side.BUY, price), ("place", Side.SELL, price + 1), answers=0)

    @rsm.upcast("ping", from_version=1)
    def ping(text: str) -> rsm.Drop:
        return rsm.drop(text)


def test_a_sound_machine_passes() -> None:
    """In this process and in another one; every step is named."""
    checked = check_upcasters(Sound, examples={("place", 1): [[Side.BUY, "12.50"]]})
    assert checked.unchecked == ()
    assert checked.steps == (
        "<upcaster both v1 -> place v2>",
        "<upcaster ping v1 -> v2>",
        "<upcaster place v1 -> v2>",
        "<upcaster place v2 -> v3>",
        "<downcaster place v3 -> v2>",
        "<upcaster place v3 -> v4>",
    )
    assert checked.values == 5 * 50
    assert checked.commands == 6 * 50


def test_what_was_not_checked_is_said() -> None:
    """Values that all were refused check nothing; nor does a class that no other process can import."""

    class Hidden(rsm.StateMachine, name="hidden", version=1):
        @rsm.command(version=2)
        def place(self, ctx: rsm.Context, price: int) -> None: ...

        @rsm.upcast("place", from_version=1)
        def older(price: str) -> tuple[int]:
            return (to_ticks(price),)

        @rsm.command(version=1)
        def name(self, ctx: rsm.Context, text: Annotated[str, rsm.Meta(pattern="(?a)^Z+$")]) -> None: ...

    checked = check_upcasters(Hidden)
    assert len(checked.unchecked) == 3
    assert checked.unchecked[0] == "name version 1: no value could be drawn: give examples"
    assert checked.unchecked[1] == "<upcaster place v1 -> v2>: refuses all 50 drawn values: give examples"
    assert checked.unchecked[2].startswith("other process: ")
    examples = {("place", 1): [["1.5"]], ("name", 1): [["ZZ"]]}
    assert check_upcasters(Hidden, examples=examples, other_process=False).unchecked == ()


class Fickle(rsm.StateMachine, name="fickle", version=1):
    """Its step depends on the hash seed of the process."""

    total: int

    @rsm.command(version=2)
    def add(self, ctx: rsm.Context, amount: int) -> None:
        self.total = amount

    @rsm.upcast("add", from_version=1)
    def older(text: str) -> tuple[int]:
        return (hash(text) % 1000,)


def test_what_depends_on_the_hash_seed_is_found() -> None:
    """By the other process, and by nothing else."""
    check_upcasters(Fickle, other_process=False)
    with pytest.raises(UpcasterLawError, match="fickle: determinism: in a process with another hash seed"):
        check_upcasters(Fickle)


def broken(**members: Any) -> Any:
    """A machine with a command `add` of version 3, and these steps."""

    def add(self: Any, ctx: rsm.Context, amount: int) -> int:
        self.total += amount % 1000
        return amount

    body = {"__module__": __name__, "__annotations__": {"total": int}, "add": rsm.command(version=3)(add), **members}
    return type("Broken", (rsm.StateMachine,), body, name="broken", version=1)


def step(function: Any, version: int = 2, **options: Any) -> Any:
    """A step of `add`."""
    return rsm.upcast("add", from_version=version, **options)(function)


numbers = itertools.count()


def counting(amount: int) -> tuple[int]:
    """Something else every time."""
    return (next(numbers),)


def seeing(self, amount: int) -> tuple[int]:  # type: ignore[no-untyped-def]
    """Something else every time, with a view of the state."""
    return (next(numbers) + self.total,)


def same(amount: int) -> tuple[int]:
    """Nothing changes."""
    return (amount,)


def sometimes(amount: int) -> tuple[int]:
    """Refuses every second time."""
    if next(numbers) % 2:
        raise ValueError("no")
    return (amount,)


def lossy(amount: int) -> tuple[int]:
    """Loses the last digit."""
    return (amount // 10 * 10,)


def picky(amount: int) -> tuple[int]:
    """Refuses odd numbers."""
    if amount % 2:
        raise rsm.InvalidCommand("odd")
    return (amount,)


def down(function: Any, version: int = 2, **options: Any) -> Any:
    """A step of `add` back."""
    return rsm.downcast("add", to_version=version, **options)(function)


BREACHES: list[tuple[dict[str, Any], str]] = [
    ({"a": step(counting)}, "<upcaster add v2 -> v3> of ["),
    ({"a": step(counting)}, "determinism: it gave one thing, then another"),
    ({"a": step(counting, 1), "b": step(same)}, "<upcaster add v1 -> v2> of ["),
    ({"a": step(sometimes)}, "determinism: it gave one thing, then another"),
    ({"a": step(seeing, reads_state=True)}, "replay: a second replay answers add version 2 of ["),
    ({"a": step(same), "b": down(lossy, lossless=True)}, "<downcaster add v3 -> v2> of ["),
    ({"a": step(same), "b": down(lossy, lossless=True)}, "lossless: they become ["),
    ({"a": step(same), "b": down(picky, lossless=True)}, "lossless: it refuses what they become, ["),
]


@pytest.mark.parametrize(("members", "message"), BREACHES)
def test_what_breaks_a_law_is_named(members: dict[str, Any], message: str) -> None:
    """The step, the values and the law."""
    with pytest.raises(UpcasterLawError, match=re.escape(message)):
        check_upcasters(broken(**members), other_process=False)


@pytest.mark.parametrize("function", [lossy, picky])
def test_what_is_not_declared_lossless_may_lose(function: Any) -> None:
    """A client that is newer than its cluster may have things that cannot be said to it."""
    check_upcasters(broken(a=step(same), b=down(function)), other_process=False)


def test_a_machine_that_keeps_something_outside_its_state_is_found() -> None:
    """By the replay from a snapshot, or from the beginning."""
    kept: list[int] = []

    class Keeping(rsm.StateMachine, name="keeping", version=1):
        total: int

        @rsm.command(version=2)
        def add(self, ctx: rsm.Context, amount: int) -> int:
            kept.append(amount)
            self.total = len(kept)
            return 0

        older = rsm.upcast_fields("add", from_version=1, old={"amount": int})

    with pytest.raises(UpcasterLawError, match=r"replay: a second replay is in another state after entry 2 \(add v"):
        check_upcasters(Keeping, other_process=False)


def test_examples_must_be_good() -> None:
    """An example that a step refuses is a breach; one that is no value of the version is the caller's mistake."""
    with pytest.raises(UpcasterLawError, match="an example, and it or a later step refuses it"):
        check_upcasters(Sound, examples={("place", 1): [[Side.BUY, "twelve"]]}, other_process=False)
    with pytest.raises(CallerError, match="an example of 'place' version 1: "):
        check_upcasters(Sound, examples={("place", 1): [[Side.BUY, 12]]}, other_process=False)
    with pytest.raises(CallerError, match="examples of 'place' version 9: the machine does not know it"):
        check_upcasters(Sound, examples={("place", 9): []}, other_process=False)
    with pytest.raises(CallerError, match="examples of 'pace' version 1: the machine does not know it"):
        check_upcasters(Sound, examples={("pace", 1): []}, other_process=False)
