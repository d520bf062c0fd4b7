"""The book that ITCH messages describe: orders by reference, and the totals of their levels.

An applier, not a matching engine: the exchange has matched, the messages say what became of each order. It keeps
orders in the order of their time priority (a dict keeps it: a partial execution replaces a value in place, a Replace
goes to the end), so a book read back from a file can be compared with its source queue by queue, not only level by
level.
"""

from __future__ import annotations

from typing import NamedTuple

from demos.orderbook.formats.itch import (
    AddOrder,
    AddOrderAttributed,
    Cancel,
    Delete,
    Executed,
    ExecutedWithPrice,
    Message,
    Replace,
)


class ItchBookError(ValueError):
    """A message that the book so far does not allow; says why. The book is as it was."""


class ItchOrder(NamedTuple):
    """A resting order. `side` B or S, `price` with 4 decimals."""

    locate: int
    side: str
    price: int
    shares: int


# (locate, side, price)
LevelKey = tuple[int, str, int]


class ItchBook:
    """The visible orders of all stocks of a file.

    `orders` by reference in time priority, `levels` with the shares per (locate, side, price).
    """

    def __init__(self) -> None:
        self.orders: dict[int, ItchOrder] = {}
        self.levels: dict[LevelKey, int] = {}

    def apply(self, message: Message) -> bool:
        """Apply one message; whether it was one that changes the visible book.

        Raises `ItchBookError` for an unknown or reused reference, the locate code of another stock, or more shares than
        the order has.
        """
        match message:
            case AddOrder() | AddOrderAttributed():
                order = ItchOrder(message.locate, message.side, message.price, message.shares)
                self._check_new(message.ref, order)
                self._add(message.ref, order)
            case Executed() | ExecutedWithPrice() | Cancel():
                order = self._order(message.ref, message.locate)
                if not 0 < message.shares <= order.shares:
                    raise ItchBookError(f"{message.shares} shares of order {message.ref}, which has {order.shares}")
                self._reduce(message.ref, order, message.shares)
            case Delete():
                order = self._order(message.ref, message.locate)
                self._reduce(message.ref, order, order.shares)
            case Replace():
                old = self._order(message.old_ref, message.locate)
                order = ItchOrder(old.locate, old.side, message.price, message.shares)
                if message.ref != message.old_ref:
                    self._check_new(message.ref, order)
                elif order.shares < 1:
                    raise ItchBookError(f"order {message.ref} without shares")
                self._reduce(message.old_ref, old, old.shares)
                self._add(message.ref, order)
            case _:
                return False
        return True

    def depth(self, locate: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """(bids, asks) of a stock as (price, shares), best first."""
        mine = [(side, price, shares) for (of, side, price), shares in self.levels.items() if of == locate]
        bids = sorted(((price, shares) for side, price, shares in mine if side == "B"), reverse=True)
        asks = sorted((price, shares) for side, price, shares in mine if side == "S")
        return bids, asks

    def queues(self) -> dict[LevelKey, list[tuple[int, int]]]:
        """(reference, shares) of every order by (locate, side, price), in time priority."""
        queues: dict[LevelKey, list[tuple[int, int]]] = {}
        for ref, order in self.orders.items():
            queues.setdefault(order[:3], []).append((ref, order.shares))
        return queues

    def _order(self, ref: int, locate: int) -> ItchOrder:
        order = self.orders.get(ref)
        if order is None:
            raise ItchBookError(f"no order {ref}")
        if order.locate != locate:
            raise ItchBookError(f"order {ref} is of stock {order.locate}, not {locate}")
        return order

    def _check_new(self, ref: int, order: ItchOrder) -> None:
        if ref in self.orders:
            raise ItchBookError(f"order {ref} is there already")
        if order.shares < 1:
            raise ItchBookError(f"order {ref} without shares")

    def _add(self, ref: int, order: ItchOrder) -> None:
        self.orders[ref] = order
        self.levels[order[:3]] = self.levels.get(order[:3], 0) + order.shares

    def _reduce(self, ref: int, order: ItchOrder, shares: int) -> None:
        key = order[:3]
        if order.shares == shares:
            del self.orders[ref]
        else:
            self.orders[ref] = order._replace(shares=order.shares - shares)
        if self.levels[key] == shares:
            del self.levels[key]
        else:
            self.levels[key] -= shares
