"""A root stands for the contents: any one field that differs makes another root, and nothing else does."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import rsm
from rsm.errors import BadBytes
from rsm.limits import BUCKETS
from rsm.state.diff import Difference, differences
from rsm.state.leaf import ABSENT, bucket_of, leaf_hash
from rsm.state.store import Store
from tests.unit.state.stores import batch, machine_with, store_of


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Order(rsm.Struct):
    owner: str
    quantity: int
    side: Side
    limit: int | None
    marks: tuple[str, ...]
    raw: bytes
    firm: bool


class Desk(rsm.StateMachine, name="desk"):
    """Every kind of container."""

    map: rsm.Map[str, int]
    orders: rsm.Map[int, Order]
    ordered: rsm.SortedMap[tuple[int, str], str]
    seen: rsm.Set[str]
    queue: rsm.Queue[str]
    table: rsm.Table[int, rsm.Queue[int]]
    total: int
    label: str


ORDER = Order("ann", 5, Side.BUY, None, ("x", "y"), b"\x00", True)


def desk_with(*changes: Callable[[Desk], Any]) -> Store:
    """The usual contents, and then some changes."""
    desk = Desk()
    store = store_of(desk)
    with batch(store):
        desk.map.update({"a": 1, "b": 2, "": 0})
        desk.orders[1] = ORDER
        desk.orders[2] = msgspec.structs.replace(ORDER, owner="bob")
        desk.ordered[1, "a"] = "left"
        desk.ordered[2, "a"] = "right"
        desk.seen.update("ab")
        for word in ("one", "two", "three"):
            desk.queue.push(word)
        for number in (10, 20, 30):
            desk.table[1].push(number)
        desk.table[2].push(10)
        desk.total = 7
    with batch(store):
        for change in changes:
            change(desk)
    return store


def field(**changes: Any) -> Callable[[Desk], Any]:
    """One order with other fields."""
    return lambda desk: desk.orders.__setitem__(1, msgspec.structs.replace(ORDER, **changes))


def swap(container: Callable[[Desk], Any], first: Any, second: Any) -> Callable[[Desk], Any]:
    """Two values change places."""

    def change(desk: Desk) -> None:
        target = container(desk)
        target[first], target[second] = target[second], target[first]

    return change


CHANGES: dict[str, Callable[[Desk], Any]] = {
    "nothing": lambda d: None,
    "map value": lambda d: d.map.__setitem__("a", 2),
    "map key": lambda d: (d.map.pop("a"), d.map.__setitem__("A", 1)),
    "map removed": lambda d: d.map.pop("a"),
    "map added": lambda d: d.map.__setitem__("c", 0),
    "map values exchanged": swap(lambda d: d.map, "a", "b"),
    "order owner": field(owner="ann "),
    "order quantity": field(quantity=6),
    "order quantity negative": field(quantity=-5),
    "order side": field(side=Side.SELL),
    "order limit": field(limit=0),
    "order marks": field(marks=("y", "x")),
    "order marks fewer": field(marks=("x",)),
    "order marks joined": field(marks=("xy",)),
    "order marks none": field(marks=()),
    "order raw": field(raw=b""),
    "order raw longer": field(raw=b"\x00\x00"),
    "order firm": field(firm=False),
    "orders exchanged": swap(lambda d: d.orders, 1, 2),
    "ordered value": lambda d: d.ordered.__setitem__((1, "a"), "LEFT"),
    "ordered key": lambda d: (d.ordered.pop((1, "a")), d.ordered.__setitem__((1, "b"), "left")),
    "ordered values exchanged": swap(lambda d: d.ordered, (1, "a"), (2, "a")),
    "member added": lambda d: d.seen.add("c"),
    "member removed": lambda d: d.seen.remove("a"),
    "member exchanged": lambda d: (d.seen.remove("a"), d.seen.add("A")),
    "queue item": lambda d: d.queue.__setitem__(1, "TWO"),
    "queue item removed": lambda d: d.queue.remove(1),
    "queue first removed": lambda d: d.queue.pop_first(),
    "queue items exchanged": swap(lambda d: d.queue, 0, 2),
    "queue rotated": lambda d: d.queue.push(d.queue.pop_first()),
    "queue positions moved": lambda d: (d.queue.clear(), [d.queue.push(w) for w in "-one"], None),
    "table item": lambda d: d.table[1].__setitem__(1, 21),
    "table item removed": lambda d: d.table[1].remove(1),
    "table items exchanged": swap(lambda d: d.table[1], 0, 2),
    "table other queue": lambda d: d.table[2].push(20),
    "table queue removed": lambda d: d.table[2].clear(),
    "table queue moved": lambda d: (d.table[2].clear(), d.table[3].push(10)),
    "scalar": lambda d: setattr(d, "total", 8),
    "scalar text": lambda d: setattr(d, "label", "7"),
    "same number as text elsewhere": lambda d: setattr(d, "label", "\x07"),
}


def test_every_single_change_makes_a_root_of_its_own() -> None:
    """No two of the changed states have the same digests, none has those of the unchanged one."""
    roots = {name: tuple(desk_with(change).digests()) for name, change in CHANGES.items()}
    for (first, one), (second, other) in itertools.combinations(roots.items(), 2):
        assert one != other, f"{first} and {second} have the same root"


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "nothing"])
def test_a_change_shows_in_its_own_container_only(name: str) -> None:
    """So a comparison of digests already says where to look; the difference names a path there."""
    before, after = desk_with(), desk_with(CHANGES[name])
    changed = [mine[0] for mine, other in zip(before.digests(), after.digests(), strict=True) if mine != other]
    assert len(changed) == 1
    found = differences(before, after)
    assert found
    assert {difference.path.split("/")[0] for difference in found} == set(changed)


def test_a_change_and_its_reverse_leave_no_trace() -> None:
    """The root depends on contents, not on history."""
    before = desk_with().digests()
    assert desk_with(CHANGES["map value"], lambda d: d.map.__setitem__("a", 1)).digests() == before
    assert desk_with(CHANGES["member added"], lambda d: d.seen.remove("c")).digests() == before
    assert desk_with(lambda d: d.queue.push("x"), lambda d: d.queue.remove(3)).digests() == before
    assert desk_with(lambda d: d.table[9].push(1), lambda d: d.table[9].clear()).digests() == before


def test_equal_contents_in_other_declarations_have_other_digests() -> None:
    """Name, kind and type are part of every leaf's hash, so that containers cannot be taken for one another."""
    sums = []
    for name, kind in (
        ("a", rsm.Map[int, int]),
        ("b", rsm.Map[int, int]),
        ("a", rsm.SortedMap[int, int]),
        ("a", rsm.Map[int, int | None]),
        ("a", rsm.Queue[int]),
    ):
        machine = machine_with(**{name: kind})
        store = store_of(machine)
        with batch(store):
            container = getattr(machine, name)
            if hasattr(container, "push"):
                container.push(5)
            else:
                container[0] = 5
        sums.append(store.digests()[0][3])
    assert len(set(sums)) == len(sums)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("map value", [Difference("map/'a'", 1, 2)]),
        ("map removed", [Difference("map/'a'", 1, ABSENT)]),
        ("map added", [Difference("map/'c'", ABSENT, 0)]),
        ("order quantity", [Difference("orders/1/quantity", 5, 6)]),
        ("order side", [Difference("orders/1/side", Side.BUY, Side.SELL)]),
        ("order marks", [Difference("orders/1/marks/0", "x", "y"), Difference("orders/1/marks/1", "y", "x")]),
        ("order marks fewer", [Difference("orders/1/marks", ("x", "y"), ("x",))]),
        ("ordered value", [Difference("ordered/(1, 'a')", "left", "LEFT")]),
        ("member added", [Difference("seen/'c'", ABSENT, None)]),
        ("queue item", [Difference("queue/1", "two", "TWO")]),
        ("table item", [Difference("table/1/1", 20, 21)]),
        ("table queue moved", [Difference("table/2/0", 10, ABSENT), Difference("table/3/0", ABSENT, 10)]),
        ("scalar", [Difference("scalars/'total'", 7, 8)]),
    ],
)
def test_a_difference_names_the_path_and_both_values(change: str, expected: list[Difference]) -> None:
    """Down to the field, in the order of keys."""
    assert differences(desk_with(), desk_with(CHANGES[change])) == expected


