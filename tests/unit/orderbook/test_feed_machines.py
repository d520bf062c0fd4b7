"""Published feeds as machines: levels with their checksums, orders by reference; what does not fit is rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rsm
from demos.orderbook.feed_machine import OrderFeed
from demos.orderbook.level_machine import LevelFeed
from demos.orderbook.levels import ASK, BID
from demos.orderbook.records import BUY, SELL


@pytest.fixture
def levels(tmp_path: Path) -> Iterator[LevelFeed]:
    with rsm.open(LevelFeed, tmp_path / "levels", durability="os", principal="feed") as client:
        yield client


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[OrderFeed]:
    with rsm.open(OrderFeed, tmp_path / "orders", durability="os", principal="feed") as client:
        yield client


def test_an_update_with_its_checksum_is_applied(levels: LevelFeed) -> None:
    """Snapshot and update answer with the checksum of the book; queries show levels, sizes and decimals."""
    first = levels.snapshot_levels("P", 2, 1, 2, [(105, 10), (106, 20)], [(100, 30)])
    assert first != levels.update_levels("P", [(105, 0)], [(101, 5)])
    found = levels.update_levels("P", [], [(101, 6)])
    assert levels.update_levels("P", [], [(101, 6)], found) == found
    assert (levels.best("P", ASK), levels.best("P", BID)) == ([(106, 20)], [(101, 6), (100, 30)])
    assert levels.best("P", BID, 1) == [(101, 6)]
    assert (levels.size("P", ASK), levels.size("P", BID)) == (1, 2)
    assert (levels.decimals("P"), levels.names()) == ((1, 2), ["P"])
    assert (levels.best("Q", ASK), levels.size("Q", ASK), levels.decimals("Q")) == ([], 0, None)


def test_another_checksum_rolls_the_update_back(levels: LevelFeed) -> None:
    """The book stands as before, the reason has both sums and the place in the log, and nothing passes the bad one."""
    levels.snapshot_levels("P", 2, 1, 2, [(105, 10)], [(100, 30)], 1)
    before = levels.status().index
    sent = [
        levels.update_levels.send("P", [(104, 1)], [], 7, 2),
        levels.update_levels.send("P", [(103, 1)], [], None, 3),
    ]
    with pytest.raises(rsm.Rejected, match=rf"of P is \d+, the exchange says 7 \(log index {before + 1}, position 0\)"):
        sent[0].result()
    with pytest.raises(rsm.Rejected, match="number 3 leaves a gap"):
        sent[1].result()
    assert (levels.best("P", ASK), levels.last_number("feed")) == ([(105, 10)], 1)


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (lambda feed: feed.update_levels("Q", [], []), "'Q' has no snapshot yet"),
        (lambda feed: feed.update_levels("P", [(104, 1), (0, 1)], []), "price must be 1 to"),
        (lambda feed: feed.snapshot_levels("P", 0, 1, 2, [], []), "depth must be 1 to"),
    ],
)
def test_levels_that_no_feed_contains_are_rejected(
    levels: LevelFeed, bad: Callable[[LevelFeed], Any], what: str
) -> None:
    """The message is rejected as a whole."""
    levels.snapshot_levels("P", 2, 1, 2, [(105, 10)], [(100, 30)])
    with pytest.raises(rsm.Rejected, match=what):
        bad(levels)
    assert (levels.best("P", ASK), levels.best("P", BID)) == ([(105, 10)], [(100, 30)])


def test_each_command_of_an_order_feed_moves_the_book(orders: OrderFeed) -> None:
    """Add, reduce, delete, replace, names, states and notes; queries show queues, depth and counts."""
    orders.list_stock(1, "ONE")
    orders.set_state(1, "T")
    orders.note(1, "P")
    orders.note(0, "P")
    orders.add(1, 5, BUY, 100, 10)
    orders.add(1, 6, BUY, 50, 10)
    orders.add(1, 7, BUY, 20, 11)
    orders.add(1, 8, SELL, 5, 12)
    orders.reduce(1, 5, 30)
    orders.replace(1, 5, 9, 60, 10)
    orders.delete(1, 7)
    assert list(orders.resting(1, BUY)) == [(6, 10, 50), (9, 10, 60)]
    assert (orders.depth(1, BUY), orders.depth(1, SELL), orders.depth(1, BUY, 0)) == ([(10, 110)], [(12, 5)], [])
    assert orders.counts() == (3, 2, 1, 0)
    assert orders.noted() == {"P": 2}
    assert (orders.stock("ONE"), orders.stock("TWO"), orders.state(1), orders.state(2)) == (1, None, "T", None)


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (lambda feed: feed.add(1, 5, BUY, 1, 10), "order 5 is there already"),
        (lambda feed: feed.add(1, 6, 2, 1, 10), "side 2 is neither"),
        (lambda feed: feed.reduce(1, 5, 101), "101 shares of order 5, which has 100"),
        (lambda feed: feed.reduce(1, 6, 1), "no order 6"),
        (lambda feed: feed.delete(2, 5), "order 5 is of stock 1, not 2"),
        (lambda feed: feed.replace(1, 5, 6, 0, 10), "order 6 without shares"),
    ],
)
def test_messages_that_the_book_does_not_allow_are_rejected(
    orders: OrderFeed, bad: Callable[[OrderFeed], Any], what: str
) -> None:
    """Nothing changes."""
    orders.add(1, 5, BUY, 100, 10)
    with pytest.raises(rsm.Rejected, match=what):
        bad(orders)
    assert (list(orders.resting(1, BUY)), orders.counts()) == ([(5, 10, 100)], (1, 1, 0, 0))


def test_strangers_are_counted_where_they_are_allowed(orders: OrderFeed) -> None:
    """Orders from before a recording may be reduced and deleted; known ones are held to their shares all the same."""
    orders.add(1, 5, BUY, 100, 10)
    orders.reduce(1, 6, 10, must_exist=False)
    orders.delete(1, 6, must_exist=False)
    with pytest.raises(rsm.Rejected, match="101 shares"):
        orders.reduce(1, 5, 101, must_exist=False)
    orders.delete(1, 5, must_exist=False)
    assert orders.counts() == (0, 0, 0, 2)
