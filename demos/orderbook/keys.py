"""Level keys: instrument, kind and price in one integer, laid out so that the best level is always the smallest.

    bit 62            47 46   45 44                0
    | instrument (16)  | kind (2) | place (45)     |

The kinds are bids, asks, buy stops and sell stops. Where low prices come first (asks, and buy stops, which a rising
market reaches in that order) the place is the price; where high prices come first (bids, sell stops) it is the price
mirrored, `MIRROR - price`. So the best level of a side is the smallest key not below the side's base, and one
comparison tells whether it crosses. Market orders, which rest only during an auction, have place 0: ahead of every
price.

Bounds: 0 <= instrument < 65,536 (an ITCH stock locate fits); 1 <= price <= 2**45 - 2, about 3.5e13 ticks.
"""

from __future__ import annotations

from typing import Final

from demos.orderbook.records import MARKET

BID: Final = 0
ASK: Final = 1
BUY_STOP: Final = 2
SELL_STOP: Final = 3
# Kinds whose lowest price comes first.
RISING: Final = (ASK, BUY_STOP)

PLACE_BITS: Final = 45
INSTRUMENT_SHIFT: Final = PLACE_BITS + 2
MIRROR: Final = 2**PLACE_BITS - 1
PRICE_MAX: Final = MIRROR - 1
INSTRUMENT_MAX: Final = 2**16 - 1


def base_of(instrument: int, kind: int) -> int:
    """The key before all prices of an instrument's side."""
    return (instrument << 2 | kind) << PLACE_BITS


def level_of(instrument: int, kind: int, price: int) -> int:
    """The key of a level. `price` MARKET goes ahead of every price."""
    base = (instrument << 2 | kind) << PLACE_BITS
    if kind in RISING or price == MARKET:
        return base + price
    return base + MIRROR - price


def instrument_of(level: int) -> int:
    """The instrument of a level."""
    return level >> INSTRUMENT_SHIFT


def kind_of(level: int) -> int:
    """BID, ASK, BUY_STOP or SELL_STOP; the lowest bit is the side."""
    return level >> PLACE_BITS & 3


def price_of(level: int) -> int:
    """The price of a level (the trigger, for stops); MARKET for the level of market orders."""
    place = level & MIRROR
    kind = level >> PLACE_BITS & 3
    return place if kind in RISING or not place else MIRROR - place
