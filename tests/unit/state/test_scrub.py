"""Values changed behind the containers' back are found within one scrub period, by container and keys.

The scrub period is stated in hash points: the number of leaves over `SCRUB_LEAVES_MIN`, rounded up, and one more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rsm
from rsm.codec.record import Entry, RecordKind
from rsm.errors import DivergenceError
from rsm.limits import BUCKETS, SCRUB_LEAVES_MIN
from rsm.replica.batch import FLAG_HASH_POINT, join_batch
from rsm.replica.replica import Replica
from rsm.state.queues import Queue
from rsm.state.store import Store
from tests.unit.state import stores
from tests.unit.state.stores import store_of


@contextmanager
def batch(store: Store) -> Iterator[None]:
    """One batch and a root: what was written since the last root is hashed with the next one, as it is then."""
    with stores.batch(store):
        yield
    store.digests()


class Order(rsm.Struct):
    owner: str
    quantity: int
    marks: tuple[int, ...]


class Shop(rsm.StateMachine, name="shop"):
    """Every kind of container."""

    map: rsm.Map[str, int]
    orders: rsm.Map[int, Order]
    ordered: rsm.SortedMap[int, str]
    seen: rsm.Set[str]
    queue: rsm.Queue[str]
    table: rsm.Table[int, rsm.Queue[int]]
    total: int
    best: Order | None


def fill(shop: Shop, size: int) -> None:
    """Something in every container; `size` leaves in each that is large."""
    for number in range(size):
        shop.map[str(number)] = 1
        shop.orders[number] = Order("ann", number, (1, 2))
        shop.ordered[number] = "x"
        shop.seen.add(str(number))
        shop.queue.push(str(number))
        shop.table[number % 7].push(number)
    shop.total = 5
    shop.best = Order("best", 1, ())


def swap(container: Any, first: Any, second: Any) -> None:
    """Two values change places."""
    a, b = dict.__getitem__(container, first), dict.__getitem__(container, second)
    dict.__setitem__(container, first, b)
    dict.__setitem__(container, second, a)


def move(container: Any, source: Any, target: Any) -> None:
    """One entry leaves, another comes: the number of keys stays."""
    dict.__setitem__(container, target, dict.__getitem__(container, source))
    dict.__delitem__(container, source)


def move_member(members: set[str], source: str, target: str) -> None:
    """One member leaves, another comes: the number of members stays."""
    set.discard(members, source)
    set.add(members, target)


MUTATIONS: dict[str, tuple[str, Callable[[Shop], Any]]] = {
    "map value": ("map", lambda s: dict.__setitem__(s.map, "1", 2)),
    "map value of another type": ("map", lambda s: dict.__setitem__(s.map, "1", True)),
    "map value that cannot be encoded": ("map", lambda s: dict.__setitem__(s.map, "1", object())),
    "map key added": ("map", lambda s: dict.__setitem__(s.map, "new", 1)),
    "map key removed": ("map", lambda s: dict.__delitem__(s.map, "1")),
    "map key exchanged": ("map", lambda s: move(s.map, "1", "new")),
    "map updated": ("map", lambda s: dict.update(s.map, {"1": 7})),
    "map initialised": ("map", lambda s: dict.__init__(s.map, {"1": 7})),
    "map emptied": ("map", lambda s: dict.clear(s.map)),
    "struct field by msgspec": ("orders", lambda s: msgspec.structs.force_setattr(s.orders[1], "quantity", 99)),
    "struct field of another type": ("orders", lambda s: msgspec.structs.force_setattr(s.orders[1], "quantity", 1.0)),
    "struct field a list": ("orders", lambda s: msgspec.structs.force_setattr(s.orders[1], "marks", [1, 2, 3])),
    "struct not encodable": ("orders", lambda s: msgspec.structs.force_setattr(s.orders[1], "owner", "\ud800")),
    "structs exchanged": ("orders", lambda s: swap(s.orders, 1, 2)),
    "ordered value": ("ordered", lambda s: dict.__setitem__(s.ordered, 1, "y")),
    "ordered key added": ("ordered", lambda s: dict.__setitem__(s.ordered, -1, "x")),
    "ordered key removed": ("ordered", lambda s: dict.__delitem__(s.ordered, 1)),
    "member added": ("seen", lambda s: set.add(s.seen, "new")),
    "member removed": ("seen", lambda s: set.discard(s.seen, "1")),
    "member exchanged": ("seen", lambda s: move_member(s.seen, "1", "new")),
    "queue item": ("queue", lambda s: dict.__setitem__(s.queue, 1, "other")),
    "queue item added": ("queue", lambda s: dict.__setitem__(s.queue, -7, "other")),
    "queue item removed": ("queue", lambda s: dict.__delitem__(s.queue, 1)),
    "queue items exchanged": ("queue", lambda s: swap(s.queue, 1, 2)),
    "queue emptied": ("queue", lambda s: dict.clear(s.queue)),
    "table item": ("table", lambda s: dict.__setitem__(s.table[1], 0, 99)),
    "table item added": ("table", lambda s: dict.__setitem__(s.table[1], 99, 99)),
    "table item removed": ("table", lambda s: dict.__delitem__(s.table[1], 0)),
    "table queue emptied": ("table", lambda s: dict.clear(s.table[1])),
    "table queue removed": ("table", lambda s: dict.__delitem__(s.table, 1)),
    "table queue added": ("table", lambda s: dict.__setitem__(s.table, 77, s.table[1])),
    "table empty queue added": ("table", lambda s: dict.__setitem__(s.table, 77, Queue())),
    "table queues exchanged": ("table", lambda s: swap(s.table, 1, 2)),
    "table queue moved": ("table", lambda s: move(s.table, 1, 77)),
    "scalar": ("scalars", lambda s: vars(s).__setitem__("total", 6)),
    "scalar removed": ("scalars", lambda s: vars(s).__delitem__("total")),
    "scalar struct": ("scalars", lambda s: msgspec.structs.force_setattr(s.best, "owner", "worst")),
}


def scrub_period(store: Store, leaves_min: int) -> int:
    """How many scrubs find everything, as promised."""
    leaves = sum(ledger.count(bucket) for ledger in store.ledgers.values() for bucket in range(BUCKETS))
    return -(-leaves // leaves_min) + 1


def scrub(store: Store, times: int, leaves_min: int) -> None:
    """As many hash points."""
    for _ in range(times):
        store.scrub(leaves_min)


@pytest.mark.parametrize(("container", "mutate"), MUTATIONS.values(), ids=MUTATIONS)
@pytest.mark.parametrize("head_start", [0, 1, 5])
def test_a_mutation_is_found_within_one_period(container: str, mutate: Callable[[Shop], Any], head_start: int) -> None:
    """From wherever the scrub stands; and at once by looking at everything."""
    shop = Shop()
    store = store_of(shop)
    with batch(store):
        fill(shop, 20)
    for _ in range(head_start):
        store.scrub(16)
    period = scrub_period(store, 16)
    assert 8 <= period <= 10
    mutate(shop)
    with pytest.raises(DivergenceError, match=f"^{container}: "):
        store.verify()
    with pytest.raises(DivergenceError, match=f"^{container}: "):
        scrub(store, period, 16)


LAUNDERED: dict[str, tuple[str, Callable[[Shop], Any], Callable[[Shop], Any]]] = {
    "value overwritten": (
        "map",
        lambda s: dict.__setitem__(s.map, "1", 2),
        lambda s: s.map.__setitem__("1", 3),
    ),
    "value put back": (
        "map",
        lambda s: dict.__setitem__(s.map, "1", 2),
        lambda s: s.map.__setitem__("1", 1),
    ),
    "hidden key deleted": (
        "map",
        lambda s: dict.__setitem__(s.map, "new", 2),
        lambda s: s.map.__delitem__("new"),
    ),
    "struct written as it is": (
        "orders",
        lambda s: msgspec.structs.force_setattr(s.orders[1], "quantity", 99),
        lambda s: s.orders.__setitem__(1, s.orders[1]),
    ),
    "struct replaced": (
        "orders",
        lambda s: msgspec.structs.force_setattr(s.orders[1], "quantity", 99),
        lambda s: s.orders.__setitem__(1, Order("bob", 1, ())),
    ),
    "struct removed": (
        "orders",
        lambda s: msgspec.structs.force_setattr(s.orders[1], "quantity", 99),
        lambda s: s.orders.__delitem__(1),
    ),
    "hidden item removed": (
        "queue",
        lambda s: dict.__setitem__(s.queue, 99, "x"),
        lambda s: s.queue.remove(99),
    ),
    "scalar assigned": ("scalars", lambda s: vars(s).__setitem__("total", 6), lambda s: setattr(s, "total", 7)),
}


@pytest.mark.parametrize(("container", "mutate", "write"), LAUNDERED.values(), ids=LAUNDERED)
def test_a_tracked_write_does_not_cover_a_mutation_up(
    container: str, mutate: Callable[[Shop], Any], write: Callable[[Shop], Any]
) -> None:
    """The sums were made of the old value, so they stay wrong whatever is written over it."""
    shop = Shop()
    store = store_of(shop)
    with batch(store):
        fill(shop, 5)
    mutate(shop)
    with batch(store):
        write(shop)
    with pytest.raises(DivergenceError, match=f"^{container}: "):
        store.verify()
    with pytest.raises(DivergenceError, match=f"^{container}: "):
        scrub(store, scrub_period(store, 16), 16)


@given(st.integers(0, 60), st.sampled_from(sorted(MUTATIONS)), st.integers(1, 300), st.integers(0, 40))
def test_the_period_holds_for_any_size_and_step(size: int, name: str, leaves_min: int, head_start: int) -> None:
    """Any number of leaves, any step, any position of the scrub at the time of the mutation."""
    shop = Shop()
    store = store_of(shop)
    with batch(store):
        fill(shop, 3 + size)
    for _ in range(head_start):
        store.scrub(leaves_min)
    MUTATIONS[name][1](shop)
    with pytest.raises(DivergenceError):
        scrub(store, scrub_period(store, leaves_min), leaves_min)


def test_the_error_names_the_key() -> None:
    """Of a bucket with few keys all are named, so that the culprit is among them."""
    shop = Shop()
    store = store_of(shop)
    with batch(store):
        fill(shop, 3)
    msgspec.structs.force_setattr(shop.orders[2], "quantity", 99)
    with pytest.raises(DivergenceError, match=r"^orders: bucket \d+ was changed outside tracked writes; .*\b2$"):
        store.verify()


def test_a_scrub_looks_at_no_more_than_it_must() -> None:
    """Work per hash point is bounded: leaves are counted, also those in queues, and rounds are."""
    shop = Shop()
    store = store_of(shop)
    with batch(store):
        for number in range(1000):
            shop.table[number % 100].push(number)
    rounds = 0
    for _ in range(100):
        store.scrub(100)
        rounds += 1
        if store.scrub_rounds:
            break
    assert 7 <= rounds <= 11  # a bucket holds ten or twenty leaves, and is looked at whole
    store.scrub(10**9)
    assert store.scrub_rounds == 2


def hash_point(index: int) -> Entry:
    """An empty batch that asks for a root."""
    return Entry(index, 1, RecordKind.BATCH, join_batch(1, 1, FLAG_HASH_POINT, []))


def test_a_replica_finds_a_mutation_within_the_stated_number_of_hash_points() -> None:
    """With the real `SCRUB_LEAVES_MIN`, through entries alone; roots before the mutation go on as they were."""
    shuffle = random.Random(7)
    replica = Replica(Shop)
    shop: Any = replica.machine
    with batch(replica.store):
        fill(shop, 500)
    leaves = 500 * 6 + 2 + len(replica.system.definition.scalars)
    period = -(-leaves // SCRUB_LEAVES_MIN) + 1
    index = 0
    for _ in range(period + 3):
        index += 1
        assert replica.apply(hash_point(index)).root == replica.roots[1]
    victim = shuffle.randrange(500)
    msgspec.structs.force_setattr(shop.orders[victim], "quantity", -1)
    entries = [hash_point(index + 1 + further) for further in range(period)]
    with pytest.raises(DivergenceError, match=r"^orders: bucket"):
        list(map(replica.apply, entries))
