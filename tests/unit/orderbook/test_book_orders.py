"""Order types and the rules of entering, trading, changing and leaving, one example each."""

from __future__ import annotations

from typing import Any

import pytest

from demos.orderbook.keys import PRICE_MAX
from demos.orderbook.records import (
    CANCEL_BOTH,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    COUNTER_MAX,
    FOK,
    IOC,
    MARKET,
    POST_ONLY,
    QUANTITY_MAX,
    SELL,
    SLICES_MAX,
    Accepted,
    Cancelled,
    Modified,
    OpenOrder,
    Operation,
    Outcome,
    Reason,
    Refused,
    Traded,
)
from tests.unit.orderbook.desk import Desk

NONE = Reason.NONE


@pytest.fixture
def desk() -> Desk:
    return Desk()


def refusal(desk: Desk, outcome: Outcome) -> Reason:
    """The reason of a refused command, after checking that answer and report agree and nothing else was reported."""
    assert outcome == Outcome(outcome.reason, 0, 0)
    (report,) = desk.reports
    assert isinstance(report, Refused)
    assert report.reason == outcome.reason != NONE
    return report.reason


# Limit orders


def test_a_limit_order_rests(desk: Desk) -> None:
    """An order that meets nobody is acknowledged and rests; best bid and ask show it."""
    assert desk.buy(1, 10, 99) == Outcome(NONE, 0, 10)
    assert desk.reports == [Accepted(1, 1, 0, 99, 10)]
    assert desk.sell(2, 5, 101) == Outcome(NONE, 0, 5)
    assert desk.book.best(1) == (99, 101)


def test_price_then_time_decides(desk: Desk) -> None:
    """A taker meets the best price first, and at one price who came first; trades are at the makers' prices."""
    desk.sell(1, 10, 102)
    desk.sell(2, 10, 101)
    desk.sell(3, 10, 101)
    assert desk.buy(4, 25, 102) == Outcome(NONE, 25, 0)
    assert desk.trades() == [(101, 10, 2, 4), (101, 10, 3, 4), (102, 5, 1, 4)]
    assert desk.asks() == [(102, 5, 1)]


def test_the_sell_side_mirrors_it(desk: Desk) -> None:
    """A seller meets the highest bid first."""
    for order_id, price in ((1, 98), (2, 99), (3, 99)):
        desk.buy(order_id, 10, price)
    desk.sell(4, 25, 98)
    assert desk.trades() == [(99, 10, 2, 4), (99, 10, 3, 4), (98, 5, 1, 4)]


def test_a_limit_order_stops_at_its_price_and_rests(desk: Desk) -> None:
    """What its price does not reach stays for others; its rest rests at its own price."""
    desk.sell(1, 5, 100)
    desk.sell(2, 5, 105)
    assert desk.buy(3, 12, 102) == Outcome(NONE, 5, 7)
    assert (desk.bids(), desk.asks()) == ([(102, 7, 1)], [(105, 5, 1)])


def test_reports_tell_who_traded_with_whom(desk: Desk) -> None:
    """A trade names instrument, maker, taker and the taker's side; the acknowledgement comes first."""
    desk.buy(1, 4, 100)
    desk.sell(2, 4, 100)
    assert desk.reports == [Accepted(2, 1, SELL, 100, 4), Traded(1, 100, 4, 1, 2, SELL)]


def test_an_order_id_is_free_again_once_its_order_is_gone(desk: Desk) -> None:
    """A live id is refused; after a fill or a cancellation it may name another order."""
    desk.buy(1, 10, 100)
    assert refusal(desk, desk.sell(1, 10, 200)) == Reason.DUPLICATE_ORDER
    desk.sell(2, 10, 100)
    assert desk.sell(1, 10, 200).resting == 10
    desk.call("cancel", 1)
    assert desk.buy(1, 3, 50).resting == 3


# Market, immediate-or-cancel, fill-or-kill, post-only


