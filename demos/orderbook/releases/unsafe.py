"""What must not be released: version 3 again, under the same number, with another rounding of old prices.

Half a tick goes down here. Only what old clients send with more than two decimals shows it, and then this node's book
is another one. `make upgrade-demo` forces it onto a node, and the cluster finds it.
"""

from __future__ import annotations

import rsm
from demos.orderbook.records import Report
from demos.orderbook.releases import v3
from demos.orderbook.releases.terms import PriceText, TimeInForce
from demos.orderbook.releases.v2 import ExchangeV2

__all__ = ["Exchange"]


def to_ticks(price: str) -> int:
    """The ticks of a price, half a tick down."""
    whole, _, decimals = price.partition(".")
    ten_thousandths = int(whole) * 10_000 + int(decimals.ljust(4, "0"))
    return (ten_thousandths + 49) // 100


class Exchange(v3.Exchange, name="exchange", version=3, previous=ExchangeV2, event=Report):
    """Version 3, but for one character of a helper."""

    place_in_ticks = rsm.upcast_fields(
        "place",
        from_version=1,
        old={"order_id": int, "instrument": int, "side": int, "quantity": int, "price": PriceText},
        convert={"price": to_ticks},
        default={"time_in_force": TimeInForce.GOOD_TILL_CANCEL},
    )