def test_differences_are_told_by_bytes_and_up_to_a_limit() -> None:
    """True is not 1 here either; a limit stops early; equal states have none."""
    assert differences(desk_with(), desk_with()) == []
    many = desk_with(lambda d: d.map.clear(), lambda d: d.orders.clear())
    assert len(differences(desk_with(), many)) == 5
    assert len(differences(desk_with(), many, limit=2)) == 2
    one, other = machine_with(a=rsm.Map[str, int | bool]), machine_with(a=rsm.Map[str, int | bool])
    stores = store_of(one), store_of(other)
    with batch(stores[0]), batch(stores[1]):
        one.a["x"], other.a["x"] = 1, True
    assert differences(*stores) == [Difference("a/'x'", 1, True)]
    assert differences(*stores)[0].right is True


def test_stores_of_different_machines_differ_by_container() -> None:
    """A container that one side does not declare is one difference, not one per key."""
    left, right = store_of(machine_with(a=rsm.Map[int, int])), store_of(machine_with(b=rsm.Map[int, int]))
    assert [(d.path, d.left, d.right) for d in differences(left, right)] == [
        ("a", "(declared)", ABSENT),
        ("b", ABSENT, "(declared)"),
    ]


def test_keys_spread_over_the_buckets() -> None:
    """Small integers, texts and pairs alike: no bucket gets more than a few times its share."""
    for keys in (range(20_000), map(str, range(20_000)), ((i % 7, str(i)) for i in range(20_000))):
        counts = [0] * BUCKETS
        for key in keys:
            counts[bucket_of(key)] += 1
        assert max(counts) < 3 * 20_000 / BUCKETS
        assert min(counts) > 0


