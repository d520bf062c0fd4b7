"""What a tracked container does that a plain one does not: refuses, undoes, iterates in order."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rsm
import rsm.state.view
from rsm.machine.machine import open_view
from rsm.state.store import Store
from tests.unit.state.stores import batch, store_of


class Shelf(rsm.StateMachine, name="shelf"):
    """Every kind of container."""

    map: rsm.Map[str, int]
    ordered: rsm.SortedMap[int, str]
    seen: rsm.Set[str]
    queue: rsm.Queue[str]
    table: rsm.Table[int, rsm.Queue[int]]
    total: int


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def store(shelf: Shelf) -> Store:
    """A store with something in every container, keys inserted out of order."""
    store = store_of(shelf)
    with batch(store):
        for key in "cab":
            shelf.map[key] = ord(key)
            shelf.seen.add(key)
            shelf.queue.push(key)
        for number in (3, 1, 2):
            shelf.ordered[number] = str(number)
            shelf.table[number].push(number)
        shelf.total = 5
    return store


WRITES: dict[str, Callable[[Shelf], Any]] = {
    "map[]": lambda s: s.map.__setitem__("a", 1),
    "map del": lambda s: s.map.__delitem__("a"),
    "map pop": lambda s: s.map.pop("a"),
    "map setdefault": lambda s: s.map.setdefault("new", 1),
    "map update": lambda s: s.map.update(a=1),
    "map |=": lambda s: s.map.__ior__({"a": 1}),
    "map clear": lambda s: s.map.clear(),
    "ordered[]": lambda s: s.ordered.__setitem__(1, ""),
    "ordered del": lambda s: s.ordered.__delitem__(1),
    "ordered pop": lambda s: s.ordered.pop(1),
    "ordered clear": lambda s: s.ordered.clear(),
    "set add": lambda s: s.seen.add("new"),
    "set discard": lambda s: s.seen.discard("a"),
    "set remove": lambda s: s.seen.remove("a"),
    "set update": lambda s: s.seen.update(["new"]),
    "set clear": lambda s: s.seen.clear(),
    "queue push": lambda s: s.queue.push("x"),
    "queue push_front": lambda s: s.queue.push_front("x"),
    "queue remove": lambda s: s.queue.remove(1),
    "queue pop_first": lambda s: s.queue.pop_first(),
    "queue[]": lambda s: s.queue.__setitem__(1, "x"),
    "queue del": lambda s: s.queue.__delitem__(1),
    "queue clear": lambda s: s.queue.clear(),
    "table push": lambda s: s.table[1].push(1),
    "table push new": lambda s: s.table[9].push(1),
    "table push_front": lambda s: s.table[1].push_front(1),
    "table pop_first": lambda s: s.table[1].pop_first(),
    "table remove": lambda s: s.table[1].remove(0),
    "table []": lambda s: s.table[1].__setitem__(0, 9),
    "table queue clear": lambda s: s.table[1].clear(),
    "table del": lambda s: s.table.__delitem__(1),
    "table clear": lambda s: s.table.clear(),
    "scalar": lambda s: setattr(s, "total", 6),
}


def contents(s: Any) -> list[Any]:
    """All that the machine holds."""
    tables = [(key, queue.items()) for key, queue in s.table.items()]
    return [s.map.items(), s.ordered.items(), list(s.seen), s.queue.items(), tables, s.total]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_write_is_refused_outside_a_command(shelf: Shelf, store: Store, write: Callable[[Shelf], Any]) -> None:
    """Before and after a batch the contents, the roots and the ends of the queues stay as they are."""
    before, roots = contents(shelf), store.digests()
    with pytest.raises(TypeError, match="only inside a command"):
        write(shelf)
    assert contents(shelf) == before
    assert store.digests() == roots
    store.verify()
    with batch(store):
        assert (shelf.queue.push("y"), shelf.queue.push_front("z"), shelf.table[9].push(1)) == (3, -1, 0)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_every_write_inside_a_command_changes_the_root_and_can_be_undone(
    shelf: Shelf, store: Store, write: Callable[[Shelf], Any]
) -> None:
    """The undo log leads back to the same contents and root; without undoing, the root differs."""
    before, roots = contents(shelf), store.digests()
    store.begin()
    mark = store.mark()
    write(shelf)
    assert contents(shelf) != before
    assert store.mark() > mark
    store.rollback(mark)
    assert contents(shelf) == before
    store.end()
    assert store.digests() == roots
    store.verify()
    with batch(store):
        write(shelf)
    assert store.digests() != roots
    store.verify()


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_view_has_no_writing_half(shelf: Shelf, store: Store, write: Callable[[Shelf], Any]) -> None:
    """A streaming query that tries to write fails, also while a batch is open, and changes nothing."""
    view, close = open_view(shelf)
    store.begin()
    with pytest.raises((TypeError, AttributeError)):
        write(view)  # type: ignore[arg-type]  # it is the same class
    assert store.mark() == 0
    store.end()
    close()


REFUSED: dict[str, Callable[[Shelf], Any]] = {
    "map popitem": lambda s: s.map.popitem(),
    "set pop": lambda s: s.seen.pop(),
    "set |=": lambda s: s.seen.__ior__({"x"}),
    "set &=": lambda s: s.seen.__iand__({"x"}),
    "set -=": lambda s: s.seen.__isub__({"a"}),
    "set ^=": lambda s: s.seen.__ixor__({"a"}),
    "set difference_update": lambda s: s.seen.difference_update({"a"}),
    "set intersection_update": lambda s: s.seen.intersection_update({"a"}),
    "set symmetric_difference_update": lambda s: s.seen.symmetric_difference_update({"a"}),
    "queue pop": lambda s: s.queue.pop(0),
    "queue popitem": lambda s: s.queue.popitem(),
    "queue setdefault": lambda s: s.queue.setdefault(9, "x"),
    "queue update": lambda s: s.queue.update({9: "x"}),
    "queue |": lambda s: s.queue | {9: "x"},
    "queue reflected |": lambda s: {9: "x"} | s.queue,
    "queue copy": lambda s: s.queue.copy(),
    "table |": lambda s: s.table | {},
    "table reflected |": lambda s: {} | s.table,
    "table copy": lambda s: s.table.copy(),
    "queue |=": lambda s: s.queue.__ior__({9: "x"}),
    "table pop": lambda s: s.table.pop(1),
    "table popitem": lambda s: s.table.popitem(),
    "table setdefault": lambda s: s.table.setdefault(1, s.table[1]),
    "table update": lambda s: s.table.update({}),
    "table |=": lambda s: s.table.__ior__({}),
    "table[]": lambda s: s.table.__setitem__(1, s.table[2]),
}


@pytest.mark.parametrize("write", REFUSED.values(), ids=REFUSED)
def test_untracked_ways_of_writing_are_refused_inside_a_command_too(
    shelf: Shelf, store: Store, write: Callable[[Shelf], Any]
) -> None:
    """Whatever dict and set can do besides, they do not do to state."""
    before, roots = contents(shelf), store.digests()
    store.begin()
    with pytest.raises(TypeError):
        write(shelf)
    assert store.mark() == 0
    store.end()
    assert contents(shelf) == before
    assert store.digests() == roots


@pytest.mark.parametrize("name", ["map", "ordered", "seen", "queue", "table"])
@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_container_cannot_be_copied_or_pickled(shelf: Shelf, store: Store, name: str, copier: Any) -> None:
    """A copy would share the undo log and hold no books."""
    with pytest.raises(TypeError):
        copier(getattr(shelf, name))


UNORDERED: dict[str, Callable[[Any], Any]] = {
    "copy": lambda s: s.copy(),
    "|": lambda s: s | {"x"},
    "&": lambda s: s & {"a"},
    "-": lambda s: s - {"a"},
    "^": lambda s: s ^ {"a"},
    "union": lambda s: s.union({"x"}),
    "intersection": lambda s: s.intersection({"a"}),
    "difference": lambda s: s.difference({"a"}),
    "symmetric_difference": lambda s: s.symmetric_difference({"a"}),
}


@pytest.mark.parametrize("make", UNORDERED.values(), ids=UNORDERED)
def test_a_set_gives_no_plain_set_away(shelf: Shelf, store: Store, make: Callable[[Any], Any]) -> None:
    """A plain set of strings iterates by the process's hash seed; a replica that looped over one would diverge."""
    with pytest.raises(TypeError, match="differently on every replica"):
        make(shelf.seen)


