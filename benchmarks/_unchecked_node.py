"""The order book for a node process that checks nothing: naming `_unchecked_node:OrderBook` as its machine does it.

To be imported by such a process only: it changes what all replicas of the process do.
"""

from __future__ import annotations

from typing import Any, cast

from _unchecked import no_books, no_root

from demos.orderbook.machine import OrderBook
from rsm.replica.replica import Replica
from rsm.state.store import Store

__all__ = ["OrderBook"]

cast(Any, Replica)._take_root = no_root
cast(Any, Store).end = no_books
