"""The order book as a machine: who trades for whom, what ends with a session, typed answers, numbered commands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rsm
from demos.orderbook import machine
from demos.orderbook.book import Book
from demos.orderbook.machine import OrderBook
from demos.orderbook.records import (
    AUCTION,
    BUY,
    CLOSED,
    CONTINUOUS,
    HALTED,
    IOC,
    MARKET,
    SELL,
    Accepted,
    Cancelled,
    Market,
    Modified,
    OpenOrder,
    Operation,
    Outcome,
    PhaseChanged,
    Reason,
    Refused,
    Report,
    Tape,
    Traded,
    Uncrossed,
)

DONE = Outcome(Reason.NONE, 0, 0)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[OrderBook]:
    """A machine with one market, and an operator's session without a principal."""
    with rsm.open(OrderBook, tmp_path / "d", durability="os") as client:
        assert client.list_instrument(1, "ONE") == DONE
        yield client


def reports(book: OrderBook) -> list[Report]:
    """All events so far, without the listing's."""
    return [event.value for event in book.events()][1:]


def live(book: OrderBook) -> list[int]:
    """The ids of all resting orders."""
    return sorted(order_id for side in (BUY, SELL) for order_id, _, _ in book.resting(1, side))


def test_every_trader_command_answers_and_reports(book: OrderBook) -> None:
    """Outcomes come back as typed records, and each command's reports are the machine's events in order."""
    ann = book.session(principal="ann")
    assert ann.place(1, 1, SELL, 10, 100) == Outcome(Reason.NONE, 0, 10)
    assert ann.modify(1, 8, 101) == Outcome(Reason.NONE, 0, 8)
    assert ann.place(2, 1, BUY, 5, 101, flags=IOC) == Outcome(Reason.NONE, 5, 0)
    assert ann.cancel(1) == DONE
    assert ann.cancel(1) == Outcome(Reason.UNKNOWN_ORDER, 0, 0)
    assert [ann.place(number, 1, BUY, 1, 50).resting for number in (3, 4)] == [1, 1]
    assert ann.mass_cancel(instrument=2) == 0
    assert ann.mass_cancel() == 2
    assert reports(book) == [
        Accepted(1, 1, SELL, 100, 10),
        Modified(1, 1, SELL, 101, 8),
        Accepted(2, 1, BUY, 101, 5),
        Traded(1, 101, 5, 1, 2, BUY),
        Cancelled(1, 1, SELL, 101, 3, Reason.NONE),
        Refused(1, Operation.CANCEL, Reason.UNKNOWN_ORDER),
        Accepted(3, 1, BUY, 50, 1),
        Accepted(4, 1, BUY, 50, 1),
        Cancelled(3, 1, BUY, 50, 1, Reason.MASS_CANCEL),
        Cancelled(4, 1, BUY, 50, 1, Reason.MASS_CANCEL),
    ]


def test_every_operator_command_moves_its_market(book: OrderBook) -> None:
    """Listing, collar, reference, halt, resume, auction and uncross; refusals are outcomes."""
    assert book.list_instrument(1, "TWO").reason is Reason.DUPLICATE_INSTRUMENT
    assert book.list_instrument(2, "TWO", phase=CLOSED, requeue=True) == DONE
    assert book.set_collar(1, 90, 110) == DONE
    assert book.place(1, 1, BUY, 1, 111).reason is Reason.OUTSIDE_COLLAR
    assert book.set_reference(1, 100) == DONE
    assert book.market(1) == Market("ONE", CONTINUOUS, False, 90, 110, 100)
    assert book.set_collar(1) == DONE
    assert book.halt(1) == DONE
    assert book.halt(1).reason is Reason.WRONG_PHASE
    market = book.market(1)
    assert market is not None
    assert (market.phase, market.collar_low) == (HALTED, 1)
    assert book.resume(1) == DONE
    assert book.start_auction(1) == DONE
    assert book.place(1, 1, BUY, 5, 105) == Outcome(Reason.NONE, 0, 5)
    assert book.place(2, 1, SELL, 3, 95) == Outcome(Reason.NONE, 0, 3)
    assert book.uncross(1, CLOSED) == DONE
    said = reports(book)
    assert Uncrossed(1, 100, 3, 2) in said
    assert [report for report in said if isinstance(report, PhaseChanged)] == [
        PhaseChanged(2, CLOSED),
        PhaseChanged(1, HALTED),
        PhaseChanged(1, CONTINUOUS),
        PhaseChanged(1, AUCTION),
        PhaseChanged(1, CLOSED),
    ]


