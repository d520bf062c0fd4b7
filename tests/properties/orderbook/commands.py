"""Random commands of one small, busy market, and the ways to run them: on the book, and on the reference."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from demos.orderbook.book import Book
from demos.orderbook.records import (
    CANCEL_BOTH,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    CLOSED,
    CONTINUOUS,
    FOK,
    IOC,
    MARKET,
    POST_ONLY,
    Report,
)
from tests.properties.orderbook.reference import PRICES_MAX, Reference

Command = tuple[Any, ...]

# Few ids and prices, so that orders meet: ids are used again, levels fill and empty, owners (1 and 2; an id belongs to
# one of them, or to nobody) meet themselves.
IDS_MAX = 24
ids = st.integers(1, IDS_MAX)
sides = st.integers(0, 1)
prices = st.integers(20, 26) | st.integers(1, 50)
quantities = st.integers(1, 9) | st.integers(1, 60)
flags = st.builds(
    lambda kind, protect: kind | protect,
    st.sampled_from([0, 0, 0, IOC, FOK, POST_ONLY]),
    st.sampled_from([0, CANCEL_NEWEST, CANCEL_OLDEST, CANCEL_BOTH]),
)


def owner_of(order_id: int) -> int:
    """Whose order an id is."""
    return order_id % 3


def placed(
    order_id: int, side: int, quantity: int, price: int, flags: int = 0, display: int = 0, trigger: int = 0
) -> Command:
    """The command that places an order of the id's owner."""
    return ("place", order_id, side, quantity, price, owner_of(order_id), flags, display, trigger)


limits = st.builds(placed, ids, sides, quantities, prices)
protected = st.builds(placed, ids, sides, quantities, st.integers(20, 26), flags)
icebergs = st.builds(placed, ids, sides, st.integers(5, 60), prices, st.sampled_from([0, 8]), st.integers(1, 8))
stops = st.builds(
    placed, ids, sides, quantities, prices | st.just(MARKET), flags, st.sampled_from([0, 0, 4]), st.integers(18, 28)
)
markets = st.builds(placed, ids, sides, quantities, st.just(MARKET), st.sampled_from([0, 0, IOC, FOK, 16]))
strange = st.builds(
    placed,
    ids,
    sides,
    st.sampled_from([0, 5, 350]),
    st.integers(0, 50),
    flags | st.just(IOC | FOK),
    st.integers(0, 3),
    st.integers(0, 1),
)
modifications = st.builds(
    lambda order_id, quantity, price: ("modify", order_id, quantity, price, owner_of(order_id)),
    ids,
    quantities | st.integers(0, 3) | st.just(900),
    prices | prices | st.just(MARKET),
)
cancellations = st.builds(lambda order_id: ("cancel", order_id, owner_of(order_id)), ids)
strangers = st.builds(lambda order_id: ("cancel", order_id, 3), ids) | st.builds(
    lambda order_id: ("modify", order_id, 1, 22, 3), ids
)
mass_cancellations = st.builds(lambda owner: ("mass_cancel", owner), st.integers(0, 2))


def weighted(*choices: tuple[int, st.SearchStrategy[Command]]) -> st.SearchStrategy[Command]:
    """A choice of strategies, each as often as its weight says."""
    return st.sampled_from([each for weight, each in choices for _ in range(weight)]).flatmap(lambda chosen: chosen)


flow = weighted(
    (8, limits),
    (4, protected),
    (4, icebergs),
    (4, stops),
    (2, markets),
    (6, modifications),
    (3, cancellations),
    (1, mass_cancellations | strangers | strange),
)
phases = weighted(
    (1, st.just(("halt",))),
    (1, st.just(("resume",))),
    (1, st.just(("start_auction",))),
    (1, st.just(("uncross", CONTINUOUS))),
    (1, st.builds(lambda low, high: ("collar", low, high), st.integers(1, 22), st.integers(24, 50))),
    (1, st.builds(lambda price: ("reference", price), st.integers(0, 50))),
)
# A session of an exchange: stretches of continuous trading, auctions, and now and then a halt.
stretches = st.lists(flow, min_size=10, max_size=50)
auctions = st.builds(
    lambda gathered, after: [("start_auction",), *gathered, ("uncross", after)],
    st.lists(flow, min_size=5, max_size=25),
    st.sampled_from([CONTINUOUS, CONTINUOUS, CONTINUOUS, CLOSED]),
)
halts = st.builds(lambda meanwhile: [("halt",), *meanwhile, ("resume",)], st.lists(flow, max_size=5))
sessions = st.lists(
    st.one_of(stretches, stretches, auctions, halts, st.lists(phases, max_size=2)), min_size=1, max_size=4
).map(lambda parts: [command for part in parts for command in part])


def run(book: Book, command: Command) -> list[Report]:
    """Run one command on instrument 1 of a book; its reports."""
    reports: list[Report] = []
    sink = reports.append
    match command:
        case ("place", order_id, side, quantity, price, owner, flags, display, trigger):
            book.place(sink, order_id, 1, side, quantity, price, owner, flags, display, trigger)
        case ("modify", order_id, quantity, price, owner):
            book.modify(sink, order_id, quantity, price, owner)
        case ("cancel", order_id, owner):
            book.cancel(sink, order_id, owner)
        case ("mass_cancel", owner):
            book.mass_cancel(sink, owner)
        case ("uncross", phase):
            book.uncross(sink, 1, phase)
        case ("collar", low, high):
            book.set_collar(sink, 1, low, high)
        case ("reference", price):
            book.set_reference(sink, 1, price)
        case (name,):
            getattr(book, name)(sink, 1)
    return reports


def run_reference(reference: Reference, command: Command) -> list[Report]:
    """Run one command on the reference; its reports."""
    before = len(reference.reports)
    match command:
        case ("collar", low, high):
            reference.low, reference.high = low, high
        case ("reference", price):
            reference.reference = price
        case (name, *arguments):
            getattr(reference, name)(*arguments)
    return reference.reports[before:]


def open_market(book: Book, requeue: bool) -> Book:
    """List instrument 1, with the reference's bounds on prices."""
    book.list_instrument([].append, 1, "ONE", requeue=requeue)
    book.set_collar([].append, 1, 1, PRICES_MAX)
    return book
