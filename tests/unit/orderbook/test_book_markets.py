"""Markets: listing, collars, phases, auctions."""

from __future__ import annotations

import pytest

from demos.orderbook.auction import clearing
from demos.orderbook.keys import INSTRUMENT_MAX, PRICE_MAX
from demos.orderbook.records import (
    AUCTION,
    BUY,
    CANCEL_BOTH,
    CLOSED,
    CONTINUOUS,
    FOK,
    HALTED,
    HALTED_AUCTION,
    IOC,
    MARKET,
    POST_ONLY,
    SELL,
    Cancelled,
    Operation,
    PhaseChanged,
    Reason,
    Refused,
    Traded,
    Uncrossed,
)
from tests.unit.orderbook.desk import Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def gathering() -> Desk:
    """A market in its opening auction."""
    desk = Desk(phase=CLOSED)
    desk.call("start_auction", 1)
    return desk


# Instruments


def test_an_instrument_is_listed_once(desk: Desk) -> None:
    """Number and symbol are unique, the number has 16 bits, and trading begins continuous or closed."""
    refused = [
        (1, "TWO", CONTINUOUS, Reason.DUPLICATE_INSTRUMENT),
        (2, "ONE", CONTINUOUS, Reason.DUPLICATE_INSTRUMENT),
        (-1, "TWO", CONTINUOUS, Reason.UNKNOWN_INSTRUMENT),
        (INSTRUMENT_MAX + 1, "TWO", CONTINUOUS, Reason.UNKNOWN_INSTRUMENT),
        (2, "TWO", AUCTION, Reason.WRONG_PHASE),
    ]
    for number, symbol, phase, reason in refused:
        assert desk.call("list_instrument", number, symbol, phase=phase).reason == reason
        assert desk.reports == [Refused(0, Operation.MARKET, reason)]
    assert desk.call("list_instrument", INSTRUMENT_MAX, "LAST", phase=CLOSED).reason == Reason.NONE
    assert desk.reports == [PhaseChanged(INSTRUMENT_MAX, CLOSED)]
    assert desk.book.instrument("LAST") == INSTRUMENT_MAX


@pytest.mark.parametrize("name", ["set_collar", "halt", "resume", "start_auction", "uncross"])
def test_unknown_markets_are_refused(desk: Desk, name: str) -> None:
    """Every command to an instrument that is not listed is refused."""
    assert desk.call(name, 2).reason == Reason.UNKNOWN_INSTRUMENT
    assert desk.call("set_reference", 2, 5).reason == Reason.UNKNOWN_INSTRUMENT


# Collars


def test_a_collar_bounds_the_prices_of_its_instrument(desk: Desk) -> None:
    """Both ends are allowed, what is beyond is refused; other instruments are free; it can be lifted."""
    desk.call("list_instrument", 2, "TWO")
    desk.call("set_collar", 1, 90, 110)
    assert desk.buy(1, 1, 90).resting == 1
    assert desk.sell(2, 1, 110).resting == 1
    assert desk.buy(3, 1, 89).reason == Reason.OUTSIDE_COLLAR
    assert desk.sell(3, 1, 111).reason == Reason.OUTSIDE_COLLAR
    assert desk.call("modify", 1, 1, 89).reason == Reason.OUTSIDE_COLLAR
    assert desk.call("place", 3, 2, BUY, 1, 89).resting == 1
    desk.call("set_collar", 1)
    assert desk.sell(4, 1, PRICE_MAX).resting == 1


def test_a_market_order_stops_at_the_collar(desk: Desk) -> None:
    """Beyond the collar it does not trade, on either side; its rest is cancelled."""
    desk.sell(1, 5, 110)
    desk.sell(2, 5, 111)
    desk.buy(3, 5, 90)
    desk.buy(4, 5, 89)
    desk.call("set_collar", 1, 90, 110)
    assert desk.buy(5, 9, MARKET).filled == 5
    assert desk.sell(6, 9, MARKET).filled == 5
    assert desk.book.best(1) == (89, 111)


