"""Stops: what elects them, in which order, and what becomes of them."""

from __future__ import annotations

import pytest

from demos.orderbook.records import (
    BUY,
    CANCEL_NEWEST,
    CLOSED,
    CONTINUOUS,
    FOK,
    IOC,
    MARKET,
    SELL,
    Accepted,
    Cancelled,
    Outcome,
    PhaseChanged,
    Reason,
    Refused,
    Traded,
    Triggered,
    Uncrossed,
)
from tests.unit.orderbook.desk import Desk


@pytest.fixture
def desk() -> Desk:
    """A market that has traded at 100 and has far bids and asks."""
    desk = Desk()
    desk.sell(90, 1, 100)
    desk.buy(91, 1, 100)
    for number in range(1, 6):
        desk.sell(100 + number, 10, 100 + number)
        desk.buy(200 + number, 10, 100 - number)
    return desk


def trade_at(desk: Desk, price: int) -> None:
    """One lot trades at the best ask or bid, which must be `price`."""
    desk.call("place", 999, 1, BUY if price > 100 else SELL, 1, price, flags=IOC)
    assert desk.trades()[0][0] == price


def test_a_stop_waits_unseen(desk: Desk) -> None:
    """It is acknowledged, answered as resting, in nobody's depth, and not traded with."""
    assert desk.buy(1, 5, MARKET, trigger=102) == Outcome(Reason.NONE, 0, 5)
    assert desk.reports == [Accepted(1, 1, BUY, MARKET, 5)]
    assert desk.book.best(1) == (99, 101)
    assert sum(quantity for _, quantity, _ in desk.bids()) == 50
    trade_at(desk, 101)
    assert desk.said(Triggered) == []
    tape = desk.book.statistics(1)
    assert tape is not None
    assert tape.stops == 1


def test_a_buy_stop_is_elected_by_a_trade_at_or_above(desk: Desk) -> None:
    """A trade at its trigger turns it into a market order."""
    desk.buy(1, 12, MARKET, trigger=101)
    trade_at(desk, 101)
    assert desk.said(Triggered) == [(1, 1, BUY, MARKET, 12)]
    assert desk.trades() == [(101, 1, 101, 999), (101, 9, 101, 1), (102, 3, 102, 1)]
    assert desk.book.order(1) is None


def test_a_sell_stop_is_elected_by_a_trade_at_or_below(desk: Desk) -> None:
    """The mirror image; a trade past the trigger elects as well."""
    desk.sell(1, 3, MARKET, trigger=99)
    desk.sell(999, 25, 97)
    assert desk.said(Triggered) == [(1, 1, SELL, MARKET, 3)]
    assert desk.trades()[-1] == (97, 3, 203, 1)


def test_a_stop_limit_rests_at_its_limit(desk: Desk) -> None:
    """Elected, it trades to its limit and rests there like any order, under its own id."""
    desk.buy(1, 12, 101, trigger=101)
    trade_at(desk, 101)
    assert desk.trades() == [(101, 1, 101, 999), (101, 9, 101, 1)]
    assert desk.bids()[0] == (101, 3, 1)
    assert desk.call("cancel", 1).reason == Reason.NONE


def test_a_stop_that_is_reached_already_runs_at_once(desk: Desk) -> None:
    """The last trade counts, not only the next one; without any trade a stop waits."""
    desk.buy(1, 1, MARKET, trigger=100)
    assert desk.trades() == [(101, 1, 101, 1)]
    fresh = Desk()
    fresh.sell(5, 5, 1)
    assert fresh.sell(1, 5, MARKET, trigger=50).resting == 5
    assert fresh.said(Triggered) == []


def test_the_order_of_election(desk: Desk) -> None:
    """Buys before sells, the nearest trigger first, then time of entry."""
    desk.buy(3, 1, 50, trigger=103)
    desk.buy(1, 1, 50, trigger=102)
    desk.buy(2, 1, 50, trigger=102)
    desk.sell(5, 1, 300, trigger=97)
    desk.sell(4, 1, 300, trigger=98)
    desk.call("halt", 1)
    desk.call("resume", 1)
    assert desk.said(Triggered) == []
    desk.call("cancel", 101)
    desk.call("cancel", 102)
    trade_at(desk, 103)
    assert [fields[0] for fields in desk.said(Triggered)] == [1, 2, 3]
    desk.sell(999, 40, 97)
    assert [fields[0] for fields in desk.said(Triggered)] == [4, 5]


def test_a_cascade_ends_within_its_command(desk: Desk) -> None:
    """A stop's own trades elect the next; between two steps buys come first again."""
    desk.buy(1, 10, MARKET, trigger=101)
    desk.buy(2, 10, MARKET, trigger=102)
    desk.buy(3, 10, MARKET, trigger=104)
    desk.buy(9, 1, 101)
    assert [fields[0] for fields in desk.said(Triggered)] == [1, 2]
    assert desk.book.best(1)[1] == 103
    tape = desk.book.statistics(1)
    assert tape is not None
    assert (tape.last, tape.stops) == (103, 1)


