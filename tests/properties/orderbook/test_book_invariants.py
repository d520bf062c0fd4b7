"""What must hold of the book whatever happens, stated without any matcher to compare with."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from demos.orderbook.auction import clearing
from demos.orderbook.book import Book
from demos.orderbook.keys import instrument_of, kind_of, level_of, price_of
from demos.orderbook.plain import new_book
from demos.orderbook.records import (
    AUCTION,
    FOK,
    HALTED_AUCTION,
    MARKET,
    POST_ONLY,
    Accepted,
    Cancelled,
    Modified,
    Refused,
    Traded,
    Triggered,
)
from tests.properties.orderbook.commands import Command, open_market, run, sessions


def contents(book: Book) -> list[object]:
    """Everything the book keeps, as comparable values."""
    levels = [(level, list(book.levels[level].items())) for level in book.levels]
    owned = [(owner, list(book.owned[owner].items())) for owner in book.owned]
    maps = [list(container.items()) for container in (book.orders, book.prices, book.markets, book.tapes)]
    return [levels, owned, *maps]


@given(commands=sessions(), requeue=st.booleans())
def test_the_containers_agree_with_each_other(commands: list[Command], requeue: bool) -> None:
    """Each order is in its level and its owner's queue, and nothing else is; levels are indexed; stops are counted."""
    book = open_market(new_book(), requeue)
    for command in commands:
        run(book, command)
    places = {(level, position): order_id for level in book.levels for position, order_id in book.levels[level].items()}
    assert places == {(order.level, order.position): order_id for order_id, order in book.orders.items()}
    slots = {(owner, slot): order_id for owner in book.owned for slot, order_id in book.owned[owner].items()}
    assert slots == {(order.owner, order.slot): order_id for order_id, order in book.orders.items() if order.owner}
    assert list(book.prices) == list(book.levels)
    assert book.tapes[1].stops == sum(kind_of(order.level) > 1 for order in book.orders.values())
    assert all(order.quantity > 0 and order.hidden >= 0 for order in book.orders.values())


@given(commands=sessions(), requeue=st.booleans())
def test_the_book_is_crossed_only_in_auctions(commands: list[Command], requeue: bool) -> None:
    """Outside an auction the best bid is below the best ask, and no market order rests."""
    book = open_market(new_book(), requeue)
    for command in commands:
        run(book, command)
        if book.markets[1].phase in (AUCTION, HALTED_AUCTION):
            continue
        bid, ask = book.best(1)
        assert bid is None or ask is None or bid < ask
        assert all(price_of(level) != MARKET for level in book.prices)


@given(commands=sessions(), requeue=st.booleans())
def test_quantity_is_conserved(commands: list[Command], requeue: bool) -> None:
    """What was accepted, or left by the last modification, has traded, was cancelled, or is open: shown or hidden."""
    book = open_market(new_book(), requeue)
    due: Counter[int] = Counter()
    volume = 0
    for command in commands:
        for report in run(book, command):
            match report:
                case Accepted() | Modified():
                    due[report.order_id] = report.quantity
                case Traded():
                    due[report.maker] -= report.quantity
                    due[report.taker] -= report.quantity
                    volume += report.quantity
                case Cancelled():
                    assert report.quantity == due.pop(report.order_id)
        assert +due == due
        still = {order_id: order.quantity + order.hidden for order_id, order in book.orders.items()}
        assert still == {order_id: quantity for order_id, quantity in due.items() if quantity}
    if ("start_auction",) not in commands:
        assert book.tapes[1].volume == volume


@given(commands=sessions(), requeue=st.booleans())
def test_a_refusal_changes_nothing(commands: list[Command], requeue: bool) -> None:
    """After a refused command every container holds what it held, and the refusal is the only report."""
    book = open_market(new_book(), requeue)
    for command in commands:
        before = contents(book)
        reports = run(book, command)
        if any(isinstance(report, Refused) for report in reports):
            assert len(reports) == 1
            assert contents(book) == before