def test_a_market_order_takes_any_price_and_never_rests(desk: Desk) -> None:
    """It trades through all levels; what finds nobody is cancelled."""
    desk.sell(1, 5, 100)
    desk.sell(2, 5, PRICE_MAX)
    assert desk.buy(3, 12, MARKET) == Outcome(NONE, 10, 0)
    assert desk.trades() == [(100, 5, 1, 3), (PRICE_MAX, 5, 2, 3)]
    assert desk.said(Cancelled) == [(3, 1, 0, MARKET, 2, Reason.UNFILLED)]
    desk.buy(4, 5, 1)
    assert desk.sell(5, 5, MARKET) == Outcome(NONE, 5, 0)


def test_an_ioc_order_trades_what_it_can(desk: Desk) -> None:
    """The rest of an immediate-or-cancel order is cancelled, also when nothing traded."""
    desk.sell(1, 5, 100)
    assert desk.buy(2, 12, 100, flags=IOC) == Outcome(NONE, 5, 0)
    assert desk.said(Cancelled) == [(2, 1, 0, 100, 7, Reason.UNFILLED)]
    assert desk.buy(3, 1, 100, flags=IOC) == Outcome(NONE, 0, 0)
    assert (desk.bids(), desk.asks()) == ([], [])


def test_a_fok_order_trades_in_full_or_is_refused(desk: Desk) -> None:
    """Fill-or-kill looks before it trades, across levels and no further than its price."""
    desk.sell(1, 5, 100)
    desk.sell(2, 5, 101)
    desk.sell(3, 5, 102)
    assert refusal(desk, desk.buy(4, 11, 101, flags=FOK)) == Reason.NOT_FILLABLE
    assert desk.asks() == [(100, 5, 1), (101, 5, 1), (102, 5, 1)]
    assert desk.buy(4, 10, 101, flags=FOK) == Outcome(NONE, 10, 0)
    assert refusal(desk, desk.buy(5, 6, MARKET, flags=FOK)) == Reason.NOT_FILLABLE
    assert desk.buy(5, 5, MARKET, flags=FOK).filled == 5


def test_a_fok_order_counts_hidden_quantity(desk: Desk) -> None:
    """All of an iceberg can fill it, not only the slice that shows."""
    desk.sell(1, 10, 100, display=2)
    assert refusal(desk, desk.buy(2, 11, 100, flags=FOK)) == Reason.NOT_FILLABLE
    assert desk.buy(2, 10, 100, flags=FOK).filled == 10


@pytest.mark.parametrize(
    ("protection", "fillable"), [(0, 12), (CANCEL_OLDEST, 7), (CANCEL_NEWEST, 3), (CANCEL_BOTH, 3)]
)
def test_a_fok_order_knows_what_self_trade_prevention_would_do(desk: Desk, protection: int, fillable: int) -> None:
    """Own orders do not fill it; those that would end it let only what stands before them count."""
    desk.sell(1, 6, 100, owner=8, display=3)
    desk.sell(2, 5, 100, owner=7)
    desk.sell(3, 1, 101, owner=8)
    assert refusal(desk, desk.buy(4, fillable + 1, 101, owner=7, flags=FOK | protection)) == Reason.NOT_FILLABLE
    assert desk.buy(4, fillable, 101, owner=7, flags=FOK | protection) == Outcome(NONE, fillable, 0)


def test_a_post_only_order_never_takes(desk: Desk) -> None:
    """It is refused where it would trade, on either side, and rests where it would not."""
    desk.sell(1, 5, 100)
    assert refusal(desk, desk.buy(2, 5, 100, flags=POST_ONLY)) == Reason.WOULD_TAKE
    assert desk.buy(2, 5, 99, flags=POST_ONLY).resting == 5
    assert refusal(desk, desk.sell(3, 5, 99, flags=POST_ONLY)) == Reason.WOULD_TAKE
    desk.sell(4, 5, 99)
    assert desk.trades() == [(99, 5, 2, 4)]


# Icebergs


def test_an_iceberg_shows_slices_that_lose_their_place(desk: Desk) -> None:
    """Each new slice goes behind the orders that wait at its price; the market sees one slice."""
    desk.sell(1, 10, 100, display=4)
    desk.sell(2, 4, 100)
    assert desk.asks() == [(100, 8, 2)]
    desk.buy(3, 6, 100)
    assert desk.trades() == [(100, 4, 1, 3), (100, 2, 2, 3)]
    assert desk.book.order(1) == OpenOrder(1, 1, SELL, 100, 4, 2, 0, 0, 4, 0)
    desk.buy(4, 8, 100)
    assert desk.trades() == [(100, 2, 2, 4), (100, 4, 1, 4), (100, 2, 1, 4)]
    assert desk.asks() == []