def test_elected_stops_obey_their_flags(desk: Desk) -> None:
    """IOC cancels the rest, FOK cancels all of it, self-trade prevention holds."""
    desk.buy(1, 12, 101, trigger=101, flags=IOC)
    desk.buy(2, 99, MARKET, trigger=101, flags=FOK)
    desk.sell(1030, 10, 102, owner=7)
    desk.call("cancel", 102)
    desk.buy(3, 10, MARKET, trigger=101, flags=CANCEL_NEWEST, owner=7)
    trade_at(desk, 101)
    assert desk.said(Cancelled) == [
        (1, 1, BUY, 101, 3, Reason.UNFILLED),
        (2, 1, BUY, MARKET, 99, Reason.NOT_FILLABLE),
        (3, 1, BUY, MARKET, 10, Reason.SELF_TRADE),
    ]
    assert [order.order_id for order in desk.book.open_orders(7)] == [1030]


def test_a_stop_iceberg_is_cut_into_slices_when_it_enters(desk: Desk) -> None:
    """Its quantity is whole while it waits; elected, it shows one slice."""
    desk.buy(1, 12, 100, trigger=101, display=5)
    trade_at(desk, 101)
    assert desk.bids()[0] == (100, 5, 1)
    order = desk.book.order(1)
    assert order is not None
    assert (order.quantity, order.hidden) == (5, 7)


def test_a_waiting_stop_can_be_cancelled_but_not_modified(desk: Desk) -> None:
    """Its cancellation names its limit; the place of a stop cannot be had by modifying one."""
    desk.buy(1, 5, 103, trigger=102, owner=7)
    assert desk.call("modify", 1, 5, 104, owner=7).reason == Reason.STOP_PENDING
    assert isinstance(desk.reports[0], Refused)
    desk.call("cancel", 1, 7)
    assert desk.reports == [Cancelled(1, 1, BUY, 103, 5, Reason.NONE)]
    trade_at(desk, 101)
    desk.buy(999, 15, 102)
    assert desk.said(Triggered) == []


def test_a_collar_that_moved_ends_a_stop_limit(desk: Desk) -> None:
    """Elected outside the collar it is cancelled, for this reason first; a stop at market stays within the collar."""
    desk.buy(1, 99, 104, trigger=101, flags=FOK)
    desk.buy(2, 50, MARKET, trigger=101)
    desk.call("set_collar", 1, 95, 102)
    trade_at(desk, 101)
    assert desk.said(Cancelled) == [
        (1, 1, BUY, 104, 99, Reason.OUTSIDE_COLLAR),
        (2, 1, BUY, MARKET, 31, Reason.UNFILLED),
    ]


def test_a_modification_that_trades_elects(desk: Desk) -> None:
    """However a trade comes about, stops that it reaches are elected."""
    desk.buy(1, 1, MARKET, trigger=101)
    desk.call("modify", 201, 10, 101)
    assert desk.trades() == [(101, 10, 101, 201), (102, 1, 102, 1)]


def test_a_cancelled_stop_is_not_counted(desk: Desk) -> None:
    """The tape counts the stops that wait."""
    desk.buy(1, 1, MARKET, trigger=101)
    desk.buy(2, 1, MARKET, trigger=101)
    desk.call("cancel", 1)
    tape = desk.book.statistics(1)
    assert tape is not None
    assert tape.stops == 1


def test_no_stop_is_elected_while_a_market_gathers(desk: Desk) -> None:
    """A stop that was reached waits for the end of the auction: the uncross trades first, then it is elected."""
    desk.call("start_auction", 1)
    desk.buy(1, 2, MARKET, trigger=99)
    assert desk.reports == [Accepted(1, 1, BUY, MARKET, 2)]
    desk.sell(2, 3, 98)
    desk.call("uncross", 1)
    assert desk.reports == [
        Uncrossed(1, 99, 3, 7),
        Traded(1, 99, 3, 201, 2, SELL),
        PhaseChanged(1, CONTINUOUS),
        Triggered(1, 1, BUY, MARKET, 2),
        Traded(1, 101, 2, 101, 1, BUY),
    ]


def test_a_market_that_closes_elects_nothing(desk: Desk) -> None:
    """Stops reached by a closing auction wait for the next continuous phase."""
    desk.call("start_auction", 1)
    desk.buy(1, 2, MARKET, trigger=99)
    desk.call("uncross", 1, CLOSED)
    assert desk.said(Triggered) == []
    desk.call("start_auction", 1)
    desk.call("uncross", 1)
    assert desk.said(Triggered) == [(1, 1, BUY, MARKET, 2)]


def test_stops_of_one_instrument_ignore_another(desk: Desk) -> None:
    """A trade elects in its own instrument only."""
    desk.call("list_instrument", 2, "TWO")
    desk.call("place", 1, 2, BUY, 5, MARKET, trigger=50)
    trade_at(desk, 101)
    assert desk.said(Triggered) == []