@given(commands=sessions(), requeue=st.booleans())
def test_all_or_nothing_and_never_taking(commands: list[Command], requeue: bool) -> None:
    """A fill-or-kill order trades in full or not at all; a post-only order never takes in a continuous market."""
    book = open_market(new_book(), requeue)
    all_or_nothing: dict[int, int] = {}
    post_only: set[int] = set()
    for command in commands:
        reports = run(book, command)
        if command[0] == "place" and any(isinstance(report, Accepted) for report in reports):
            (post_only.add if command[6] & POST_ONLY else post_only.discard)(command[1])
            all_or_nothing.pop(command[1], None)
            if command[6] & FOK:
                all_or_nothing[command[1]] = command[3]
        taken: Counter[int] = Counter()
        entered = {report.order_id for report in reports if isinstance(report, Accepted | Triggered)}
        for report in reports:
            if isinstance(report, Traded) and command[0] != "uncross":
                assert report.taker not in post_only
                taken[report.taker] += report.quantity
        for order_id, quantity in all_or_nothing.items():
            if order_id in entered:
                assert taken[order_id] in (0, quantity)
        assert not any(kind_of(book.orders[i].level) < 2 for i in all_or_nothing if i in book.orders)


@given(asks=st.lists(st.tuples(st.integers(1, 9), st.integers(20, 24)), max_size=40), sweep=st.integers(1, 250))
def test_first_come_first_served(asks: list[tuple[int, int]], sweep: int) -> None:
    """One order that sweeps a side trades with its orders by price, and within a price by their time of entry."""
    book = open_market(new_book(), False)
    for order_id, (quantity, price) in enumerate(asks):
        run(book, ("place", order_id, 1, quantity, price, 0, 0, 0, 0))
    reports = run(book, ("place", 99, 0, sweep, 50, 0, 0, 0, 0))
    expected, left = [], sweep
    for price, order_id, quantity in sorted((price, i, quantity) for i, (quantity, price) in enumerate(asks)):
        if left:
            expected.append((price, min(left, quantity), order_id))
            left -= min(left, quantity)
    assert [(r.price, r.quantity, r.maker) for r in reports if isinstance(r, Traded)] == expected


ladders = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), max_size=8)


@given(bids=ladders, asks=ladders, reference=st.integers(1, 15))
def test_the_clearing_price_is_the_best_there_is(
    bids: list[tuple[int, int]], asks: list[tuple[int, int]], reference: int
) -> None:
    """No price at all trades more; none that is named leaves a smaller surplus, or is as good and nearer."""

    def merits(price: int) -> tuple[int, int, int, int]:
        demand = sum(quantity for bid, quantity in bids if bid == MARKET or bid >= price)
        supply = sum(quantity for ask, quantity in asks if ask <= price)
        return min(demand, supply), -abs(demand - supply), -abs(price - reference), demand - supply

    named = {reference, *(price for price, _ in bids + asks if price != MARKET)}
    best = max(named, key=lambda price: merits(price)[:3])
    volume, _, _, surplus = merits(best)
    assert volume == max(merits(price)[0] for price in range(1, 20))
    assert [price for price in named if merits(price)[:3] == merits(best)[:3]] == [best]
    assert clearing(bids, asks, reference) == ((best, volume, surplus) if volume else None)


@given(
    first=st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 3), st.integers(0, 2**45 - 2)),
    second=st.tuples(st.integers(0, 2**16 - 1), st.integers(0, 3), st.integers(0, 2**45 - 2)),
)
def test_level_keys_sort_the_best_first(first: tuple[int, int, int], second: tuple[int, int, int]) -> None:
    """Keys are 63-bit, give back their parts, and sort by instrument, kind, then from the best price to the worst."""

    def rank(instrument: int, kind: int, price: int) -> tuple[int, int, int, int]:
        return instrument, kind, price != MARKET, price if kind in (1, 2) else -price

    key, other = level_of(*first), level_of(*second)
    assert 0 <= key < 2**63
    assert (instrument_of(key), kind_of(key), price_of(key)) == first
    assert (key < other, key == other) == (rank(*first) < rank(*second), first == second)