def test_orders_may_keep_a_price_that_the_collar_left(desk: Desk) -> None:
    """A resting order outside a new collar stays, may change its quantity, and may come inside."""
    desk.buy(1, 5, 80)
    desk.call("set_collar", 1, 90, 110)
    assert desk.call("modify", 1, 7, 80).resting == 7
    assert desk.call("modify", 1, 7, 81).reason == Reason.OUTSIDE_COLLAR
    assert desk.call("modify", 1, 7, 91).resting == 7


@pytest.mark.parametrize(("low", "high"), [(0, 10), (11, 10), (5, PRICE_MAX + 1)])
def test_a_senseless_collar_is_refused(desk: Desk, low: int, high: int) -> None:
    """The ends are prices, in order."""
    assert desk.call("set_collar", 1, low, high).reason == Reason.BAD_PRICE
    assert desk.call("set_reference", 1, -1).reason == Reason.BAD_PRICE
    assert desk.buy(1, 1, PRICE_MAX).resting == 1


# Phases


def test_the_phases_and_their_ways(desk: Desk) -> None:
    """From each phase, each command leads where the table says, or is refused and changes nothing."""
    table = {
        CONTINUOUS: (HALTED, None, AUCTION, None),
        AUCTION: (HALTED_AUCTION, None, None, CONTINUOUS),
        CLOSED: (None, None, AUCTION, None),
        HALTED: (None, CONTINUOUS, AUCTION, None),
        HALTED_AUCTION: (None, AUCTION, None, None),
    }
    ways = {
        CONTINUOUS: (),
        AUCTION: ("start_auction",),
        HALTED: ("halt",),
        HALTED_AUCTION: ("start_auction", "halt"),
        CLOSED: (),
    }
    for phase, targets in table.items():
        for name, target in zip(("halt", "resume", "start_auction", "uncross"), targets, strict=True):
            desk = Desk(phase=CLOSED if phase == CLOSED else CONTINUOUS)
            for way in ways[phase]:
                desk.call(way, 1)
            outcome = desk.call(name, 1)
            market = desk.book.market(1)
            assert market is not None
            assert outcome.reason == (Reason.WRONG_PHASE if target is None else Reason.NONE), (phase, name)
            assert market.phase == (phase if target is None else target), (phase, name)


@pytest.mark.parametrize("auction", [False, True])
def test_a_halted_market_only_cancels(desk: Desk, auction: bool) -> None:
    """While it is halted orders can be cancelled, and nothing else; it goes on as it was."""
    desk.buy(1, 5, 100)
    desk.buy(2, 5, 100)
    if auction:
        desk.call("start_auction", 1)
    desk.call("halt", 1)
    assert desk.sell(3, 5, 100).reason == Reason.WRONG_PHASE
    assert desk.sell(3, 5, 100, trigger=50).reason == Reason.WRONG_PHASE
    assert desk.call("modify", 1, 4, 100).reason == Reason.WRONG_PHASE
    assert desk.call("cancel", 1).reason == Reason.NONE
    desk.call("resume", 1)
    assert desk.sell(3, 5, 100).filled == (0 if auction else 5)


def test_a_closed_market_takes_no_orders(desk: Desk) -> None:
    """After a closing auction what rests can be cancelled; nothing enters."""
    desk.buy(1, 5, 100)
    desk.call("start_auction", 1)
    assert desk.call("uncross", 1, CLOSED).reason == Reason.NONE
    assert desk.buy(2, 5, 100).reason == Reason.WRONG_PHASE
    assert desk.call("cancel", 1).reason == Reason.NONE


def test_a_new_session_has_a_new_tape(desk: Desk) -> None:
    """An auction from the closed market forgets the old session's trades, but the last price; others do not."""
    desk.sell(1, 5, 100)
    desk.buy(2, 5, 100)
    desk.buy(3, 1, MARKET, trigger=150)
    desk.call("start_auction", 1)
    desk.call("uncross", 1, CLOSED)
    tape = desk.book.statistics(1)
    assert tape is not None
    assert tape.volume == 5
    desk.call("start_auction", 1)
    tape = desk.book.statistics(1)
    assert tape is not None
    assert (tape.last, tape.volume, tape.trades, tape.high, tape.stops) == (100, 0, 0, 0, 1)


# Auctions