def test_a_partly_eaten_slice_keeps_its_place(desk: Desk) -> None:
    """Only a slice that is used up is replaced."""
    desk.sell(1, 10, 100, display=4)
    desk.sell(2, 4, 100)
    desk.buy(3, 3, 100)
    desk.buy(4, 1, 100)
    assert desk.trades() == [(100, 1, 1, 4)]
    desk.buy(5, 1, 100)
    assert desk.trades() == [(100, 1, 2, 5)]


def test_an_iceberg_takes_with_all_of_itself(desk: Desk) -> None:
    """Entering, it trades with its whole quantity; only what rests is cut into slices."""
    desk.buy(1, 7, 100)
    assert desk.sell(2, 20, 100, display=5) == Outcome(NONE, 7, 13)
    assert desk.asks() == [(100, 5, 1)]
    desk.call("cancel", 2)
    assert desk.said(Cancelled) == [(2, 1, SELL, 100, 13, NONE)]


def test_the_number_of_slices_is_bounded(desk: Desk) -> None:
    """An iceberg of too many slices is refused, placed or grown so."""
    assert refusal(desk, desk.sell(1, 2 * SLICES_MAX + 1, 100, display=2)) == Reason.BAD_TERMS
    desk.sell(1, 2 * SLICES_MAX, 100, display=2)
    assert refusal(desk, desk.call("modify", 1, 2 * SLICES_MAX + 1, 100)) == Reason.BAD_TERMS


# Self-trade prevention


def test_cancel_newest_ends_the_incoming_order(desk: Desk) -> None:
    """It trades with others until it meets its owner; then its rest is cancelled and the resting order stays."""
    desk.sell(1, 5, 100, owner=8)
    desk.sell(2, 5, 100, owner=7)
    assert desk.buy(3, 15, 100, owner=7, flags=CANCEL_NEWEST) == Outcome(NONE, 5, 0)
    assert desk.said(Cancelled) == [(3, 1, 0, 100, 10, Reason.SELF_TRADE)]
    assert desk.asks() == [(100, 5, 1)]


def test_cancel_oldest_clears_the_way(desk: Desk) -> None:
    """Own resting orders in the way are cancelled, hidden quantity and all; matching goes on behind them."""
    desk.sell(1, 10, 100, owner=7, display=5)
    desk.sell(2, 5, 101, owner=8)
    assert desk.buy(3, 8, 101, owner=7, flags=CANCEL_OLDEST) == Outcome(NONE, 5, 3)
    assert desk.said(Cancelled) == [(1, 1, SELL, 100, 10, Reason.SELF_TRADE)]
    assert (desk.bids(), desk.asks()) == ([(101, 3, 1)], [])


def test_cancel_both_takes_out_both(desk: Desk) -> None:
    """The resting order that was met and the rest of the incoming one are cancelled, in this order."""
    desk.sell(1, 5, 100, owner=7)
    desk.sell(2, 5, 100, owner=7)
    desk.buy(3, 8, 100, owner=7, flags=CANCEL_BOTH)
    assert desk.said(Cancelled) == [
        (1, 1, SELL, 100, 5, Reason.SELF_TRADE),
        (3, 1, 0, 100, 8, Reason.SELF_TRADE),
    ]
    assert desk.asks() == [(100, 5, 1)]


def test_without_protection_owners_trade_with_themselves(desk: Desk) -> None:
    """Prevention is the incoming order's choice; orders of nobody are never seen as one owner's."""
    desk.sell(1, 5, 100, owner=7, flags=CANCEL_BOTH)
    assert desk.buy(2, 5, 100, owner=7).filled == 5
    desk.sell(3, 5, 100)
    assert desk.buy(4, 5, 100, flags=CANCEL_BOTH).filled == 5


