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

# Few prices, so that orders meet. An id belongs to nobody, 1 or 2 for good, so that owners meet themselves.
IDS_MAX = 300
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


# (side, quantity, price, flags, display, trigger) of orders of each kind
limits = st.tuples(sides, quantities, prices, st.just(0), st.just(0), st.just(0))
protected = st.tuples(sides, quantities, st.integers(20, 26), flags, st.just(0), st.just(0))
icebergs = st.tuples(
    sides, st.integers(5, 60), prices, st.sampled_from([0, CANCEL_NEWEST]), st.integers(1, 8), st.just(0)
)
stops = st.tuples(
    sides, quantities, prices | st.just(MARKET), flags, st.sampled_from([0, 0, 0, 4]), st.integers(18, 28)
)
markets = st.tuples(
    sides, quantities, st.just(MARKET), st.sampled_from([0, 0, IOC, FOK, CANCEL_OLDEST]), st.just(0), st.just(0)
)
strange = st.tuples(
    sides,
    st.sampled_from([0, 5, 350]),
    st.integers(0, 50),
    flags | st.just(IOC | FOK),
    st.integers(0, 3),
    st.integers(0, 1),
)
ORDERS = (*[limits] * 5, *[protected] * 3, *[icebergs] * 3, *[stops] * 4, *[markets] * 2, strange)
# How often each kind of command comes, of 20.
COMMANDS = (
    *["place"] * 12,
    *["modify"] * 4,
    *["cancel"] * 2,
    "mass_cancel or stranger",
    "phase",
)
PHASES = st.one_of(
    st.sampled_from([("halt",), ("resume",), ("start_auction",), ("uncross", CONTINUOUS)]),
    st.builds(lambda low, high: ("collar", low, high), st.integers(1, 22), st.integers(24, 50)),
    st.builds(lambda price: ("reference", price), st.integers(0, 50)),
)
changes = st.tuples(quantities | st.integers(0, 3) | st.just(900), prices | prices | st.just(MARKET))


@st.composite
def sessions(draw: st.DrawFn) -> list[Command]:
    """A session of an exchange: stretches of continuous trading, of auctions, and now and then a halt."""
    commands: list[Command] = []
    known = [1]
    for _ in range(draw(st.integers(1, 4))):
        before, after = draw(
            st.sampled_from(
                [
                    ((), ()),
                    ((), ()),
                    ((("start_auction",),), (("uncross", CONTINUOUS),)),
                    ((("start_auction",),), (("uncross", CLOSED),)),
                    ((("halt",),), (("resume",),)),
                ]
            )
        )
        commands += before
        least, most = (0, 6) if before == (("halt",),) else (15, 40)
        for kind in draw(st.lists(st.sampled_from(COMMANDS), min_size=least, max_size=most)):
            commands.append(draw_command(draw, kind, known))
        commands += after
    return commands


def draw_command(draw: st.DrawFn, kind: str, known: list[int]) -> Command:
    """One command; `known` are the ids used so far, of which the last are the likeliest to be live."""
    recent = st.sampled_from(known[-12:])
    if kind == "place":
        order_id = draw(recent) if draw(st.integers(0, 9)) == 9 else len(known) + 1
        known.append(order_id)
        side, quantity, price, *terms = draw(draw(st.sampled_from(ORDERS)))
        return ("place", order_id, side, quantity, price, owner_of(order_id), *terms)
    if kind == "modify":
        order_id = draw(recent)
        return ("modify", order_id, *draw(changes), owner_of(order_id))
    if kind == "cancel":
        order_id = draw(recent)
        return ("cancel", order_id, owner_of(order_id))
    if kind == "phase":
        return draw(PHASES)
    return draw(
        st.sampled_from(
            [("mass_cancel", draw(st.integers(0, 2))), ("cancel", draw(recent), 3), ("modify", draw(recent), 1, 22, 3)]
        )
    )


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
