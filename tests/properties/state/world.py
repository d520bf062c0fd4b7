"""A machine with every kind of state, its plain-Python model, and operations that run on both alike.

The model keeps dicts and sets and looks everything up the slow way. An operation is data: a name and arguments;
`perform` runs it on either side and returns what came of it, so that results and exceptions are compared too.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st

import rsm
from rsm.machine.machine import containers_of
from rsm.state.store import Store


class Side(enum.Enum):
    """An enum whose raw values would pass for it in the encoding."""

    BUY = "buy"
    SELL = "sell"


class Item(rsm.Struct):
    """A record with every kind of field."""

    owner: str
    quantity: int
    side: Side
    limit: int | None
    tags: tuple[str, ...]
    raw: bytes
    firm: bool


class World(rsm.StateMachine, name="world", version=1):
    """Every kind of container, several at once, and scalars."""

    counts: rsm.Map[str, int]
    items: rsm.Map[int, Item]
    prices: rsm.SortedMap[tuple[int, str], bytes]
    seen: rsm.Set[str]
    line: rsm.Queue[str]
    levels: rsm.Table[int, rsm.Queue[tuple[int, str]]]
    total: int
    label: str
    best: Item | None


SCALARS = ("total", "label", "best")


class PlainQueue(dict[int, Any]):
    """Values by position; the ends are looked for."""

    def push(self, value: Any) -> int:
        """As `rsm.Queue.push`."""
        position = max(self, default=-1) + 1
        dict.__setitem__(self, position, value)
        return position

    def push_front(self, value: Any) -> int:
        """As `rsm.Queue.push_front`."""
        if not self:
            return self.push(value)
        position = min(self) - 1
        dict.__setitem__(self, position, value)
        return position

    def remove(self, position: int) -> Any:
        """As `rsm.Queue.remove`."""
        return self.pop(position)

    def pop_first(self) -> Any:
        """As `rsm.Queue.pop_first`."""
        if not self:
            raise IndexError
        return self.pop(min(self))

    def __setitem__(self, position: int, value: Any) -> None:
        if position not in self:
            raise KeyError(position)
        dict.__setitem__(self, position, value)

    def first(self) -> int | None:
        """As `rsm.Queue.first`."""
        return min(self, default=None)


class PlainTable(dict[int, PlainQueue]):
    """Queues by key; empty ones lie about and do not count."""

    def __missing__(self, key: int) -> PlainQueue:
        queue = PlainQueue()
        dict.__setitem__(self, key, queue)
        return queue

    def __delitem__(self, key: int) -> None:
        if not self[key]:
            raise KeyError(key)
        self[key].clear()


class Plain:
    """The model: what a `World` holds, in built-in types."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.items: dict[int, Item] = {}
        self.prices: dict[tuple[int, str], bytes] = {}
        self.seen: set[str] = set()
        self.line = PlainQueue()
        self.levels = PlainTable()
        self.total = 0
        self.label = ""
        self.best: Item | None = None

    def copy(self) -> Plain:
        """The model as it is now; its values are immutable."""
        other = Plain()
        vars(other).update(vars(self))
        other.counts, other.items, other.prices = dict(self.counts), dict(self.items), dict(self.prices)
        other.seen, other.line = set(self.seen), PlainQueue(self.line)
        other.levels = PlainTable({key: PlainQueue(queue) for key, queue in self.levels.items()})
        return other


# --- operations -------------------------------------------------------------------------------------------------------


def _drain_and_push(queue: Any, value: Any) -> int:
    while queue.first() is not None:
        queue.pop_first()
    queue.push(value)
    return int(queue.push_front(value))


def _replace_first(queue: Any, value: Any) -> None:
    queue[queue.first() if queue.first() is not None else 0] = value


NAMES = st.sampled_from(["", "a", "b", "ab", "\x00", "é", "\U0001f600"])
INTS = st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63), 255, 256, 2**32])
POSITIONS = st.integers(-4, 6)
ITEMS = st.builds(
    Item,
    owner=NAMES,
    quantity=INTS,
    side=st.sampled_from(Side),
    limit=st.none() | INTS,
    tags=st.lists(NAMES, max_size=2).map(tuple),
    raw=st.binary(max_size=2),
    firm=st.booleans(),
)
PRICES = st.tuples(st.integers(-2, 2), NAMES)
BLOBS = st.binary(max_size=3)
PAIRS = st.tuples(INTS, NAMES)
KEYS = st.integers(0, 3)

OPERATIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "set count": (lambda w, k, v: w.counts.__setitem__(k, v), (NAMES, INTS)),
    "delete count": (lambda w, k: w.counts.__delitem__(k), (NAMES,)),
    "pop count": (lambda w, k: w.counts.pop(k, "none"), (NAMES,)),
    "pop count or fail": (lambda w, k: w.counts.pop(k), (NAMES,)),
    "default count": (lambda w, k, v: w.counts.setdefault(k, v), (NAMES, INTS)),
    "update counts": (lambda w, d: w.counts.update(d), (st.dictionaries(NAMES, INTS, max_size=3),)),
    "clear counts": (lambda w: w.counts.clear(), ()),
    "set item": (lambda w, k, v: w.items.__setitem__(k, v), (INTS, ITEMS)),
    "delete item": (lambda w, k: w.items.__delitem__(k), (INTS,)),
    "set price": (lambda w, k, v: w.prices.__setitem__(k, v), (PRICES, BLOBS)),
    "delete price": (lambda w, k: w.prices.__delitem__(k), (PRICES,)),
    "pop price": (lambda w, k: w.prices.pop(k, "none"), (PRICES,)),
    "pop price or fail": (lambda w, k: w.prices.pop(k), (PRICES,)),
    "default price": (lambda w, k, v: w.prices.setdefault(k, v), (PRICES, BLOBS)),
    "clear prices": (lambda w: w.prices.clear(), ()),
    "add seen": (lambda w, k: w.seen.add(k), (NAMES,)),
    "discard seen": (lambda w, k: w.seen.discard(k), (NAMES,)),
    "remove seen": (lambda w, k: w.seen.remove(k), (NAMES,)),
    "update seen": (lambda w, ks: w.seen.update(ks), (st.lists(NAMES, max_size=3),)),
    "clear seen": (lambda w: w.seen.clear(), ()),
    "push": (lambda w, v: w.line.push(v), (NAMES,)),
    "push front": (lambda w, v: w.line.push_front(v), (NAMES,)),
    "remove": (lambda w, p: w.line.remove(p), (POSITIONS,)),
    "pop first": (lambda w: w.line.pop_first(), ()),
    "replace": (lambda w, p, v: w.line.__setitem__(p, v), (POSITIONS, NAMES)),
    "drain and push": (lambda w, v: _drain_and_push(w.line, v), (NAMES,)),
    "clear line": (lambda w: w.line.clear(), ()),
    "level push": (lambda w, k, v: w.levels[k].push(v), (KEYS, PAIRS)),
    "level push front": (lambda w, k, v: w.levels[k].push_front(v), (KEYS, PAIRS)),
    "level remove": (lambda w, k, p: w.levels[k].remove(p), (KEYS, POSITIONS)),
    "level pop first": (lambda w, k: w.levels[k].pop_first(), (KEYS,)),
    "level replace": (lambda w, k, v: _replace_first(w.levels[k], v), (KEYS, PAIRS)),
    "level drain and push": (lambda w, k, v: _drain_and_push(w.levels[k], v), (KEYS, PAIRS)),
    "level delete": (lambda w, k: w.levels.__delitem__(k), (KEYS,)),
    "level clear": (lambda w, k: w.levels[k].clear(), (KEYS,)),
    "set total": (lambda w, v: setattr(w, "total", v), (INTS,)),
    "set label": (lambda w, v: setattr(w, "label", v), (NAMES,)),
    "set best": (lambda w, v: setattr(w, "best", v), (st.none() | ITEMS,)),
}

Operation = tuple[str, tuple[Any, ...]]
WRITES: st.SearchStrategy[Operation] = st.one_of(
    [st.tuples(st.just(name), st.tuples(*arguments)) for name, (_, arguments) in OPERATIONS.items()]
)


def sequences(*others: st.SearchStrategy[Operation]) -> st.SearchStrategy[list[Operation]]:
    """Writes, and each of the others about a sixth as often. Most are long; short ones are there to shrink to."""
    writes = WRITES.map(lambda operation: operation)  # a mapped strategy stays one branch
    one = st.one_of([writes] * 6 + [other.map(lambda operation: operation) for other in others])
    return st.lists(one, max_size=20) | st.lists(one, min_size=30, max_size=80)


def perform(world: Any, operation: Operation) -> Any:
    """What came of an operation: its result, or the class of its exception."""
    name, arguments = operation
    try:
        return OPERATIONS[name][0](world, *arguments)
    except (KeyError, IndexError) as error:
        return type(error)