def test_every_query_gives_typed_results(book: OrderBook) -> None:
    """Records, tuples and None come back as the annotations say, with nothing for what is not there."""
    ann = book.session(principal="ann")
    ann.place(1, 1, SELL, 10, 100, display=4)
    ann.place(2, 1, SELL, 3, 99)
    ann.place(3, 1, BUY, 1, 99)
    ann.place(4, 1, BUY, 7, MARKET, flags=IOC)
    ann.place(5, 1, BUY, 2, 98)
    assert (book.instrument("ONE"), book.instrument("TWO")) == (1, None)
    assert (book.best(1), book.best(2)) == ((98, 100), (None, None))
    assert book.depth(1, SELL) == [(100, 3, 1)]
    assert book.depth(1, SELL, levels_max=0) == []
    order = OpenOrder(1, 1, SELL, 100, 3, 2, 1, 0, 4, 0)
    assert (book.order(1), book.order(2)) == (order, None)
    assert [each.order_id for each in book.open_orders("ann")] == [1, 5]
    assert book.open_orders("bob") == []
    assert list(book.resting(1, SELL)) == [(1, 100, 5)]
    assert list(book.resting(1, BUY)) == [(5, 98, 2)]
    assert (book.market(1), book.market(2)) == (Market("ONE", CONTINUOUS, False, 1, 2**45 - 2, 0), None)
    tape = book.statistics(1)
    assert isinstance(tape, Tape)
    assert (tape.last, tape.volume, tape.trades, book.statistics(2)) == (100, 8, 4, None)
    assert book.counts() == (2, 2)


def test_orders_belong_to_principals(book: OrderBook) -> None:
    """Another principal's order is as good as unknown; two sessions of one principal share theirs."""
    ann, bob = book.session(principal="ann"), book.session(principal="bob")
    ann.place(1, 1, BUY, 1, 50)
    bob.place(2, 1, BUY, 1, 50)
    book.place(3, 1, BUY, 1, 50)
    unknown = Outcome(Reason.UNKNOWN_ORDER, 0, 0)
    assert bob.cancel(1) == bob.modify(1, 1, 51) == book.cancel(1) == ann.cancel(3) == unknown
    assert book.session(principal="ann").modify(1, 2, 51) == Outcome(Reason.NONE, 0, 2)
    assert (book.mass_cancel(), live(book)) == (0, [1, 2, 3])
    assert book.cancel(3) == DONE
    assert [each.owner for each in book.open_orders("bob")] == [2]


def test_orders_cancel_when_their_session_closes_if_it_asked(book: OrderBook) -> None:
    """Only sessions that asked, and that did not take it back, take their principal's orders with them."""
    traders = {name: book.session(principal=name) for name in ("ann", "bob", "eve")}
    for order_id, trader in enumerate(traders.values(), 1):
        trader.place(order_id, 1, BUY, 1, 50)
    traders["ann"].cancel_on_disconnect()
    traders["eve"].cancel_on_disconnect()
    traders["eve"].cancel_on_disconnect(False)
    for trader in traders.values():
        trader.close()
    assert live(book) == [2, 3]
    assert reports(book)[-1] == Cancelled(1, 1, BUY, 50, 1, Reason.MASS_CANCEL)


def test_orders_cancel_when_their_session_expires(book: OrderBook) -> None:
    """Silence for the session's time to live is a disconnect too, seen by the log's own clock."""
    ann = book.session(principal="ann", ttl_seconds=0.2)
    ann.cancel_on_disconnect()
    ann.place(1, 1, BUY, 1, 50)
    assert live(book) == [1]
    deadline = time.monotonic() + 10
    while live(book) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert live(book) == []
    with pytest.raises(rsm.SessionExpired):
        ann.place(2, 1, BUY, 1, 50)


