"""What the commands of released versions are made of. Upcasters need this for as long as old logs are kept.

Released, so frozen: another rounding here would be another history. The first release wrote prices as decimal strings.
A tick is a hundredth; further digits are rounded to the nearest tick, and half a tick up.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec

from demos.orderbook.keys import PRICE_MAX
from demos.orderbook.records import FOK, IOC

TICKS_PER_UNIT: Final = 100
# Up to four decimals, of which two are kept; nine digits before them stay far below the book's largest price.
PriceText = Annotated[str, msgspec.Meta(pattern=r"(?a)^[0-9]{1,9}(\.[0-9]{1,4})?$")]

# A price from version 2 on.
Ticks = Annotated[int, msgspec.Meta(ge=1, le=PRICE_MAX)]


class TimeInForce(IntEnum):
    """How long what does not trade at once may wait."""

    GOOD_TILL_CANCEL = 0
    IMMEDIATE_OR_CANCEL = IOC
    FILL_OR_KILL = FOK


def to_ticks(price: str) -> int:
    """The ticks of a price: `to_ticks("101.255")` is 10126."""
    whole, _, decimals = price.partition(".")
    ten_thousandths = int(whole) * 10_000 + int(decimals.ljust(4, "0"))
    return (ten_thousandths + 50) // 100


def to_price(ticks: int) -> str:
    """The price of so many ticks: `to_price(10126)` is "101.26"."""
    return f"{ticks // TICKS_PER_UNIT}.{ticks % TICKS_PER_UNIT:02d}"
