"""A book of levels follows its feed: sets, removes, cuts to the depth, and computes the exchange's checksum."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demos.orderbook.levels import ASK, BID, INTEGER_MAX, Level, LevelBook, LevelsError, decimal_text
from tests.unit.orderbook.twins import PlainSortedMap

PAIRS = ("ADA/XBT", "XBT/CHF", "ZEC/EUR")
DEPTH = 12


def plain_book() -> LevelBook:
    return LevelBook(PlainSortedMap(), {}, {})


class Model:
    """The same book in the plainest way: a dict per side, sorted whenever asked."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: dict[int, dict[int, int]] = {BID: {}, ASK: {}}

    def best(self, side: int) -> list[Level]:
        return sorted(self.sides[side].items(), reverse=side == BID)

    def apply(self, side: int, changes: list[Level]) -> None:
        for price, quantity in changes:
            self.sides[side][price] = quantity
        kept = [(price, quantity) for price, quantity in self.best(side) if quantity]
        self.sides[side] = dict(kept[: self.depth])

    def checksum(self) -> int:
        ten = self.best(ASK)[:10] + self.best(BID)[:10]
        return zlib.crc32("".join(str(price) + str(quantity) for price, quantity in ten).encode())


positive = st.one_of(st.integers(1, 40), st.integers(1, INTEGER_MAX))
full_levels = st.lists(st.tuples(positive, st.integers(1, INTEGER_MAX)), max_size=20)
changes = st.lists(st.tuples(positive, st.one_of(st.just(0), st.integers(1, 99))), max_size=20)


messages = st.tuples(st.sampled_from(PAIRS), st.booleans(), full_levels, full_levels, changes, changes)


@given(st.lists(messages, max_size=25))
def test_any_feed_gives_the_model(feed: list[Any]) -> None:
    """Snapshots and updates of several pairs in any order leave levels, counts and checksums as a plain model has."""
    book = plain_book()
    models: dict[str, Model] = {}
    for pair, again, all_asks, all_bids, asks, bids in feed:
        if again or pair not in models:
            models[pair] = Model(DEPTH)
            got = book.snapshot(pair, DEPTH, 8, 8, all_asks, all_bids)
            asks, bids = all_asks, all_bids
        else:
            got = book.update(pair, asks, bids)
        models[pair].apply(ASK, asks)
        models[pair].apply(BID, bids)
        assert got == models[pair].checksum()
        for name, model in models.items():
            for side in (BID, ASK):
                assert book.best(name, side, 1000) == model.best(side)
                assert book.size(name, side) == len(model.best(side))
    assert book.pairs() == sorted(models)


def test_levels_are_cut_only_after_all_are_applied() -> None:
    """A level beyond the depth survives when the same update removes a better one."""
    book = plain_book()
    book.snapshot("P", 2, 0, 0, [(10, 1), (11, 1)], [(9, 1), (8, 1)])
    book.update("P", [(12, 5), (10, 0)], [(7, 5), (9, 0)])
    assert book.best("P", ASK, 9) == [(11, 1), (12, 5)]
    assert book.best("P", BID, 9) == [(8, 1), (7, 5)]
    book.update("P", [(10, 3)], [(9, 3)])
    assert book.best("P", ASK, 9) == [(10, 3), (11, 1)]
    assert book.best("P", BID, 9) == [(9, 3), (8, 1)]


def test_the_eleventh_level_does_not_count() -> None:
    """Ten levels a side make the checksum whatever the depth; a change below them shows only when one leaves."""
    book = plain_book()
    asks = [(100 + step, 1) for step in range(12)]
    before = book.snapshot("P", 1000, 0, 0, asks, [])
    assert book.update("P", [(110, 77)], []) == before
    assert book.update("P", [(109, 77)], []) != before


@pytest.mark.parametrize(("price", "quantity"), [(0, 1), (-1, 1), (1, -1), (INTEGER_MAX + 1, 1), (1, INTEGER_MAX + 1)])
def test_a_refused_message_changes_nothing(price: int, quantity: int) -> None:
    """Numbers out of range are refused before the first level of their message is applied."""
    book = plain_book()
    book.snapshot("P", 10, 0, 0, [(10, 1)], [(9, 1)])
    before = book.checksum("P")
    with pytest.raises(LevelsError, match="must be"):
        book.update("P", [(11, 1)], [(8, 1), (price, quantity)])
    with pytest.raises(LevelsError, match="must be"):
        book.snapshot("P", 10, 0, 0, [(50, 1)], [(price, quantity)])
    assert book.checksum("P") == before
    assert (book.best("P", ASK, 9), book.best("P", BID, 9)) == ([(10, 1)], [(9, 1)])


def test_mistakes_of_the_caller_are_named() -> None:
    """An unknown pair, a nameless one, and depth, decimals or a zero quantity out of range are refused."""
    book = plain_book()
    for wrong, what in [
        (lambda: book.update("P", [], []), "'P' has no snapshot"),
        (lambda: book.checksum("P"), "'P' has no snapshot"),
        (lambda: book.snapshot("", 10, 0, 0, [], []), "name"),
        (lambda: book.snapshot("P", 0, 0, 0, [], []), "depth"),
        (lambda: book.snapshot("P", 10, 19, 0, [], []), "decimals"),
        (lambda: book.snapshot("P", 10, 0, 0, [(1, 0)], []), "quantity must be 1"),
    ]:
        with pytest.raises(LevelsError, match=what):
            wrong()
    assert book.pairs() == []


def test_decimals_are_shown_as_on_the_wire() -> None:
    """A scaled integer comes back with its dot and leading zeros."""
    book = plain_book()
    book.snapshot("P", 10, 9, 8, [(22900, 1)], [])
    assert book.decimals("P") == (9, 8)
    assert decimal_text(22900, 9) == "0.000022900"
    assert decimal_text(35415000000, 8) == "354.15000000"
    assert decimal_text(7, 0) == "7"
    assert decimal_text(-7, 2) == "-0.07"
    assert decimal_text(0, 1) == "0.0"


def test_a_book_in_tracked_containers_is_the_same_book() -> None:
    """On a machine's containers the book gives the plain one's checksums, and rolls back to the level."""
    from rsm.machine.machine import StateMachine, containers_of
    from rsm.state.containers import Map, SortedMap
    from rsm.state.store import Store

    class Levels(StateMachine, name="levels", version=1):
        levels: SortedMap[tuple[int, int, int], int]
        pairs: Map[str, tuple[int, int, int, int]]
        counts: Map[tuple[int, int], int]

    machine = Levels()
    store = Store(containers_of(machine))
    tracked = LevelBook(machine.levels, machine.pairs, machine.counts)
    plain = plain_book()
    asks, bids = [(100 + step, 1 + step) for step in range(15)], [(99 - step, 1 + step) for step in range(15)]
    store.begin()
    assert tracked.snapshot("P", 12, 2, 8, asks, bids) == plain.snapshot("P", 12, 2, 8, asks, bids)
    store.end()
    before = store.digests()
    store.begin()
    tracked.update("P", [(90, 5), (101, 0)], [(99, 0)])
    tracked.snapshot("P", 5, 2, 8, [(7, 7)], [(6, 6)])
    store.rollback(0)
    store.end()
    assert store.digests() == before
    store.begin()
    assert tracked.update("P", [(90, 5)], [(99, 0)]) == plain.update("P", [(90, 5)], [(99, 0)])
    store.end()
    store.verify()
    assert store.digests() != before
    assert tracked.best("P", ASK, 99) == plain.best("P", ASK, 99)