def test_a_leaf_hash_depends_on_key_value_and_seed() -> None:
    """And not on what would be the same text: the parts are encoded, not joined."""
    hashes = [
        leaf_hash(1, 2, 3),
        leaf_hash(2, 1, 3),
        leaf_hash(1, 2, 4),
        leaf_hash("1", 2, 3),
        leaf_hash(1, "2", 3),
        leaf_hash((1, 2), None, 3),
        leaf_hash(12, "", 3),
        leaf_hash(1, True, 3),
    ]
    assert len(set(hashes)) == len(hashes)


def test_bytes_that_do_not_fit_the_schema_are_not_loaded() -> None:
    """A snapshot's leaves are decoded with their types; a container that is not declared is named."""
    store = store_of(Desk())
    for name, leaves in (
        ("map", [["a", "text"]]),
        ("map", [["a"]]),
        ("map", [[1, 1]]),
        ("map", {"a": 1}),
        ("orders", [[1, ["ann", 1, "hold", None, [], b"", True]]]),
        ("seen", [["a", 1]]),
        ("queue", [["0", "x"]]),
        ("table", [[1, 10]]),
        ("scalars", [["unknown", 1]]),
        ("scalars", [["total", "7"]]),
    ):
        with pytest.raises(BadBytes, match=f"leaves of {name!r} do not fit"):
            store.load(name, msgspec.msgpack.encode(leaves))
    with pytest.raises(BadBytes, match="'map' do not fit"):
        store.load("map", b"\xc1")
    with pytest.raises(BadBytes, match="container 'other'"):
        store.load("other", b"\x90")