def test_comparisons_of_sets_work(shelf: Shelf, store: Store) -> None:
    """What gives a bool depends on no order."""
    assert shelf.seen == {"a", "b", "c"}
    assert shelf.seen >= {"a"}
    assert shelf.seen.isdisjoint({"x"})
    assert shelf.seen.issubset("abcd")
    assert "a" in shelf.seen


EVERY_WAY: dict[str, Callable[[Any], Any]] = {
    "iter": list,
    "keys": lambda m: list(m.keys()),
    "items": lambda m: [key for key, _ in m.items()],
    "values": lambda m: [key for value in m.values() for key in m if m[key] == value],
    "star": lambda m: [*m],
    "dict": lambda m: list(dict(m)),
    "double star": lambda m: list({**m}),
    "copy": lambda m: list(m.copy()),
    "or": lambda m: list(m | {}),
    "reflected or": lambda m: list({} | m),
    "update": lambda m: list(_updated(m)),
    "reversed": lambda m: list(reversed(m))[::-1],
    "fromkeys": lambda m: list(dict.fromkeys(m)),
    "repr": lambda m: list(_evaluated(repr(m))),
}


def _updated(m: Any) -> dict[Any, Any]:
    plain: dict[Any, Any] = {}
    plain.update(m)
    return plain