def test_a_resting_order_keeps_its_protection_for_when_it_moves(desk: Desk) -> None:
    """A modification that crosses runs under the order's own flags."""
    desk.buy(1, 5, 90, owner=7, flags=CANCEL_NEWEST)
    desk.sell(2, 5, 100, owner=7)
    assert desk.call("modify", 1, 5, 100, owner=7) == Outcome(NONE, 0, 0)
    assert desk.said(Cancelled) == [(1, 1, 0, 100, 5, Reason.SELF_TRADE)]
    assert desk.book.order(1) is None
    assert [order.order_id for order in desk.book.open_orders(7)] == [2]


# Cancel and modify


def test_cancel_reports_what_was_left(desk: Desk) -> None:
    """A cancellation names price and open quantity; a second one is refused."""
    desk.buy(1, 10, 99)
    desk.sell(2, 4, 99)
    assert desk.call("cancel", 1) == Outcome(NONE, 0, 0)
    assert desk.reports == [Cancelled(1, 1, 0, 99, 6, NONE)]
    assert desk.call("cancel", 1).reason == Reason.UNKNOWN_ORDER
    assert desk.reports == [Refused(1, Operation.CANCEL, Reason.UNKNOWN_ORDER)]


def test_an_order_in_the_middle_leaves_the_others_in_place(desk: Desk) -> None:
    """Cancelling in the middle of a queue changes nobody else's turn."""
    for order_id in range(1, 6):
        desk.buy(order_id, 1, 99)
    desk.call("cancel", 3)
    desk.call("cancel", 1)
    desk.sell(9, 3, 99)
    assert [maker for _, _, maker, _ in desk.trades()] == [2, 4, 5]


def test_nobody_touches_the_orders_of_another(desk: Desk) -> None:
    """Somebody else's order is answered as if it did not exist."""
    desk.buy(1, 10, 99, owner=7)
    for owner in (0, 8):
        assert refusal(desk, desk.call("cancel", 1, owner)) == Reason.UNKNOWN_ORDER
        assert refusal(desk, desk.call("modify", 1, 5, 99, owner)) == Reason.UNKNOWN_ORDER
    assert desk.call("cancel", 1, 7).reason == NONE


def turn_of(desk: Desk, order_id: int) -> int:
    """Which of orders 1 and 2 trades first, after 1 was modified: sell one lot to the best bid."""
    desk.sell(90, 1, 1)
    return int(desk.trades()[0][2] == order_id)


@pytest.mark.parametrize(
    ("requeue", "quantity", "price", "keeps_its_turn"),
    [(False, 9, 99, 1), (False, 10, 99, 1), (False, 11, 99, 0), (True, 9, 99, 0), (True, 10, 99, 0)],
)
def test_when_a_modification_keeps_its_turn(requeue: bool, quantity: int, price: int, keeps_its_turn: int) -> None:
    """Shrinking keeps the place, growing gives it up; in a market that requeues every modification gives it up."""
    desk = Desk(requeue=requeue)
    desk.buy(1, 10, 99)
    desk.buy(2, 10, 99)
    assert desk.call("modify", 1, quantity, price) == Outcome(NONE, 0, quantity)
    assert desk.reports == [Modified(1, 1, 0, price, quantity)]
    assert desk.bids() == [(99, quantity + 10, 2)]
    assert turn_of(desk, 1) == keeps_its_turn


def test_a_changed_price_gives_up_the_place(desk: Desk) -> None:
    """Away and back again is behind."""
    desk.buy(1, 10, 99)
    desk.buy(2, 10, 99)
    desk.call("modify", 1, 10, 98)
    assert desk.bids() == [(99, 10, 1), (98, 10, 1)]
    desk.call("modify", 1, 10, 99)
    assert turn_of(desk, 2) == 1


def test_a_modification_may_trade(desk: Desk) -> None:
    """Moved across the market an order trades as a new one would; one that trades in full is gone."""
    desk.sell(1, 10, 100)
    desk.buy(2, 4, 99, owner=7)
    assert desk.call("modify", 2, 6, 100, owner=7) == Outcome(NONE, 6, 0)
    assert desk.reports == [Modified(2, 1, 0, 100, 6), Traded(1, 100, 6, 1, 2, 0)]
    assert desk.book.open_orders(7) == []
    desk.buy(3, 5, 99)
    assert desk.call("modify", 3, 5, 100) == Outcome(NONE, 4, 1)
    assert desk.bids() == [(100, 1, 1)]