def test_orders_gather_without_trading(gathering: Desk) -> None:
    """In an auction the book may be crossed; market orders stand first, and are not a best price."""
    gathering.buy(1, 10, 105)
    gathering.sell(2, 10, 95)
    gathering.buy(3, 7, MARKET)
    gathering.sell(4, 3, MARKET)
    gathering.buy(5, 1, 105, flags=POST_ONLY)
    assert gathering.book.best(1) == (105, 95)
    assert gathering.bids() == [(MARKET, 7, 1), (105, 11, 2)]
    assert gathering.asks() == [(MARKET, 3, 1), (95, 10, 1)]
    assert gathering.said(Traded) == []


@pytest.mark.parametrize("flags", [IOC, FOK])
def test_an_auction_has_no_place_for_orders_that_cannot_wait(gathering: Desk, flags: int) -> None:
    """Immediate orders are refused while orders gather, except behind a trigger."""
    assert gathering.buy(1, 10, 105, flags=flags).reason == Reason.WRONG_PHASE
    assert gathering.buy(1, 10, 105, flags=flags, trigger=105).resting == 10


def test_the_uncross_trades_the_most_at_one_price(gathering: Desk) -> None:
    """Best prices first, then first come; everybody trades at the clearing price; the rest stays, uncrossed."""
    gathering.buy(1, 10, 102)
    gathering.buy(2, 10, 101)
    gathering.buy(3, 10, 101)
    gathering.sell(4, 15, 99)
    gathering.sell(5, 10, 101)
    gathering.sell(6, 10, 103)
    gathering.call("uncross", 1)
    assert gathering.reports == [
        Uncrossed(1, 101, 25, 5),
        Traded(1, 101, 10, 1, 4, SELL),
        Traded(1, 101, 5, 2, 4, SELL),
        Traded(1, 101, 5, 2, 5, SELL),
        Traded(1, 101, 5, 3, 5, SELL),
        PhaseChanged(1, CONTINUOUS),
    ]
    assert (gathering.bids(), gathering.asks()) == ([(101, 5, 1)], [(103, 10, 1)])
    tape = gathering.book.statistics(1)
    assert tape is not None
    assert (tape.last, tape.volume, tape.trades) == (101, 25, 4)


@pytest.mark.parametrize(
    ("bids", "asks", "reference", "expected"),
    [
        # Volume decides: 10 can trade at 100, 4 anywhere above.
        ([(105, 4), (100, 6)], [(100, 10)], 105, (100, 10, 0)),
        # As much at 100 and 101, but a surplus of 5 at 100 and none at 101.
        ([(101, 10), (100, 5)], [(100, 10)], 100, (101, 10, 0)),
        # All of 98 to 104 are as good: the reference decides, or the end nearest to it.
        ([(104, 5)], [(98, 5)], 101, (101, 5, 0)),
        ([(104, 5)], [(98, 5)], 90, (98, 5, 0)),
        ([(104, 5)], [(98, 5)], 120, (104, 5, 0)),
        # A price above all that orders name would leave less, but nobody asked for it.
        ([(MARKET, 5), (101, 5)], [(100, 3)], 100, (100, 3, 7)),
        # Only market orders against prices: the prices decide.
        ([(MARKET, 5)], [(100, 3), (102, 9)], 90, (102, 5, -7)),
        ([(100, 3), (99, 3)], [(MARKET, 5)], 120, (99, 5, 1)),
        # Nothing but market orders: the reference.
        ([(MARKET, 5)], [(MARKET, 8)], 77, (77, 5, -3)),
        ([(99, 5)], [(100, 5)], 99, None),
        ([], [(100, 5)], 99, None),
    ],
)
def test_the_clearing_rule(
    bids: list[tuple[int, int]],
    asks: list[tuple[int, int]],
    reference: int,
    expected: tuple[int, int, int] | None,
) -> None:
    """Most volume, then least surplus, then nearest to the reference."""
    assert clearing(bids, asks, reference) == expected


