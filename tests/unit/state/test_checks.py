"""A write of anything but exactly the declared type is refused where it is made, and leaves nothing behind."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pytest

import rsm
from tests.unit.state.stores import batch, machine_with, store_of


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Rank(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


class Number(int):
    pass


class Pair(NamedTuple):
    left: int
    right: int


class Flat(rsm.Struct):
    number: int
    text: str
    raw: bytes
    firm: bool
    side: Side
    rank: Rank


class Smaller(rsm.Struct):
    number: int


class Larger(Smaller):
    more: int


class Deep(rsm.Struct):
    inner: Smaller | None
    pair: tuple[int, str]
    many: tuple[Side, ...]


class Bounded(rsm.Struct):
    price: Annotated[int, rsm.Meta(gt=0, lt=100)]


class TaggedA(rsm.Struct, tag=1):
    a: int


class TaggedB(rsm.Struct, tag=2):
    b: int


class Mutable(msgspec.Struct):
    number: int


FLAT = Flat(1, "a", b"a", True, Side.BUY, Rank.LOW)
DEEP = Deep(Smaller(1), (1, "a"), (Side.SELL,))
BIG, SURROGATE = 2**64, "\ud800"


def flat(**changes: Any) -> Flat:
    """A flat record with some fields as they should not be; msgspec does not check what a program constructs."""
    return msgspec.structs.replace(FLAT, **changes)


GOOD = [
    (int, [0, -1, 2**63 - 1, -(2**63)]),
    (bool, [True, False]),
    (str, ["", "a", "\x00", "é", "\U0001f600"]),
    (bytes, [b"", b"\xff"]),
    (int | None, [None, 5]),
    (Side, [Side.BUY]),
    (Rank, [Rank.LOW]),
    (Literal["a", 1], ["a", 1]),
    (tuple[int, str], [(1, "a")]),
    (tuple[int, ...], [(), (1, 2, 3)]),
    (tuple[tuple[int, ...], ...], [((),), ((1,), (2, 3))]),
    (tuple[int | str, bool], [(1, True), ("a", False)]),
    (Flat, [FLAT]),
    (Deep, [DEEP, Deep(None, (1, "a"), ())]),
    (Bounded, [Bounded(1), Bounded(99)]),
    (TaggedA | TaggedB | None, [TaggedA(1), TaggedB(1), None]),
    (tuple[TaggedA | TaggedB, ...], [(TaggedA(1), TaggedB(1))]),
    (tuple[()], [()]),
    (Annotated[int, rsm.Meta(ge=1)], [1, 2**63 - 1]),
    (Annotated[str, rsm.Meta(max_length=2)], ["ab"]),
]
BAD = [
    (int, [True, 1.0, None, "1", BIG, 2**63, -(2**63) - 1, Number(1), Rank.LOW, [1], decimal.Decimal(1)]),
    (bool, [1, 0, None, "True"]),
    (str, [b"a", None, Text("a"), SURROGATE, Side.BUY, uuid.UUID(int=1), datetime.date(2020, 1, 1)]),
    (bytes, ["a", bytearray(b"a"), memoryview(b"a"), None]),
    (int | None, [True, 1.0, BIG, 2**63, "", Rank.LOW]),
    (str | None, [1, SURROGATE, Text("a"), datetime.datetime(2020, 1, 1)]),
    (Side, ["buy", None, Rank.LOW, 1]),
    (Rank, [1, True, Side.BUY]),
    (Literal["a", 1], ["b", True, 1.0, 2, None, ["a"]]),
    (Literal[True], [1]),
    (tuple[int, str], [[1, "a"], (1,), (1, "a", 2), (True, "a"), (1, b"a"), (1, SURROGATE), (BIG, "a"), (2**63, "a")]),
    (tuple[int, int], [Pair(1, 2), (1.0, 2), (1, 2**63)]),
    (tuple[int, ...], [[1], (1.0,), (True,), ((1,),), Pair(1, 2), {1}, (Rank.LOW,)]),
    (tuple[tuple[int, ...], int], [([1], 2), ((1,), [2])]),
    (tuple[bytes, ...], [(bytearray(b"x"),), (memoryview(b"x"),)]),
    (tuple[Rank, ...], [(1,)]),
    (Flat, [flat(number=True), flat(number=1.0), flat(number=BIG), flat(number=2**63), flat(number=Rank.LOW)]),
    (Flat, [flat(text=SURROGATE), flat(text=Text("a")), flat(text=uuid.UUID(int=1)), flat(text=Side.BUY)]),
    (Flat, [flat(text=datetime.datetime(2020, 1, 1)), flat(text=None), flat(text=b"a")]),
    (Flat, [flat(raw=bytearray(b"a")), flat(raw=memoryview(b"a")), flat(raw="a")]),
    (Flat, [flat(firm=1), flat(side="buy"), flat(side=None), flat(rank=1)]),
    (Flat, [(1, "a", b"a", True, "buy", 1), Smaller(1), None]),
    (Smaller, [Larger(1, 2), (1,), [1], Mutable(1)]),
    (Deep, [Deep(Larger(1, 2), (1, "a"), ()), Deep(Smaller(True), (1, "a"), ()), Deep(None, [1, "a"], ())]),
    (Deep, [Deep(None, (1, "a"), [Side.BUY]), Deep(None, (1, "a"), ("buy",)), Deep((1,), (1, "a"), ())]),
    (TaggedA | TaggedB | None, [Smaller(1), (1, 1), TaggedA(True), TaggedB(2**63)]),
    (tuple[()], [(1,), []]),
    (Bounded, [Bounded(0), Bounded(100), Bounded(True)]),
    (Annotated[int, rsm.Meta(ge=1)], [0, True, 1.0]),
    (Annotated[str, rsm.Meta(max_length=2)], ["abc"]),
]
GOOD_KEYS = [
    (int, [0, 2**63 - 1, -(2**63)]),
    (str, ["", "é"]),
    (bytes, [b""]),
    (tuple[int, str], [(1, "a")]),
    (Annotated[int, rsm.Meta(gt=0)], [1]),
]
BAD_KEYS = [
    (int, [True, 1.0, None, "1", BIG, 2**63, Number(1), Rank.LOW]),
    (str, [1, b"a", SURROGATE, Text("a"), None]),
    (bytes, ["a", None]),
    (
        tuple[int, str],
        [(True, "a"), (1.0, "a"), (1, SURROGATE), (1,), (1, "a", 1), 1, (BIG, "a"), (2**63, "a"), (1, Text("a"))],
    ),
    (tuple[int, int], [Pair(1, 2)]),
    (Annotated[int, rsm.Meta(gt=0)], [0, -1]),
]


def each(table: list[tuple[Any, list[Any]]]) -> list[Any]:
    """One parameter set for every value of a table."""
    return [
        pytest.param(declared, value, id=f"{declared}: {number} {type(value).__name__}")
        for declared, values in table
        for number, value in enumerate(values)
    ]


def machine_for(declared: Any) -> Any:
    """A machine that can hold the type in every place a value has."""
    return machine_with(
        map=rsm.Map[int, declared],
        ordered=rsm.SortedMap[int, declared],
        queue=rsm.Queue[declared],
        table=rsm.Table[int, rsm.Queue[declared]],
    )


@pytest.mark.parametrize(("declared", "value"), each(GOOD))
def test_values_of_the_declared_type_are_kept_as_they_are(declared: Any, value: Any) -> None:
    """They are read back, hashed, and come back equal and of the same type from a snapshot."""
    machine, restored = machine_for(declared), machine_for(declared)
    store, other = store_of(machine), store_of(restored)
    with batch(store):
        machine.map[1] = value
        machine.ordered[1] = value
        machine.table[1].push(value)
        machine.queue.push(value)
    for name, _, _, leaves in store.cut().chunks():
        other.load(name, leaves)
    assert other.digests() == store.digests()
    for read in (restored.map[1], restored.ordered[1], restored.queue[0], restored.table[1][0]):
        assert read == value
        assert type(read) is type(value)
        assert repr(read) == repr(value)


@pytest.mark.parametrize(("declared", "value"), each(BAD))
def test_other_values_are_refused_and_leave_nothing(declared: Any, value: Any) -> None:
    """TypeError names the container; the root, the contents and the undo log are as before."""
    machine = machine_for(declared)
    store = store_of(machine)
    before = store.digests()
    store.begin()
    for where, write in {
        "map": lambda: machine.map.__setitem__(1, value),
        "map ": lambda: machine.map.setdefault(1, value),
        "map  ": lambda: machine.map.update({1: value}),
        "ordered": lambda: machine.ordered.__setitem__(1, value),
        "queue": lambda: machine.queue.push(value),
        "queue ": lambda: machine.queue.push_front(value),
        "table": lambda: machine.table[1].push(value),
    }.items():
        with pytest.raises(TypeError, match=f"^{where.strip()}: "):
            write()
    assert store.mark() == 0
    store.end()
    assert (len(machine.map), len(machine.ordered), len(machine.queue), len(machine.table)) == (0, 0, 0, 0)
    assert list(machine.ordered) == []
    assert store.digests() == before
    store.verify()


@pytest.mark.parametrize(("declared", "value"), each(BAD))
def test_a_value_in_place_is_replaced_only_by_a_good_one(declared: Any, value: Any) -> None:
    """A refused replacement leaves the old value, in queues and scalars too."""
    good = next(values[0] for kind, values in [*GOOD, *EXTRA_GOOD] if kind == declared)
    machine = machine_with({"scalar": good}, queue=rsm.Queue[declared], scalar=declared, map=rsm.Map[int, declared])
    store = store_of(machine)
    with batch(store):
        machine.queue.push(good)
        machine.map[1] = good
    before = store.digests()
    store.begin()
    with pytest.raises(TypeError):
        machine.queue[0] = value
    with pytest.raises(TypeError):
        machine.map[1] = value
    with pytest.raises(TypeError, match=r"^scalar: "):
        machine.scalar = value
    store.end()
    assert (machine.queue[0], machine.map[1], machine.scalar) == (good, good, good)
    assert store.digests() == before


EXTRA_GOOD = [
    (str | None, [None]),
    (Literal[True], [True]),
    (tuple[int, int], [(1, 2)]),
    (tuple[tuple[int, ...], int], [((1,), 2)]),
    (tuple[bytes, ...], [()]),
    (tuple[Rank, ...], [()]),
    (Smaller, [Smaller(1)]),
]


@pytest.mark.parametrize(("declared", "key"), each(GOOD_KEYS))
def test_keys_of_the_declared_type_come_back_from_a_snapshot(declared: Any, key: Any) -> None:
    """What was accepted as a key can be restored."""
    machine, restored = keyed(declared), keyed(declared)
    store, other = store_of(machine), store_of(restored)
    with batch(store):
        machine.map[key] = 1
        machine.ordered[key] = 1
        machine.set.add(key)
        machine.table[key].push(1)
    for name, _, _, leaves in store.cut().chunks():
        other.load(name, leaves)
    assert other.digests() == store.digests()
    assert list(restored.map) == list(restored.ordered) == list(restored.set) == list(restored.table) == [key]


@pytest.mark.parametrize(("declared", "key"), each(BAD_KEYS))
def test_other_keys_are_refused_and_leave_nothing(declared: Any, key: Any) -> None:
    """TypeError names the container, for every way of writing."""
    machine = keyed(declared)
    store = store_of(machine)
    before = store.digests()
    store.begin()
    writes = [
        lambda: machine.map.__setitem__(key, 1),
        lambda: machine.map.setdefault(key, 1),
        lambda: machine.map.update({key: 1}),
        lambda: machine.ordered.__setitem__(key, 1),
        lambda: machine.set.add(key),
        lambda: machine.set.update([key]),
        lambda: machine.table[key].push(1),
    ]
    for write in writes:
        with pytest.raises(TypeError, match=r"^(map|ordered|set|table): "):
            write()
    store.end()
    assert store.digests() == before
    assert len(machine.map) == len(machine.ordered) == len(machine.set) == len(machine.table) == 0


def keyed(declared: Any) -> Any:
    """A machine that has the key type everywhere a key can be."""
    return machine_with(
        map=rsm.Map[declared, int],
        ordered=rsm.SortedMap[declared, int],
        set=rsm.Set[declared],
        table=rsm.Table[declared, rsm.Queue[int]],
    )


def test_true_does_not_pass_for_the_key_one() -> None:
    """True finds the entry of 1 in a dict; no write through it may touch that entry."""
    machine = keyed(int)
    store = store_of(machine)
    with batch(store):
        machine.map[1] = machine.ordered[1] = 7
        machine.set.add(1)
        machine.table[1].push(5)
        machine.table[1].push(6)
    before = store.digests()
    store.begin()
    for write in [
        lambda: machine.map.__setitem__(True, 8),
        lambda: machine.map.__delitem__(True),
        lambda: machine.map.pop(True),
        lambda: machine.ordered.__setitem__(True, 8),
        lambda: machine.ordered.__delitem__(True),
        lambda: machine.ordered.pop(True, 0),
        lambda: machine.set.add(True),
        lambda: machine.set.discard(True),
        lambda: machine.set.remove(True),
        lambda: machine.table[1].remove(True),
        lambda: machine.table[1].__setitem__(True, 9),
    ]:
        with pytest.raises(TypeError):
            write()
    store.end()
    assert store.digests() == before
    store.verify()
