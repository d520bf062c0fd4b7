"""Orders for an exchange of any release: a seeded flow of intents, each said as the commands of a version say it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import rsm
from demos.orderbook.records import CANCEL_NEWEST, CANCEL_OLDEST, IOC

# In ten thousandths of a unit: two digits more than a tick has, of which the first release could say all.
MIDDLE: Final = 1_000_000
SPREAD_TICKS: Final = 60
QUANTITY_MAX: Final = 50
# Own orders that may be cancelled or replaced: the last ones. Some have traded meanwhile, and are refused.
REMEMBERED: Final = 24

Call = tuple[str, int, tuple[Any, ...]]


class Intent(NamedTuple):
    """What a trader wants. `order_id` is the new order's, `old_id` that of the one to cancel; 0 is none."""

    old_id: int
    order_id: int
    instrument: int
    side: int
    quantity: int
    price: int  # in ten thousandths
    time_in_force: int
    prevention: int

    def calls(self, version: int) -> list[Call]:
        """(name, version, values) of the commands that say this to an exchange of that version."""
        if not self.order_id:
            return [("cancel", 1, (self.old_id,))]
        head = (self.order_id, self.instrument, self.side, self.quantity)
        if version == 1:
            price = f"{self.price // 10_000}.{self.price % 10_000:04d}"
            if self.price % 100 == 0:
                price = price[:-2]
            return [("replace", 1, (self.old_id, *head, price)) if self.old_id else ("place", 1, (*head, price))]
        tail = ((self.price + 50) // 100, self.time_in_force)
        if version == 2:
            return [("replace", 2, (self.old_id, *head, *tail)) if self.old_id else ("place", 2, (*head, *tail))]
        place: Call = ("place", 3, (*head, *tail, self.prevention))
        return [("cancel", 1, (self.old_id,)), place] if self.old_id else [place]


class Flow:
    """One trader's intents without end, in these instruments, with order ids from `first_id` on.

    `terms`: orders may have a time in force and prevent self-trades, which version 1 cannot say.
    """

    def __init__(self, seed: int, instruments: tuple[int, ...], first_id: int, *, terms: bool = False) -> None:
        self._random = rsm.Random.named("exchange", seed)
        self._instruments = instruments
        self._next_id = first_id
        self._terms = terms
        self._own: list[int] = []

    def __iter__(self) -> Iterator[Intent]:
        draw = self._random
        while True:
            kind = draw.below(100)
            old_id = draw.choice(self._own) if self._own and kind < 40 else 0
            if old_id and kind < 25:
                self._own.remove(old_id)
                yield Intent(old_id, 0, 0, 0, 0, 0, 0, 0)
                continue
            order_id, self._next_id = self._next_id, self._next_id + 1
            if old_id:
                self._own.remove(old_id)
            self._own = [*self._own, order_id][-REMEMBERED:]
            price = MIDDLE + (draw.below(2 * SPREAD_TICKS) - SPREAD_TICKS) * 100 + draw.choice((0, 0, 0, 25, 50, 75))
            terms = (0, 0)
            if self._terms:
                terms = draw.choice((0, 0, 0, IOC)), draw.choice((0, CANCEL_NEWEST, CANCEL_OLDEST))
            yield Intent(
                old_id,
                order_id,
                draw.choice(self._instruments),
                draw.below(2),
                1 + draw.below(QUANTITY_MAX),
                price,
                *terms,
            )