def test_the_new_quantity_is_what_is_open(desk: Desk) -> None:
    """What has traded already does not count: the new quantity is the quantity from now on."""
    desk.sell(1, 10, 100)
    desk.buy(2, 4, 100)
    desk.call("modify", 1, 6, 101)
    assert desk.asks() == [(101, 6, 1)]


def test_an_iceberg_shrinks_from_behind(desk: Desk) -> None:
    """The hidden quantity goes first and the place is kept; growing cuts it into slices anew, at the back."""
    desk.sell(1, 20, 100, display=5)
    desk.sell(2, 5, 100)
    desk.call("modify", 1, 8, 100)
    assert desk.book.order(1) == OpenOrder(1, 1, SELL, 100, 5, 3, 0, 0, 5, 0)
    desk.call("modify", 1, 3, 100)
    assert desk.book.order(1) == OpenOrder(1, 1, SELL, 100, 3, 0, 0, 0, 5, 0)
    desk.call("modify", 1, 12, 100)
    assert desk.book.order(1) == OpenOrder(1, 1, SELL, 100, 5, 7, 0, 0, 5, 0)
    desk.buy(3, 1, 100)
    assert desk.trades() == [(100, 1, 2, 3)]


def test_a_post_only_order_stays_one(desk: Desk) -> None:
    """It cannot be moved to where it would take; the refused modification leaves it where it was."""
    desk.sell(1, 5, 100)
    desk.buy(2, 5, 98, flags=POST_ONLY)
    assert refusal(desk, desk.call("modify", 2, 5, 100)) == Reason.WOULD_TAKE
    assert desk.bids() == [(98, 5, 1)]
    assert desk.call("modify", 2, 5, 99).resting == 5


def test_mass_cancel_takes_an_owners_orders(desk: Desk) -> None:
    """All orders of one owner go, oldest first, stops too; or those in one instrument. Others stay."""
    desk.call("list_instrument", 2, "TWO")
    desk.buy(1, 10, 99, owner=7)
    desk.buy(2, 10, 99, owner=8)
    desk.call("place", 3, 2, SELL, 10, 50, 7)
    desk.sell(4, 10, 101, owner=7, trigger=90)
    desk.buy(5, 10, 98)
    assert desk.call("mass_cancel", 7, 2) == 1
    assert desk.said(Cancelled) == [(3, 2, SELL, 50, 10, Reason.MASS_CANCEL)]
    assert desk.call("mass_cancel", 7) == 2
    assert [fields[0] for fields in desk.said(Cancelled)] == [1, 4]
    assert desk.call("mass_cancel", 7) == 0
    assert desk.call("mass_cancel", 0) == 0
    assert desk.bids() == [(99, 10, 1), (98, 10, 1)]


