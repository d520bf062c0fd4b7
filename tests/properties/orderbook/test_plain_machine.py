"""The same commands on a plain book and on a durable machine: equal outcomes, equal reports, equal books."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import rsm
from demos.orderbook import plain
from demos.orderbook.book import Book
from demos.orderbook.machine import OrderBook
from demos.orderbook.records import BUY, NOBODY, SELL, Report
from tests.properties.orderbook.commands import Command, sessions
from tests.properties.orderbook.reference import PRICES_MAX

# Where the owner stands in a command of each name; the machine takes it from the session instead.
OWNER_AT = {"place": 5, "modify": 4, "cancel": 2, "mass_cancel": 1}
NAMES = {"collar": "set_collar", "reference": "set_reference"}


class Owners:
    """Sessions by owner, and the numbers that the machine gives their principals, in the order of first use."""

    def __init__(self, operator: OrderBook) -> None:
        self._operator = operator
        self._sessions = {NOBODY: operator}
        self._numbers = {NOBODY: NOBODY}

    def session(self, owner: int) -> OrderBook:
        if owner not in self._sessions:
            self._sessions[owner] = self._operator.session(principal=f"trader {owner}")
        return self._sessions[owner]

    def number(self, owner: int) -> int:
        return self._numbers.setdefault(owner, len(self._numbers))


def on_machine(owners: Owners, command: Command) -> rsm.Pending[Any]:
    """Send one of the properties' commands to the machine, in its owner's session."""
    name, *values = command
    at = OWNER_AT.get(name)
    if at is None:
        return getattr(owners.session(NOBODY), NAMES.get(name, name)).send(1, *values)  # type: ignore[no-any-return]
    client = owners.session(values.pop(at - 1))
    if name == "place":
        values.insert(1, 1)
    return getattr(client, name).send(*values)  # type: ignore[no-any-return]  # a command by its name


def on_book(book: Book, owners: Owners, command: Command, sink: Any) -> Any:
    """Run the same command on a plain book, for the owner number that the machine gives."""
    name, *values = command
    at = OWNER_AT.get(name)
    if at is None:
        return getattr(book, NAMES.get(name, name))(sink, 1, *values)
    values[at - 1] = owners.number(values[at - 1])
    if name == "place":
        values.insert(1, 1)
    return getattr(book, name)(sink, *values)


def contents(book: Any, orders: list[int]) -> list[Any]:
    """Everything that queries show; a `Book` and a client answer alike."""
    return [
        [book.order(order_id) for order_id in orders],
        [book.depth(1, side, 1000) for side in (BUY, SELL)],
        book.best(1),
        book.market(1),
        book.statistics(1),
    ]


@settings(max_examples=25)
@given(commands=sessions(), requeue=st.booleans())
def test_plain_and_replicated_books_are_equal(commands: list[Command], requeue: bool) -> None:
    """Sent many at once through the log, and recovered from a snapshot: the book says what it says plain."""
    directory = tempfile.mkdtemp()
    try:
        bare = plain.new_book()
        reports: list[Report] = []
        bare.list_instrument(reports.append, 1, "ONE", requeue=requeue)
        bare.set_collar(reports.append, 1, 1, PRICES_MAX)
        with rsm.open(OrderBook, f"{directory}/d", durability="os") as client:
            owners = Owners(client)
            client.list_instrument(1, "ONE", requeue=requeue)
            client.set_collar(1, 1, PRICES_MAX)
            sent = [on_machine(owners, command) for command in commands]
            outcomes = [on_book(bare, owners, command, reports.append) for command in commands]
            assert [pending.result() for pending in sent] == outcomes
            assert [event.value for event in client.events()] == reports
            orders = sorted({command[1] for command in commands if command[0] == "place"})
            expected = contents(bare, orders)
            assert contents(client, orders) == expected
            client.snapshot()
        with rsm.open(OrderBook, f"{directory}/d", durability="os") as client:
            assert contents(client, orders) == expected
            assert client.counts() == (len(bare.orders), len(bare.levels))
    finally:
        shutil.rmtree(directory)