def _evaluated(text: str) -> Any:
    plain: dict[Any, Any] = eval(text, {"Map": dict, "SortedMap": dict})
    return plain


@pytest.mark.parametrize("read", EVERY_WAY.values(), ids=EVERY_WAY)
@pytest.mark.parametrize("name", ["map", "ordered"])
def test_no_way_of_reading_a_map_shows_the_order_of_insertion(
    shelf: Shelf, store: Store, name: str, read: Callable[[Any], Any]
) -> None:
    """Undo and restore change the order of insertion, so nothing that a handler can see may depend on it."""
    live = getattr(shelf, name)
    assert list(dict.keys(live)) != sorted(dict.keys(live)), "the test needs another order underneath"
    assert read(live) == sorted(dict.keys(live))


@pytest.mark.parametrize("name", ["queue", "table"])
@pytest.mark.parametrize("way", ["keys", "items", "dict", "double star", "update"])
def test_no_way_of_reading_queues_shows_the_order_of_insertion(shelf: Shelf, store: Store, name: str, way: str) -> None:
    """Positions rise, keys of a table too, whatever was pushed in front or came back by an undo."""
    with batch(store):
        shelf.queue.push_front("z")
    live = getattr(shelf, name)
    assert list(dict.keys(live)) != sorted(dict.keys(live)), "the test needs another order underneath"
    assert EVERY_WAY[way](live) == sorted(dict.keys(live))


def test_a_map_reads_in_order_as_json_too(shelf: Shelf, store: Store) -> None:
    """The C encoder asks for items, not for the dict's own memory."""
    assert json.dumps(shelf.map) == '{"a": 97, "b": 98, "c": 99}'


def test_writing_while_iterating_follows_the_keys(shelf: Shelf, store: Store) -> None:
    """A Map iterates over its keys as they were; a SortedMap goes on with the next key that there is."""
    with batch(store):
        for key in shelf.map:
            del shelf.map[key]
        seen = []
        for number in shelf.ordered:
            seen.append(number)
            shelf.ordered.pop(2, None)
            shelf.ordered[max(number, 3) + 1] = "new"
            if number > 5:
                break
    assert len(shelf.map) == 0
    assert seen == [1, 3, 4, 5, 6]


def test_a_queue_begins_at_the_largest_live_position_plus_one(shelf: Shelf, store: Store) -> None:
    """Positions are functions of the live items alone: 0 when empty, holes are not remembered."""
    queue = shelf.queue
    with batch(store):
        assert (queue.push("d"), queue.remove(3), queue.push("e")) == (3, "d", 3)
        assert (queue.remove(2), queue.remove(3), queue.push("f")) == ("b", "e", 2)
        assert queue.push_front("g") == -1
        assert [queue.pop_first() for _ in range(4)] == ["g", "c", "a", "f"]
        with pytest.raises(IndexError):
            queue.pop_first()
        assert queue.push_front("h") == 0
        assert queue.push("i") == 1


