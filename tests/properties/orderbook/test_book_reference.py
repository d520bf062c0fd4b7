"""The book does what a plainly right, slow matcher does, command by command."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from demos.orderbook.book import Book
from demos.orderbook.plain import new_book
from tests.properties.orderbook.commands import IDS_MAX, Command, open_market, run, run_reference, sessions
from tests.properties.orderbook.reference import Reference


def live(book: Book, ids: range) -> dict[int, tuple[int, ...]]:
    """Every live order in the reference's words."""
    found = {}
    for order_id in ids:
        order = book.order(order_id)
        if order is not None:
            found[order_id] = (order.side, order.price, order.quantity, order.hidden, order.owner, order.trigger)
    return found


@given(commands=sessions(), requeue=st.booleans())
def test_reports_and_orders_equal_the_reference(commands: list[Command], requeue: bool) -> None:
    """Every command gives the reference's reports in its order, and leaves its orders, phase, depth and last price."""
    book = open_market(new_book(), requeue)
    reference = Reference(requeue)
    for number, command in enumerate(commands):
        assert run(book, command) == run_reference(reference, command), (number, command)
        expected = {
            order.order_id: (order.side, order.price, order.shown, order.hidden, order.owner, order.trigger)
            for order in reference.orders
        }
        assert live(book, range(IDS_MAX + 1)) == expected, (number, command)
        assert book.markets[1].phase == reference.phase
        assert book.tapes[1].last == reference.last
    for side in (0, 1):
        levels: dict[int, list[int]] = {}
        for order in reference.side(side):
            levels.setdefault(order.price, []).append(order.shown)
        depth = [(price, sum(shown), len(shown)) for price, shown in levels.items()]
        assert book.depth(1, side, 100) == depth
        assert book.depth(1, side, 2) == depth[:2]
    for owner in (1, 2):
        own = [order.order_id for order in reference.entered() if order.owner == owner]
        assert [order.order_id for order in book.open_orders(owner)] == own
