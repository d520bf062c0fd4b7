"""The book that an order feed describes: resting orders by reference, in time priority, and the totals of levels.

An applier, not a matching engine: the exchange has matched, the feed says what became of each order. Adding and
replacing put an order behind the others of its price, reducing keeps its place; so a book read from a feed can be
compared with its source queue by queue, not only level by level.

The containers come through the constructor and may be plain ones or tracked ones. Levels of all stocks lie in one
sorted map under (stock, side, price): a side of a stock is one range of it, best bids read backwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from demos.orderbook.records import BUY, SELL, Record

# (stock, side, price)
LevelKey = tuple[int, int, int]


class ReferenceBookError(ValueError):
    """A message that the book so far does not allow; says why. The book is as it was."""


class RestingOrder(Record, frozen=True):
    """A resting order. `position` is its place in the queue of its level."""

    stock: int
    side: int
    price: int
    shares: int
    position: int


class OrderMap(Protocol):
    """Orders by reference; a dict or `rsm.Map[int, RestingOrder]`."""

    def __setitem__(self, key: int, value: RestingOrder, /) -> None: ...
    def __getitem__(self, key: int, /) -> RestingOrder: ...
    def __delitem__(self, key: int, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def get(self, key: int, /) -> RestingOrder | None: ...


class QueueTable(Protocol):
    """References in time priority by level; `rsm.Table[tuple[int, int, int], rsm.Queue[int]]`."""

    def __getitem__(self, key: LevelKey, /) -> Any: ...


class TotalMap(Protocol):
    """Shares by level, sorted; `rsm.SortedMap[tuple[int, int, int], int]`."""

    def __setitem__(self, key: LevelKey, value: int, /) -> None: ...
    def __getitem__(self, key: LevelKey, /) -> int: ...
    def __delitem__(self, key: LevelKey, /) -> None: ...
    def __len__(self) -> int: ...
    def get(self, key: LevelKey, default: int, /) -> int: ...
    def range(
        self, start: LevelKey | None = None, stop: LevelKey | None = None, reverse: bool = False
    ) -> Iterator[LevelKey]: ...


class ReferenceBook:
    """The visible orders of all stocks of a feed, over the three containers given."""

    def __init__(self, orders: OrderMap, queues: QueueTable, levels: TotalMap) -> None:
        self.orders = orders
        self.queues = queues
        self.levels = levels

    def add(self, stock: int, ref: int, side: int, shares: int, price: int) -> None:
        """An order rests, behind the others of its price. Raises `ReferenceBookError`, with nothing changed."""
        self._check_new(ref, shares)
        if side not in (BUY, SELL):
            raise ReferenceBookError(f"order {ref}: side {side} is neither {BUY} (buy) nor {SELL} (sell)")
        self._rest(stock, ref, side, shares, price)

    def reduce(self, stock: int, ref: int, shares: int) -> None:
        """An order has so many shares fewer: a trade or a cancellation. Raises as `add`."""
        order = self._order(stock, ref)
        if not 0 < shares <= order.shares:
            raise ReferenceBookError(f"{shares} shares of order {ref}, which has {order.shares}")
        self._reduce(ref, order, shares)

    def delete(self, stock: int, ref: int) -> None:
        """An order is gone. Raises as `add`."""
        order = self._order(stock, ref)
        self._reduce(ref, order, order.shares)

    def replace(self, stock: int, old_ref: int, ref: int, shares: int, price: int) -> None:
        """An order becomes another one of its side, behind the others of its price. Raises as `add`."""
        old = self._order(stock, old_ref)
        if ref != old_ref:
            self._check_new(ref, shares)
        elif shares < 1:
            raise ReferenceBookError(f"order {ref} without shares")
        self._reduce(old_ref, old, old.shares)
        self._rest(stock, ref, old.side, shares, price)

    def depth(self, stock: int, side: int) -> Iterator[tuple[int, int]]:
        """(price, shares) of the levels of a side, best first."""
        for key in self._best_first(stock, side):
            yield key[2], self.levels[key]

    def resting(self, stock: int, side: int) -> Iterator[tuple[int, int, int]]:
        """(reference, price, shares) of the orders of a side: best price first, then first come."""
        for key in self._best_first(stock, side):
            for ref in self.queues[key]:
                yield ref, key[2], self.orders[ref].shares

    def _best_first(self, stock: int, side: int) -> Iterator[LevelKey]:
        return self.levels.range((stock, side, -1), (stock, side + 1, -1), reverse=side == BUY)

    def _order(self, stock: int, ref: int) -> RestingOrder:
        order = self.orders.get(ref)
        if order is None:
            raise ReferenceBookError(f"no order {ref}")
        if order.stock != stock:
            raise ReferenceBookError(f"order {ref} is of stock {order.stock}, not {stock}")
        return order

    def _check_new(self, ref: int, shares: int) -> None:
        if ref in self.orders:
            raise ReferenceBookError(f"order {ref} is there already")
        if shares < 1:
            raise ReferenceBookError(f"order {ref} without shares")

    def _rest(self, stock: int, ref: int, side: int, shares: int, price: int) -> None:
        key = (stock, side, price)
        position = self.queues[key].push(ref)
        self.orders[ref] = RestingOrder(stock, side, price, shares, position)
        self.levels[key] = self.levels.get(key, 0) + shares

    def _reduce(self, ref: int, order: RestingOrder, shares: int) -> None:
        key = (order.stock, order.side, order.price)
        if order.shares == shares:
            self.queues[key].remove(order.position)
            del self.orders[ref]
        else:
            self.orders[ref] = RestingOrder(*key, order.shares - shares, order.position)
        left = self.levels[key] - shares
        if left:
            self.levels[key] = left
        else:
            del self.levels[key]