def test_the_reference_is_set_or_last_or_the_middle(gathering: Desk) -> None:
    """Without a reference the last trade's price stands in, without trades the middle of the book."""
    prices = []
    for reference in (0, 0, 97):
        gathering.call("set_reference", 1, reference)
        gathering.buy(1, 5, 110)
        gathering.sell(2, 5, 90 + 4 * len(prices))
        gathering.call("uncross", 1)
        ((_, price, _, _),) = gathering.said(Uncrossed)
        prices.append(price)
        # A trade elsewhere, to be the next auction's last price.
        gathering.sell(3, 1, 96)
        gathering.buy(4, 1, 96)
        gathering.call("start_auction", 1)
    assert prices == [100, 96, 98]


def test_what_is_left_of_market_orders_is_cancelled(gathering: Desk) -> None:
    """They trade before all prices; their rest leaves with the auction, also when nothing had a price."""
    gathering.buy(1, 5, MARKET)
    gathering.sell(2, 8, MARKET)
    gathering.call("uncross", 1)
    assert gathering.said(Uncrossed) == [(1, 0, 0, 0)]
    assert gathering.said(Cancelled) == [
        (1, 1, BUY, MARKET, 5, Reason.UNFILLED),
        (2, 1, SELL, MARKET, 8, Reason.UNFILLED),
    ]
    gathering.call("start_auction", 1)
    gathering.buy(1, 5, MARKET)
    gathering.buy(2, 5, 101)
    gathering.sell(3, 3, 100)
    gathering.call("uncross", 1)
    assert gathering.trades() == [(100, 3, 1, 3)]
    assert gathering.said(Cancelled) == [(1, 1, BUY, MARKET, 2, Reason.UNFILLED)]
    assert gathering.bids() == [(101, 5, 1)]


def test_an_uncross_that_crosses_nothing_says_so(gathering: Desk) -> None:
    """Price and volume are 0, the book stays, trading begins."""
    gathering.buy(1, 5, 99)
    gathering.sell(2, 5, 100)
    gathering.call("uncross", 1)
    assert gathering.reports == [Uncrossed(1, 0, 0, 0), PhaseChanged(1, CONTINUOUS)]
    assert gathering.buy(3, 5, 100).filled == 5


def test_icebergs_trade_in_full_in_an_auction(gathering: Desk) -> None:
    """Hidden quantity counts for the price; slices go behind those that wait at their price."""
    gathering.sell(1, 10, 100, display=4)
    gathering.sell(2, 5, 100)
    gathering.buy(3, 12, 100)
    gathering.call("uncross", 1)
    assert gathering.said(Uncrossed) == [(1, 100, 12, -3)]
    assert gathering.trades() == [(100, 4, 3, 1), (100, 5, 3, 2), (100, 3, 3, 1)]
    order = gathering.book.order(1)
    assert order is not None
    assert (order.quantity, order.hidden) == (1, 2)


def test_self_trades_are_allowed_in_an_auction(gathering: Desk) -> None:
    """The volume counts on every order, so none is taken out."""
    gathering.buy(1, 5, 100, owner=7, flags=CANCEL_BOTH)
    gathering.sell(2, 5, 100, owner=7, flags=CANCEL_BOTH)
    gathering.call("uncross", 1)
    assert gathering.trades() == [(100, 5, 1, 2)]
    assert gathering.book.open_orders(7) == []


def test_orders_can_be_modified_while_they_gather(gathering: Desk) -> None:
    """Prices move without trading; market orders can be made smaller, or get a price."""
    gathering.sell(1, 5, 100)
    gathering.buy(2, 5, 90)
    gathering.buy(3, 5, MARKET)
    assert gathering.call("modify", 2, 5, 120).filled == 0
    assert gathering.call("modify", 3, 4, MARKET).resting == 4
    assert gathering.bids() == [(MARKET, 4, 1), (120, 5, 1)]
    assert gathering.call("modify", 3, 4, 121).resting == 4
    assert gathering.bids() == [(121, 4, 1), (120, 5, 1)]


def test_a_closing_auction_takes_over_the_continuous_book(desk: Desk) -> None:
    """What rested before takes part, and what is left stays when the market closes."""
    desk.buy(1, 5, 99)
    desk.call("start_auction", 1)
    desk.sell(2, 3, 98)
    desk.call("uncross", 1, CLOSED)
    assert desk.trades() == [(98, 3, 1, 2)]
    assert desk.said(PhaseChanged) == [(1, CLOSED)]
    assert desk.bids() == [(99, 2, 1)]
