"""The same book on plain and on tracked containers: equal reports, equal contents, and rollback at any command."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import rsm
from demos.orderbook import plain
from demos.orderbook.book import Book
from demos.orderbook.records import Market, Order, Tape
from rsm.machine.machine import containers_of
from rsm.state.store import Store
from tests.properties.orderbook.commands import Command, open_market, run, sessions


class Tracked(rsm.StateMachine, name="tracked", version=1):
    orders: rsm.Map[int, Order]
    levels: rsm.Table[int, rsm.Queue[int]]
    prices: rsm.SortedMap[int, None]
    owned: rsm.Table[int, rsm.Queue[int]]
    markets: rsm.Map[int, Market]
    tapes: rsm.Map[int, Tape]
    symbols: rsm.Map[str, int]


NAMES = ("orders", "levels", "prices", "owned", "markets", "tapes", "symbols")
QUEUES = ("levels", "owned")


def contents(book: Book) -> list[Any]:
    """Every container as (key, value) pairs, queues as (position, id) pairs."""
    return [
        [(key, list(value.items()) if name in QUEUES else value) for key, value in getattr(book, name).items()]
        for name in NAMES
    ]


@given(commands=sessions(), requeue=st.booleans(), undone=st.integers(1, 5))
def test_plain_and_tracked_books_are_equal(commands: list[Command], requeue: bool, undone: int) -> None:
    """Reports and contents are equal, also when every n-th command is undone and run again; the sums stay right."""
    machine = Tracked()
    store = Store(containers_of(machine))
    tracked = Book(**{name: getattr(machine, name) for name in NAMES})
    store.begin()
    open_market(tracked, requeue)
    bare = open_market(plain.new_book(), requeue)
    for number, command in enumerate(commands):
        if number % undone == 0:
            before, mark = contents(tracked), store.mark()
            run(tracked, command)
            store.rollback(mark)
            assert contents(tracked) == before
        assert run(tracked, command) == run(bare, command)
    store.end()
    store.verify()
    assert contents(tracked) == contents(bare)


keys = st.integers(-30, 30)
steps = st.lists(
    st.tuples(st.sampled_from(["set", "delete", "ceiling", "floor", "higher", "lower", "range"]), keys, keys),
    max_size=150,
)


@given(steps=steps, part=st.integers(2, 5))
def test_the_plain_sorted_map_is_a_sorted_dict(steps: list[tuple[str, int, int]], part: int) -> None:
    """Whatever is set and deleted, in parts of any size, neighbours and ranges are those of the sorted keys."""
    usual, plain.PART_KEYS_MAX = plain.PART_KEYS_MAX, part  # type: ignore[misc]  # small parts split often
    try:
        compare_sorted(steps)
    finally:
        plain.PART_KEYS_MAX = usual  # type: ignore[misc]  # as above


def compare_sorted(steps: list[tuple[str, int, int]]) -> None:
    ours: plain.SortedMap[int, int] = plain.SortedMap()
    model: dict[int, int] = {}
    for name, key, other in steps:
        order = sorted(model)
        match name:
            case "set":
                ours[key] = model[key] = other
            case "delete":
                assert ours.pop(key, None) == model.pop(key, None)
            case "ceiling":
                assert ours.ceiling(key) == next((k for k in order if k >= key), None)
            case "higher":
                assert ours.higher(key) == next((k for k in order if k > key), None)
            case "floor":
                assert ours.floor(key) == next((k for k in reversed(order) if k <= key), None)
            case "lower":
                assert ours.lower(key) == next((k for k in reversed(order) if k < key), None)
            case "range":
                expected = [k for k in order if key <= k < other]
                assert list(ours.range(key, other)) == expected
                assert list(ours.range(key, other, reverse=True)) == expected[::-1]
        order = sorted(model)
        assert list(ours.items()) == [(k, model[k]) for k in order]
        assert (ours.first(), ours.last()) == ((order[0], order[-1]) if order else (None, None))
