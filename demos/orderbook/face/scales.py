"""How the integers of the book are written outside: decimals by symbol, and the limits of ITCH's fields.

The book keeps prices in ticks of 10**-decimals and quantities in lots; how many decimals a market has is known to those
who list it. The demo's markets are `flowgen.INSTRUMENTS`; of any other, prices have the four decimals of ITCH.
"""

from __future__ import annotations

from typing import Final

from demos.orderbook.flowgen import INSTRUMENTS

ITCH_DECIMALS: Final = 4
# The fields of an ITCH message: prices and shares of 32 bits.
ITCH_FIELD_MAX: Final = 2**32 - 1
# What everything is priced in, so that a pair reads as pairs do elsewhere.
CURRENCY: Final = "USD"

_DECIMALS: Final = {instrument.symbol: instrument.decimals for instrument in INSTRUMENTS}


def decimals_of(symbol: str) -> int:
    """The decimals of a market's prices, at most those of ITCH."""
    return _DECIMALS.get(symbol, ITCH_DECIMALS)


def pair_of(symbol: str) -> str:
    """A market's name in Kraken's channels."""
    return f"{symbol}/{CURRENCY}"


def decimal_text(value: int, decimals: int) -> str:
    """A positive scaled integer as it is on the wire: `decimal_text(35415, 2)` is `354.15`."""
    if not decimals:
        return str(value)
    whole, part = divmod(value, 10**decimals)
    return f"{whole}.{part:0{decimals}d}"