def test_missing_keys_and_positions_are_named(shelf: Shelf, store: Store) -> None:
    """KeyError, as with a dict, and nothing is recorded."""
    store.begin()
    for miss in (
        lambda: shelf.map["x"],
        lambda: shelf.map.pop("x"),
        lambda: shelf.map.__delitem__("x"),
        lambda: shelf.ordered.pop(9),
        lambda: shelf.ordered.__delitem__(9),
        lambda: shelf.seen.remove("x"),
        lambda: shelf.queue[9],
        lambda: shelf.queue.remove(9),
        lambda: shelf.queue.__setitem__(9, "x"),
        lambda: shelf.table[1].remove(9),
        lambda: shelf.table.__delitem__(9),
    ):
        with pytest.raises(KeyError):
            miss()
    assert store.mark() == 0
    store.end()


def test_queues_join_and_leave_a_table_by_being_filled_and_emptied(shelf: Shelf, store: Store) -> None:
    """Taking a queue that is not there changes nothing; one handle may empty and fill it again."""
    with batch(store):
        absent = shelf.table[7]
        assert (len(absent), absent.first(), 7 in shelf.table) == (0, None, False)
        assert (absent.push(1), 7 in shelf.table, absent.pop_first(), 7 in shelf.table) == (0, True, 1, False)
        assert (absent.push(2), shelf.table[7].items()) == (0, [(0, 2)])
    assert list(shelf.table) == [1, 2, 3, 7]
    store.verify()


def test_two_handles_of_an_empty_queue_do_not_overwrite_each_other(shelf: Shelf, store: Store) -> None:
    """The second one to push is told so; what the first one pushed stays."""
    before = store.digests()
    store.begin()
    mark = store.mark()
    first, second = shelf.table[7], shelf.table[7]
    first.push(1)
    for push in (second.push, second.push_front):
        with pytest.raises(RuntimeError, match=r"take table\[7\] again"):
            push(2)
    emptied = shelf.table[1]
    emptied.clear()
    shelf.table[1].push(10)
    with pytest.raises(RuntimeError, match=r"take table\[1\] again"):
        emptied.push(11)
    assert (shelf.table[7].items(), shelf.table[1].items()) == ([(0, 1)], [(0, 10)])
    store.rollback(mark)
    store.end()
    assert store.digests() == before


def test_an_emptied_queue_takes_over_when_the_other_has_left(shelf: Shelf, store: Store) -> None:
    """A handle is refused only while another one's items wait in the table."""
    with batch(store):
        first, second = shelf.table[7], shelf.table[7]
        first.push(1)
        first.clear()
        assert second.push(2) == 0
    assert shelf.table[7].items() == [(0, 2)]
    store.verify()


def test_a_generator_of_keys_may_outlive_a_rollback(shelf: Shelf, store: Store) -> None:
    """A range under way goes on by key when what it stood on is undone."""
    store.begin()
    mark = store.mark()
    for number in range(10, 20):
        shelf.ordered[number] = ""
    walk: Iterator[int] = iter(shelf.ordered)
    assert [next(walk) for _ in range(6)] == [1, 2, 3, 10, 11, 12]
    store.rollback(mark)
    assert list(walk) == []
    store.end()


def test_a_view_that_would_cost_too_much_says_so(shelf: Shelf, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the old values of so many leaves and no more; containers that changed less are still read."""
    monkeypatch.setattr(rsm.state.view, "VIEW_LEAVES_MAX", 3)
    view, close = open_view(shelf)
    before = contents(shelf)
    with batch(store):
        shelf.map.update({"a": 0, "b": 0, "c": 0})
        shelf.seen.add("new")
    assert contents(view) == before
    with batch(store):
        shelf.map["d"] = 1
        shelf.map["a"] = 1
    for read in (lambda: view.map.items(), lambda: view.map["b"], lambda: list(view.map), lambda: "d" in view.map):
        with pytest.raises(rsm.LimitExceeded, match="more than 3 keys changed"):
            read()
    assert list(view.seen) == before[2]
    close()