def test_clearing_removes_what_came_behind_the_back_too() -> None:
    """A replica that diverged is restored on the spot: nothing of before may shine through."""
    desk, source = Desk(), desk_with()
    store = store_of(desk)
    with batch(store):
        desk.map["tracked"] = 1
    dict.__setitem__(desk.map, "hidden", 1)
    dict.__delitem__(desk.map, "tracked")
    dict.__setitem__(desk.ordered, (9, ""), "hidden")
    set.add(desk.seen, "hidden")
    dict.__setitem__(desk.queue, 99, "hidden")
    dict.__setitem__(desk.table, 99, desk.table[98])
    store.clear()
    for name, _, _, leaves in source.cut().chunks():
        store.load(name, leaves)
    store.verify()
    assert store.digests() == source.digests()
    assert differences(store, source) == []
    assert list(desk.map) == ["", "a", "b"]
    assert list(desk.ordered) == [(1, "a"), (2, "a")]
    with batch(store):
        assert desk.queue.push("next") == 3


def test_values_that_equal_one_another_are_still_told_apart() -> None:
    """True over 1 is a change: of the root, of an open cut, and of what is undone."""
    machine = machine_with({"b": 0}, a=rsm.Map[str, int | bool], b=int | bool)
    store = store_of(machine)
    with batch(store):
        machine.a["x"] = machine.b = 1
    before, cut = store.digests(), store.cut()
    with batch(store):
        machine.a["x"] = machine.b = True
    assert [mine[3] != other[3] for mine, other in zip(before, store.digests(), strict=True)] == [True, True]
    store.verify()
    assert [leaves.hex() for *_, leaves in cut.chunks()] == ["9192a17801", "9192a16201"]
    cut.close()
    with batch(store):
        mark = store.mark()
        machine.a["x"] = 1
        store.rollback(mark)
    assert machine.a["x"] is True


def test_a_cut_keeps_old_values_of_unread_buckets_only() -> None:
    """What it has given out it forgets: its memory is what changed ahead of it."""
    store = desk_with()
    cut = store.cut()
    ledger = store.ledgers["orders"]
    overlay: Any = ledger.overlays[0]
    desk: Any = ledger.container
    chunks = cut.chunks()
    while next(chunks)[0] != "orders":
        pass
    read = overlay.read_below
    assert 0 < read < BUCKETS
    with batch(store):
        for number in range(200):
            desk[number] = ORDER
    assert min(overlay.buckets) >= read
    rest = list(chunks)
    assert overlay.buckets == {}
    assert {name for name, *_ in rest} <= {"orders", "ordered", "queue", "scalars", "seen", "table"}
    with batch(store):
        desk.clear()
    assert overlay.buckets == {}
    cut.close()
    assert ledger.overlays == []


@pytest.mark.parametrize("leaves_max", [0, 3, 10_000])
def test_hashes_that_are_put_off_give_the_same_root(leaves_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root after many batches is that of the contents, however many of them were hashed at their end."""
    monkeypatch.setattr("rsm.state.store.UNHASHED_LEAVES_MAX", leaves_max)
    stores = desk_with(), desk_with()
    before = stores[0].digests()
    for number in range(20):
        for store in stores:
            desk: Any = store.ledgers["map"].container
            with batch(store):
                desk[f"stays {number % 7}"] = number
                desk[f"goes {number}"] = number
                desk.pop(f"goes {number - 2}", None)
        stores[0].digests()
    pending = len(stores[1].ledgers["map"].firsts)
    assert pending <= leaves_max if leaves_max < 10_000 else pending > 20
    assert stores[0].digests() == stores[1].digests() != before
    assert not stores[1].ledgers["map"].firsts
    stores[1].verify()


def test_a_cut_hears_of_changes_after_its_moment_only() -> None:
    """What was written before it and is not hashed yet is part of it, as it was written."""
    store = desk_with()
    desk: Any = store.ledgers["map"].container
    with batch(store):
        desk["new"] = 1
    assert store.ledgers["map"].firsts
    cut = store.cut()
    with batch(store):
        desk["new"] = 2
        desk["later"] = 3
    assert not store.ledgers["map"].firsts  # somebody watches
    found = [leaf for name, _, _, packed in cut.chunks() if name == "map" for leaf in msgspec.msgpack.decode(packed)]
    assert ["new", 1] in found
    assert "later" not in dict(found)
    cut.close()