# --- comparing --------------------------------------------------------------------------------------------------------


def contents(world: Any) -> dict[str, Any]:
    """All that a world holds, in its own order of iteration."""
    return {
        "counts": list(world.counts.items()),
        "items": list(world.items.items()),
        "prices": list(world.prices.items()),
        "seen": list(world.seen),
        "line": list(world.line.items()),
        "levels": [(key, list(queue.items())) for key, queue in world.levels.items()],
        **{name: getattr(world, name) for name in SCALARS},
    }


def expected(plain: Plain) -> dict[str, Any]:
    """What `contents` of the world must be: everything in the order of keys and positions."""
    return {
        "counts": sorted(plain.counts.items()),
        "items": [(key, plain.items[key]) for key in sorted(plain.items)],
        "prices": sorted(plain.prices.items()),
        "seen": sorted(plain.seen),
        "line": sorted(plain.line.items()),
        "levels": [(key, sorted(plain.levels[key].items())) for key in sorted(plain.levels) if plain.levels[key]],
        **{name: getattr(plain, name) for name in SCALARS},
    }


def check_reads(world: Any, plain: Plain, probes: list[tuple[int, str]]) -> None:
    """Every way of reading gives what the model says. `world` is a machine or a view of one."""
    assert contents(world) == expected(plain)
    assert list(world.counts) == list(world.counts.keys()) == sorted(plain.counts)
    assert list(reversed(world.counts)) == sorted(plain.counts, reverse=True)
    assert list(world.counts.values()) == [plain.counts[key] for key in sorted(plain.counts)]
    assert len(world.counts) == len(plain.counts)
    prices = sorted(plain.prices)
    assert list(world.prices) == prices == list(reversed(list(reversed(world.prices))))
    assert (world.prices.first(), world.prices.last()) == ((prices[0], prices[-1]) if prices else (None, None))
    for probe in probes:
        assert (probe in world.prices) == (probe in plain.prices)
        assert world.prices.get(probe, "none") == plain.prices.get(probe, "none")
        assert world.prices.ceiling(probe) == next((key for key in prices if key >= probe), None)
        assert world.prices.higher(probe) == next((key for key in prices if key > probe), None)
        assert world.prices.floor(probe) == next((key for key in reversed(prices) if key <= probe), None)
        assert world.prices.lower(probe) == next((key for key in reversed(prices) if key < probe), None)
        assert list(world.prices.range(probe)) == [key for key in prices if key >= probe]
        assert list(world.prices.range(None, probe, True)) == [key for key in reversed(prices) if key < probe]
    assert [("a" in world.seen), len(world.seen)] == [("a" in plain.seen), len(plain.seen)]
    positions = sorted(plain.line)
    assert world.line.positions() == positions
    assert list(world.line) == [plain.line[position] for position in positions]
    assert (world.line.first(), world.line.last()) == ((positions[0], positions[-1]) if positions else (None, None))
    assert len(world.line) == len(positions)
    live = {key: queue for key, queue in plain.levels.items() if queue}
    assert len(world.levels) == len(live)
    for key in range(4):
        assert (key in world.levels) == (key in live)
        assert (world.levels.get(key) is None) == (key not in live)
        queue = world.levels[key]
        assert (queue.first(), queue.last()) == (
            min(live.get(key, ()), default=None),
            max(live.get(key, ()), default=None),
        )


def store_of(world: World) -> Store:
    """The store of a machine that stands alone."""
    return Store(containers_of(world))


def leaves_of(plain: Plain) -> dict[str, list[tuple[Any, Any]]]:
    """The model as leaves by container, in the model's order of insertion."""
    return {
        "counts": list(plain.counts.items()),
        "items": list(plain.items.items()),
        "prices": list(plain.prices.items()),
        "seen": [(member, None) for member in plain.seen],
        "line": list(plain.line.items()),
        "levels": [((key, at), value) for key, queue in plain.levels.items() for at, value in queue.items()],
        "scalars": [(name, getattr(plain, name)) for name in SCALARS],
    }


def rebuilt(plain: Plain, order: Callable[[list[Any]], Iterable[Any]] = reversed) -> tuple[World, Store]:
    """A fresh world with the model's contents, put in anew in another order."""
    world = World()
    store = store_of(world)
    store.clear()
    for name, leaves in leaves_of(plain).items():
        store.ledgers[name].load(list(order(leaves)))
    return world, store
