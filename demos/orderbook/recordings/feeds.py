"""Replaying published order feeds, ITCH and LOBSTER: every message must be one that the book so far allows."""

from __future__ import annotations

from typing import Any

import rsm
from demos.orderbook.feed_machine import OrderFeed
from demos.orderbook.formats.book_calls import LOBSTER_STOCK, itch_call, lobster_call
from demos.orderbook.formats.itch import Message
from demos.orderbook.formats.lobster import LobsterRow
from demos.orderbook.recordings.pump import Check, Recording
from demos.orderbook.records import BUY, SELL


class ItchReplay(Recording[OrderFeed, Message]):
    """A day of ITCH, from its first message."""

    machine = OrderFeed
    unit = "byte"

    def send(self, client: OrderFeed, number: int, record: Message) -> rsm.Pending[None]:
        name, arguments = itch_call(record)
        return getattr(client, name).send(*arguments, number)  # type: ignore[no-any-return]  # the machine has them all

    def checks(self, applied: int, read: int) -> list[Check]:
        return [Check("messages", "applied", applied, read)]

    def book(self, client: OrderFeed) -> dict[str, Any]:
        orders, levels, stocks, _ = client.counts()
        return {"orders": orders, "levels": levels, "stocks": stocks}


class LobsterReplay(Recording[OrderFeed, LobsterRow]):
    """LOBSTER messages of one stock. A file begins in the middle of a day: its first orders may be about strangers."""

    machine = OrderFeed

    def send(self, client: OrderFeed, number: int, record: LobsterRow) -> rsm.Pending[None]:
        name, arguments = lobster_call(record)
        command = getattr(client, name)
        if name in ("reduce", "delete"):
            return command.send(*arguments, number, False)  # type: ignore[no-any-return]  # the machine has them all
        return command.send(*arguments, number)  # type: ignore[no-any-return]  # as above

    def checks(self, applied: int, read: int) -> list[Check]:
        return [Check("messages", "applied", applied, read)]

    def book(self, client: OrderFeed) -> dict[str, Any]:
        orders, levels, _, strangers = client.counts()
        best = {name: client.depth(LOBSTER_STOCK, side, 1) for name, side in (("bid", BUY), ("ask", SELL))}
        return {
            "orders": orders,
            "levels": levels,
            "about_orders_before_the_file": strangers,
            **{name: list(found[0]) if found else None for name, found in best.items()},
        }