def test_many_orders_cancel_in_slices(book: OrderBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trader with more orders than one command takes out loses them all, a slice an entry, and nobody else's."""
    monkeypatch.setattr(machine, "MASS_CANCEL_ORDERS_MAX", 10)
    monkeypatch.setattr(Book.mass_cancel, "__defaults__", (None, 10))
    ann = book.session(principal="ann")
    for order_id in range(1, 36):
        ann.place(order_id, 1, BUY, 1, 50)
    book.session(principal="bob").place(99, 1, BUY, 1, 50)
    ann.cancel_on_disconnect()
    with pytest.raises(rsm.Rejected, match="timers"):
        ann.sweep(1)
    ann.close()
    deadline = time.monotonic() + 10
    while len(live(book)) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert live(book) == [99]


def test_orders_cancel_when_their_process_has_died(tmp_path: Path) -> None:
    """A session without a time to live ends with its process: the next one to open the machine finds no orders."""
    with rsm.open(OrderBook, tmp_path / "d", principal="ann") as ann:
        ann.list_instrument(1, "ONE")
        ann.place(1, 1, BUY, 1, 50)
        ann.cancel_on_disconnect()
        assert live(ann) == [1]
    with rsm.open(OrderBook, tmp_path / "d") as book:
        assert live(book) == []


def test_a_session_without_a_principal_cannot_cancel_on_disconnect(book: OrderBook) -> None:
    """It owns no orders, so the promise would be empty."""
    with pytest.raises(rsm.Rejected, match="owns no orders"):
        book.cancel_on_disconnect()


def test_what_fails_validation_names_its_field_and_reaches_no_log(book: OrderBook) -> None:
    """A string for a price, and a quantity of 65 bits."""
    before = book.status().index
    with pytest.raises(rsm.InvalidCommand, match="price") as caught:
        book.place(1, 1, BUY, 1, "50")  # type: ignore[arg-type]  # the mistake that is tested
    assert caught.value.field == "price"
    with pytest.raises(rsm.InvalidCommand, match="quantity"):
        book.place(1, 1, BUY, 2**64, 50)
    assert book.status().index == before


def test_numbers_take_effect_once_and_in_order(book: OrderBook) -> None:
    """A repeated number and a gap are rejected and change nothing; a refused order has its number all the same."""
    ann = book.session(principal="ann")
    ann.place(1, 1, BUY, 1, 50, number=1)
    assert ann.place(1, 1, BUY, 1, 50, number=2).reason is Reason.DUPLICATE_ORDER
    with pytest.raises(rsm.Rejected, match=r"number 2 was used before: the last one was 2 \(log index"):
        ann.cancel(1, number=2)
    with pytest.raises(rsm.Rejected, match="number 4 leaves a gap: the last one was 2"):
        ann.modify(1, 1, 51, number=4)
    with pytest.raises(rsm.Rejected, match="was used before"):
        ann.mass_cancel(number=-1)
    assert live(book) == [1]
    assert ann.mass_cancel(number=3) == 1
    ann.place(5, 1, BUY, 1, 50)
    assert (book.last_number("ann"), book.last_number("bob"), book.senders()) == (3, 0, ["ann"])
    with pytest.raises(rsm.Rejected, match="needs a sender"):
        book.place(2, 1, BUY, 1, 50, number=1)


def test_commands_in_flight_behind_a_rejected_number_do_not_pass(book: OrderBook) -> None:
    """Many sent at once, one missing: none behind the gap takes effect."""
    ann = book.session(principal="ann")
    sent = [ann.place.send(number, 1, BUY, 1, 50, number=number) for number in (1, 2, 4, 5, 6)]
    assert [pending.result().resting for pending in sent[:2]] == [1, 1]
    for pending in sent[2:]:
        with pytest.raises(rsm.Rejected, match="leaves a gap"):
            pending.result()
    assert live(book) == [1, 2]


def test_book_and_numbers_survive_a_snapshot(tmp_path: Path) -> None:
    """Orders, owners, numbers and phases come back from a snapshot and the log behind it."""
    with rsm.open(OrderBook, tmp_path / "d", principal="ann") as ann:
        ann.list_instrument(1, "ONE")
        ann.place(1, 1, BUY, 3, 50, number=1)
        ann.snapshot()
        ann.place(2, 1, BUY, 3, 50, number=2)
    with rsm.open(OrderBook, tmp_path / "d", principal="ann") as ann:
        assert list(ann.resting(1, BUY)) == [(1, 50, 3), (2, 50, 3)]
        assert ann.last_number("ann") == 2
        assert ann.cancel(1, number=3) == DONE
