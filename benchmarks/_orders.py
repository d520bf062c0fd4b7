"""Order-book commands without end, the same for every contender: a day of the demo's exchange, again and again.

Making a command costs more than running it, so a day is made beforehand and repeated with fresh order ids; what is
left of a day is taken out at its end, so that the book stays as it is. Each client trades in markets of its own, under
one name, so that clients need not wait for each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import _common  # noqa: F401  puts the project on the path

from demos.orderbook.flowgen import INSTRUMENTS, Flow
from demos.orderbook.machine import OrderBook
from rsm.replica.batch import encode_call

SEED = 2021
MARKETS = len(INSTRUMENTS)
NAMES_WITH_ORDER_ID = frozenset({"place", "cancel", "modify"})


class Call(NamedTuple):
    """A command's name and its positional values."""

    name: str
    values: tuple[Any, ...]


class Orders:
    """The commands of one client of several."""

    def __init__(self, client: int, clients: int, commands: int) -> None:
        self.principal = f"firm{client}"
        self._clients = clients
        self._client = client
        day = [self._own(step.command.name, step.command.values) for step in Flow(SEED + client).steps(commands)]
        opened = 1 + max(place for place, call in enumerate(day) if call.name == "uncross")
        # Markets are opened once; the rest of the day is repeated.
        self.opening = day[:opened]
        self.day = day[opened:]
        self._ids_per_day = clients * (commands + 1)
        self._close = [Call("mass_cancel", (self._market(market.number),)) for market in INSTRUMENTS]

    def _market(self, number: int) -> int:
        return number + self._client * MARKETS

    def _own(self, name: str, values: tuple[Any, ...]) -> Call:
        """A command of the generator with this client's order ids and markets."""
        if name not in NAMES_WITH_ORDER_ID:
            rest = [f"{value}{self._client}" if isinstance(value, str) else value for value in values[1:]]
            return Call(name, (self._market(values[0]), *rest))
        order_id, *rest = values
        if name == "place":
            rest[0] = self._market(rest[0])
        return Call(name, (order_id * self._clients + self._client, *rest))

    def days(self) -> Iterator[Call]:
        """All commands after the opening, without end."""
        first = 0
        while True:
            for call in self.day:
                name, values = call
                if name in NAMES_WITH_ORDER_ID:
                    yield Call(name, (values[0] + first, *values[1:]))
                else:
                    yield call
            yield from self._close
            first += self._ids_per_day

    def encoded(self) -> list[bytes]:
        """The day's commands as rsm's clients encode them, for peers that store bytes."""
        commands = OrderBook.definition.methods
        return [encode_call(name, 1, commands[name].signature.bind(values, {})) for name, values in self.day]
