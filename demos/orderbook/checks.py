"""What an order must satisfy before it may change anything, and how a refusal is told."""

from __future__ import annotations

from demos.orderbook.keys import PRICE_MAX, price_of
from demos.orderbook.matching import Sink
from demos.orderbook.records import (
    AUCTION,
    FLAGS_ALL,
    FOK,
    IOC,
    MARKET,
    POST_ONLY,
    QUANTITY_MAX,
    SLICES_MAX,
    Market,
    Operation,
    Order,
    Outcome,
    Reason,
    Refused,
)

NONE = Reason.NONE
DONE = Outcome(NONE, 0, 0)


def refuse(sink: Sink, order_id: int, operation: Operation, reason: Reason) -> Outcome:
    """Report a refusal, and answer with it."""
    sink(Refused(order_id, operation, reason))
    return Outcome(reason, 0, 0)


def price_misfit(market: Market, price: int) -> Reason:
    """Why an order may not name this price; NONE if it may. MARKET names none."""
    if price == MARKET or market.collar_low <= price <= market.collar_high:
        return NONE
    return Reason.OUTSIDE_COLLAR if 0 < price <= PRICE_MAX else Reason.BAD_PRICE


def order_misfit(
    market: Market, side: int, quantity: int, price: int, owner: int, flags: int, display: int, trigger: int
) -> Reason:
    """Why an order cannot enter this market, from its own terms and the market's phase; NONE if it can."""
    if side >> 1:
        return Reason.BAD_SIDE
    if not 0 < quantity <= QUANTITY_MAX:
        return Reason.BAD_QUANTITY
    if owner < 0:
        return Reason.BAD_OWNER
    reason = price_misfit(market, price)
    if reason:
        return reason
    at_once = flags & (IOC | FOK)
    if (
        flags & ~FLAGS_ALL
        or at_once == IOC | FOK
        or (flags & POST_ONLY and (at_once or trigger or price == MARKET))
        or not 0 <= trigger <= PRICE_MAX
        or (display and (at_once or price == MARKET or quantity > display * SLICES_MAX))
    ):
        return Reason.BAD_TERMS
    if market.phase > AUCTION or (market.phase == AUCTION and at_once and not trigger):
        return Reason.WRONG_PHASE
    return NONE


def modification_misfit(market: Market, order: Order, quantity: int, price: int) -> Reason:
    """Why a resting order cannot have this open quantity and price; NONE if it can."""
    if not 0 < quantity <= QUANTITY_MAX:
        return Reason.BAD_QUANTITY
    # An order may keep the price that it has, though the collar has moved away from it.
    if price != price_of(order.level):
        if price == MARKET:
            return Reason.BAD_PRICE
        reason = price_misfit(market, price)
        if reason:
            return reason
    if order.display and quantity > order.display * SLICES_MAX:
        return Reason.BAD_TERMS
    return Reason.WRONG_PHASE if market.phase > AUCTION else NONE
