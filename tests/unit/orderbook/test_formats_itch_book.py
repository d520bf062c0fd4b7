"""A flow told as ITCH and read back gives the flow's own book; messages that no book allows are refused."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demos.orderbook.formats import Source, itch
from demos.orderbook.formats.book_calls import apply, lobster_call
from demos.orderbook.formats.itch import (
    AddOrder,
    AddOrderAttributed,
    Cancel,
    Delete,
    Executed,
    ExecutedWithPrice,
    Replace,
    SystemEvent,
    Trade,
)
from demos.orderbook.formats.itch_tape import Tape, TapeError
from demos.orderbook.formats.lobster import Event, LobsterRow
from demos.orderbook.plain import new_reference_book
from demos.orderbook.records import BUY, SELL
from demos.orderbook.reference_book import ReferenceBook, ReferenceBookError


class Matcher:
    """The plainest price-time matcher of limit and IOC orders, as an independent source of reports and books."""

    def __init__(self) -> None:
        self.levels: tuple[dict[int, deque[list[int]]], dict[int, deque[list[int]]]] = ({}, {})
        self.live: dict[int, tuple[int, int]] = {}

    def take(self, seq: int, kind: int, side: int, ioc: int, qty: int, order_id: int, price: int) -> list[Any]:
        if kind and order_id not in self.live:
            return [(3 + kind, seq, order_id)]
        if kind == 1:
            side, price = self.remove(order_id)
            return [(2, seq, side, order_id, price)]
        if kind == 2:
            side, _ = self.remove(order_id)
        elif order_id in self.live:
            return []
        reports: list[Any] = [(3 if kind else 0, seq, side, order_id, price, qty)]
        others = self.levels[1 - side]
        while qty and others:
            best = max(others) if side else min(others)
            if (best < price) if side else (best > price):
                break
            maker = others[best][0]
            traded = min(qty, maker[1])
            reports.append((1, seq, best, traded, maker[0], order_id))
            qty -= traded
            maker[1] -= traded
            if not maker[1]:
                self.remove(maker[0])
        if qty and ioc:
            reports.append((2, seq, side, order_id, price))
        elif qty:
            self.levels[side].setdefault(price, deque()).append([order_id, qty])
            self.live[order_id] = (side, price)
        return reports

    def remove(self, order_id: int) -> tuple[int, int]:
        side, price = self.live.pop(order_id)
        queue = self.levels[side][price]
        queue.remove(next(order for order in queue if order[0] == order_id))
        if not queue:
            del self.levels[side][price]
        return side, price

    def resting(self, side: int) -> list[list[int]]:
        """[order id, price, shares], best price first, then first come."""
        prices = sorted(self.levels[side], reverse=side == BUY)
        return [[order_id, price, shares] for price in prices for order_id, shares in self.levels[side][price]]


rows = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 2]),
        st.integers(0, 1),
        st.sampled_from([0, 0, 0, 1]),
        st.integers(1, 20),
        st.integers(1, 12),
        st.integers(99, 102),
    ),
    max_size=60,
)


@given(rows)
def test_a_flow_written_as_itch_gives_its_book_back(
    tmp_path_factory: pytest.TempPathFactory, flow: list[tuple[int, int, int, int, int, int]]
) -> None:
    """Any flow, matched, told as ITCH, written to a file and read back: every queue has its orders in order."""
    matcher = Matcher()
    tape = Tape(stock="TEST")
    reports = [report for seq, row in enumerate(flow) for report in matcher.take(seq, *row)]
    sink = io.BytesIO()
    itch.write(tape.day(reports), sink.write)
    path = tmp_path_factory.getbasetemp() / "flow.itch50"
    path.write_bytes(sink.getvalue())
    book = new_reference_book()
    with Source(path) as source:
        for message in itch.read(source):
            apply(book, message)
    ids = {ref: order_id for order_id, ref in tape.references.items()}
    for side in (BUY, SELL):
        found = [[ids[ref], price, shares] for ref, price, shares in book.resting(1, side)]
        assert found == matcher.resting(side)
        totals: dict[int, int] = {}
        for _, price, shares in matcher.resting(side):
            totals[price] = totals.get(price, 0) + shares
        assert list(book.depth(1, side)) == list(totals.items())


def test_a_modification_that_trades_and_rests_is_told_in_three_steps() -> None:
    """The old order leaves, its counterpart is executed, and only what is left is added; an IOC order never is."""
    tape = Tape()
    first = list(tape.messages(0, [(0, 0, 1, 1, 100, 4)])) + list(tape.messages(1, [(0, 1, 0, 2, 99, 10)]))
    assert [type(message) for message in first] == [AddOrder, AddOrder]
    told = list(tape.messages(2, [(1, 2, 100, 4, 1, 2), (3, 2, 0, 2, 100, 9)]))
    assert told == [Delete(1, 0, 2, 2), Executed(1, 0, 2, 1, 4, 1), AddOrder(1, 0, 2, 3, "B", 5, "FLOW", 100)]
    assert list(tape.messages(3, [(3, 3, 0, 2, 98, 7)])) == [Replace(1, 0, 3, 3, 4, 7, 98)]
    assert list(tape.messages(4, [(0, 4, 1, 9, 98, 10), (1, 4, 98, 7, 2, 9), (2, 4, 1, 9, 98)])) == [
        Executed(1, 0, 4, 4, 7, 2)
    ]
    assert tape.references == {}


def add(ref: int, side: str = "B", shares: int = 100, price: int = 10, locate: int = 1) -> AddOrder:
    return AddOrder(locate, 0, 0, ref, side, shares, "X", price)


def both(book: ReferenceBook, stock: int) -> tuple[list[Any], list[Any]]:
    """The levels of both sides of a stock."""
    return list(book.depth(stock, BUY)), list(book.depth(stock, SELL))


def test_each_message_type_moves_the_book() -> None:
    """Add, execute, cancel, delete and replace change orders and totals; trades off the book and events do not."""
    book = new_reference_book()
    assert apply(book, add(1))
    assert apply(book, AddOrderAttributed(1, 0, 0, 2, "B", 50, "X", 10, "MPID"))
    assert apply(book, add(3, "S", 70, 12))
    assert apply(book, add(4, "S", 70, 12, locate=2))
    assert apply(book, Executed(1, 0, 0, 1, 30, 1))
    assert apply(book, ExecutedWithPrice(1, 0, 0, 1, 30, 2, "Y", 11))
    assert list(book.resting(1, BUY)) == [(1, 10, 40), (2, 10, 50)]
    assert apply(book, Cancel(1, 0, 0, 2, 10))
    assert both(book, 1) == ([(10, 80)], [(12, 70)])
    assert list(book.resting(1, BUY)) == [(1, 10, 40), (2, 10, 40)]
    assert apply(book, Replace(1, 0, 0, 1, 5, 60, 10))
    assert list(book.resting(1, BUY)) == [(2, 10, 40), (5, 10, 60)]
    assert apply(book, add(6, price=11))
    assert list(book.resting(1, BUY)) == [(6, 11, 100), (2, 10, 40), (5, 10, 60)]
    assert apply(book, Delete(1, 0, 0, 6))
    assert apply(book, Delete(1, 0, 0, 2))
    assert apply(book, Cancel(1, 0, 0, 5, 60))
    assert both(book, 1) == ([], [(12, 70)])
    assert both(book, 2) == ([], [(12, 70)])
    assert not apply(book, Trade(1, 0, 0, 0, "B", 5, "X", 10, 9))
    assert not apply(book, SystemEvent(0, 0, 0, "C"))
    assert (list(book.resting(1, SELL)), list(book.resting(2, SELL))) == ([(3, 12, 70)], [(4, 12, 70)])


@pytest.mark.parametrize(
    ("event", "call"),
    [
        (Event.NEW, ("add", (1, 5, BUY, 30, 700))),
        (Event.CANCEL_PART, ("reduce", (1, 5, 30))),
        (Event.DELETE, ("delete", (1, 5))),
        (Event.EXECUTE_VISIBLE, ("reduce", (1, 5, 30))),
        (Event.EXECUTE_HIDDEN, ("note", (1, "5"))),
        (Event.CROSS, ("note", (1, "6"))),
        (Event.HALT, ("note", (1, "7"))),
    ],
)
def test_each_lobster_event_is_a_call(event: Event, call: tuple[str, tuple[Any, ...]]) -> None:
    """Direction 1 is the buy side; what never showed in the book is a note."""
    assert lobster_call(LobsterRow(0, event, 5, 30, 700, 1)) == call


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (add(1), "there already"),
        (add(9, shares=0), "without shares"),
        (Delete(1, 0, 0, 9), "no order 9"),
        (Delete(2, 0, 0, 1), "of stock 1, not 2"),
        (Executed(1, 0, 0, 1, 101, 1), "101 shares of order 1, which has 100"),
        (Cancel(1, 0, 0, 1, 0), "0 shares"),
        (Replace(1, 0, 0, 1, 2, 10, 10), "there already"),
        (Replace(1, 0, 0, 1, 3, 0, 10), "without shares"),
        (Replace(1, 0, 0, 1, 1, 0, 10), "without shares"),
        (Replace(1, 0, 0, 9, 3, 10, 10), "no order 9"),
    ],
)
def test_a_message_that_the_book_does_not_allow_changes_nothing(message: itch.Message, what: str) -> None:
    """Unknown and reused references, other stocks and too many shares are named, and the book stays."""
    book = new_reference_book()
    apply(book, add(1))
    apply(book, add(2, "S", 5, 12))
    with pytest.raises(ReferenceBookError, match=what):
        apply(book, message)
    assert (list(book.resting(1, BUY)), list(book.resting(1, SELL))) == ([(1, 10, 100)], [(2, 12, 5)])
    assert both(book, 1) == ([(10, 100)], [(12, 5)])


@pytest.mark.parametrize(
    ("reports", "what"),
    [
        ([(1, 0, 100, 5, 1, 2)], "without an incoming order"),
        ([(2, 0, 0, 1, 100)], "does not rest"),
        ([(3, 0, 0, 1, 100, 5)], "does not rest"),
        ([(0, 0, 0, 1, 100, 5), (0, 1, 0, 1, 100, 5)], "rests already"),
        ([(0, 0, 0, 1, 100, 5), (0, 1, 1, 2, 100, 6), (1, 1, 100, 6, 1, 2)], "trades 6 of order 1"),
    ],
)
def test_reports_that_no_book_gives_are_refused(reports: list[tuple[int, ...]], what: str) -> None:
    """A tape of impossible reports would describe no book."""

    def told() -> Iterator[itch.Message]:
        return Tape().day(reports)

    with pytest.raises(TapeError, match=what):
        list(told())