# Refusals


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"instrument": 2}, Reason.UNKNOWN_INSTRUMENT),
        ({"side": 2}, Reason.BAD_SIDE),
        ({"side": -1}, Reason.BAD_SIDE),
        ({"quantity": 0}, Reason.BAD_QUANTITY),
        ({"quantity": -5}, Reason.BAD_QUANTITY),
        ({"quantity": QUANTITY_MAX + 1}, Reason.BAD_QUANTITY),
        ({"price": -1}, Reason.BAD_PRICE),
        ({"price": PRICE_MAX + 1}, Reason.BAD_PRICE),
        ({"owner": -1}, Reason.BAD_OWNER),
        ({"flags": 32}, Reason.BAD_TERMS),
        ({"flags": -1}, Reason.BAD_TERMS),
        ({"flags": IOC | FOK}, Reason.BAD_TERMS),
        ({"flags": POST_ONLY | IOC}, Reason.BAD_TERMS),
        ({"flags": POST_ONLY, "price": MARKET}, Reason.BAD_TERMS),
        ({"flags": POST_ONLY, "trigger": 90}, Reason.BAD_TERMS),
        ({"display": -1}, Reason.BAD_TERMS),
        ({"display": 3, "flags": IOC}, Reason.BAD_TERMS),
        ({"display": 3, "price": MARKET}, Reason.BAD_TERMS),
        ({"trigger": -1}, Reason.BAD_TERMS),
        ({"trigger": PRICE_MAX + 1}, Reason.BAD_TERMS),
    ],
)
def test_what_cannot_be_is_refused(desk: Desk, terms: dict[str, Any], reason: Reason) -> None:
    """A bad order is refused with its reason, and the book is as it was."""
    order = {"instrument": 1, "side": 0, "quantity": 10, "price": 100} | terms
    assert refusal(desk, desk.call("place", 5, **order)) == reason
    assert desk.book.order(5) is None
    assert len(desk.book.levels) == len(desk.book.prices) == len(desk.book.owned) == 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("quantity", "price", "reason"),
    [
        (0, 100, Reason.BAD_QUANTITY),
        (QUANTITY_MAX + 1, 100, Reason.BAD_QUANTITY),
        (5, MARKET, Reason.BAD_PRICE),
        (5, -3, Reason.BAD_PRICE),
        (5, PRICE_MAX + 1, Reason.BAD_PRICE),
    ],
)
def test_bad_modifications_are_refused(desk: Desk, quantity: int, price: int, reason: Reason) -> None:
    """A modification to what cannot be is refused, and the order is as it was."""
    desk.buy(1, 10, 100)
    before = desk.book.order(1)
    assert refusal(desk, desk.call("modify", 1, quantity, price)) == reason
    assert desk.book.order(1) == before


# Queries


def test_queries_see_one_instrument_each(desk: Desk) -> None:
    """Equal prices of different instruments are different levels; unknown ones are empty, not errors."""
    desk.call("list_instrument", 2, "TWO")
    desk.buy(1, 10, 99)
    desk.call("place", 2, 2, SELL, 5, 99)
    assert (desk.book.best(1), desk.book.best(2), desk.book.best(3)) == ((99, None), (None, 99), (None, None))
    assert desk.book.depth(2, SELL, 5) == [(99, 5, 1)]
    assert desk.book.depth(1, 0, 0) == []
    assert desk.book.instrument("TWO") == 2
    assert desk.book.instrument("THREE") is None
    assert (desk.book.order(9), desk.book.market(3), desk.book.statistics(3)) == (None, None, None)


def test_open_orders_are_an_owners_oldest_first(desk: Desk) -> None:
    """All parts of an order can be read back, those of a stop too."""
    desk.buy(1, 10, 99, owner=7, flags=CANCEL_OLDEST)
    desk.sell(2, 20, 95, owner=7, trigger=96, display=5)
    desk.call("modify", 1, 12, 98, owner=7)
    assert desk.book.open_orders(7) == [
        OpenOrder(1, 1, 0, 98, 12, 0, 7, CANCEL_OLDEST, 0, 0),
        OpenOrder(2, 1, SELL, 95, 20, 0, 7, 0, 5, 96),
    ]
    assert desk.book.open_orders(8) == []


def test_the_tape_counts_trades(desk: Desk) -> None:
    """Last, first, highest and lowest price, volume and number of trades; both directions of a sweep are covered."""
    for order_id, price in ((1, 100), (2, 103), (3, 102)):
        desk.sell(order_id, 5, price)
    desk.buy(4, 12, 103)
    desk.buy(5, 9, 98)
    desk.sell(6, 4, 98)
    tape = desk.book.statistics(1)
    assert tape is not None
    assert (tape.opening, tape.high, tape.low, tape.last, tape.last_quantity) == (100, 103, 98, 98, 4)
    assert (tape.volume, tape.trades, tape.stops) == (16, 4, 0)


def test_the_largest_numbers_stay_within_64_bits(desk: Desk) -> None:
    """Orders of the highest price and quantity work; the volume stops counting where containers end."""
    for _ in range(2**15 + 2):
        desk.sell(1, QUANTITY_MAX, PRICE_MAX)
        desk.buy(2, QUANTITY_MAX, PRICE_MAX)
    tape = desk.book.statistics(1)
    assert tape is not None
    assert tape.volume == COUNTER_MAX
    assert tape.last == PRICE_MAX
