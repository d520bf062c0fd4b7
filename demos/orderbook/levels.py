"""A book of price levels as an exchange publishes it: snapshots, updates, and the checksum that proves the copy.

The exchange sends total quantities per price, not orders. A copy is right when, after every update, the CRC32 over its
ten best levels a side equals the one that the exchange sent along: its own desync detection. Everything here is an
integer: a price of "354.15000000" in a pair of 8 price decimals is 35415000000. A pair's decimals do not change, so
integers order as prices do, and the digits of the integer are exactly the "price without dot and leading zeros" that
the checksum wants; the decimals are kept only to show prices to people.

The containers come through the constructor and may be tracked ones or plain ones. Levels of all pairs live in one
sorted map under (pair number, side, price): a side of a pair is one range of it, best bids read backwards.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Protocol

BID: Final = 0
ASK: Final = 1

# Levels of a side that the checksum covers, whatever the subscribed depth.
CHECKSUM_LEVELS: Final = 10
# Levels a side; the deepest subscription on offer is 1,000, this leaves room for other exchanges.
DEPTH_MAX: Final = 10_000
# Prices and quantities are positive signed 64-bit integers.
INTEGER_MAX: Final = 2**63 - 1
# An integer of 64 bits has 18 free digits: more decimals would leave no room before the dot.
DECIMALS_MAX: Final = 18

# (price, quantity), both scaled by the decimals of the pair.
Level = tuple[int, int]
# (pair number, side, price)
LevelKey = tuple[int, int, int]
# (pair number, depth, price decimals, quantity decimals)
PairFacts = tuple[int, int, int, int]


class LevelsError(ValueError):
    """An input that no correct feed contains; the book is as it was if it came from a snapshot's or update's check."""


class LevelMap(Protocol):
    """What the levels need of their sorted map; `rsm.SortedMap[tuple[int, int, int], int]` has it."""

    def __getitem__(self, key: LevelKey, /) -> int: ...
    def __setitem__(self, key: LevelKey, value: int, /) -> None: ...
    def __delitem__(self, key: LevelKey, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def ceiling(self, key: LevelKey, /) -> LevelKey | None: ...
    def lower(self, key: LevelKey, /) -> LevelKey | None: ...
    def range(
        self, start: LevelKey | None = None, stop: LevelKey | None = None, reverse: bool = False
    ) -> Iterator[LevelKey]: ...


class PairMap(Protocol):
    """What is kept per pair, by name; a dict or `rsm.Map[str, tuple[int, int, int, int]]`."""

    def __getitem__(self, key: str, /) -> PairFacts: ...
    def __setitem__(self, key: str, value: PairFacts, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str]: ...


class CountMap(Protocol):
    """How many levels a side has, by (pair number, side); a dict or `rsm.Map[tuple[int, int], int]`."""

    def __getitem__(self, key: tuple[int, int], /) -> int: ...
    def __setitem__(self, key: tuple[int, int], value: int, /) -> None: ...


class LevelBook:
    """Books of price levels of many pairs, over the three containers given."""

    def __init__(self, levels: LevelMap, pairs: PairMap, counts: CountMap) -> None:
        self._levels = levels
        self._pairs = pairs
        self._counts = counts

    def snapshot(
        self,
        pair: str,
        depth: int,
        price_decimals: int,
        quantity_decimals: int,
        asks: Iterable[Level],
        bids: Iterable[Level],
    ) -> int:
        """Start a pair, or start it again: its old levels are forgotten. Returns the checksum of the new book.

        Raises `LevelsError`, with nothing changed, if a number is out of range or a quantity is zero.
        """
        if not pair:
            raise LevelsError("a pair has a name")
        if not 1 <= depth <= DEPTH_MAX:
            raise LevelsError(f"depth must be 1 to {DEPTH_MAX}, not {depth}")
        for decimals in (price_decimals, quantity_decimals):
            if not 0 <= decimals <= DECIMALS_MAX:
                raise LevelsError(f"decimals must be 0 to {DECIMALS_MAX}, not {decimals}")
        sides = ((ASK, _checked(asks, 1)), (BID, _checked(bids, 1)))
        number = self._pairs[pair][0] if pair in self._pairs else len(self._pairs)
        known = pair in self._pairs
        self._pairs[pair] = (number, depth, price_decimals, quantity_decimals)
        for side, levels in sides:
            if known:
                # A list: the sorted map must not change under its own range.
                for key in list(self._levels.range((number, side, 0), (number, side + 1, 0))):
                    del self._levels[key]
            self._counts[number, side] = 0
            self._apply(number, side, levels, depth)
        return self.checksum(pair)

    def update(self, pair: str, asks: Iterable[Level], bids: Iterable[Level]) -> int:
        """Set the quantities of levels, 0 removing one, then cut to the depth. Returns the checksum to compare.

        All levels are applied before anything is cut. Removing a level that is not there is normal (it had been
        cut). Raises `LevelsError`, with nothing changed, if the pair has no snapshot or a number is out of range.
        """
        number, depth, _, _ = self._facts(pair)
        sides = ((ASK, _checked(asks, 0)), (BID, _checked(bids, 0)))
        for side, levels in sides:
            self._apply(number, side, levels, depth)
        return self.checksum(pair)

    def checksum(self, pair: str) -> int:
        """CRC32 over the digits of price and quantity of the ten best asks, then of the ten best bids."""
        number = self._facts(pair)[0]
        digits = [
            f"{price}{quantity}"
            for side in (ASK, BID)
            for price, quantity in islice(self._best_first(number, side), CHECKSUM_LEVELS)
        ]
        return zlib.crc32("".join(digits).encode("ascii"))

    def best(self, pair: str, side: int, levels_max: int) -> list[Level]:
        """Up to `levels_max` levels of a side (`BID`, `ASK`), best first."""
        return list(islice(self._best_first(self._facts(pair)[0], side), levels_max))

    def size(self, pair: str, side: int) -> int:
        """How many levels a side has."""
        return self._counts[self._facts(pair)[0], side]

    def pairs(self) -> list[str]:
        """The names of all pairs, sorted."""
        return sorted(self._pairs)

    def decimals(self, pair: str) -> tuple[int, int]:
        """(price decimals, quantity decimals) of a pair, for `decimal_text`."""
        return self._facts(pair)[2:]

    def _facts(self, pair: str) -> PairFacts:
        if pair not in self._pairs:
            raise LevelsError(f"{pair!r} has no snapshot yet")
        return self._pairs[pair]

    def _best_first(self, number: int, side: int) -> Iterator[Level]:
        levels = self._levels
        for key in levels.range((number, side, 0), (number, side + 1, 0), reverse=side == BID):
            yield key[2], levels[key]

    def _apply(self, number: int, side: int, changes: list[Level], depth: int) -> None:
        if not changes:
            return
        levels = self._levels
        before = count = self._counts[number, side]
        for price, quantity in changes:
            key = (number, side, price)
            if quantity:
                count += key not in levels
                levels[key] = quantity
            elif key in levels:
                count -= 1
                del levels[key]
        while count > depth:
            worst = levels.ceiling((number, BID, 0)) if side == BID else levels.lower((number, ASK + 1, 0))
            if worst is None or worst[:2] != (number, side):
                raise LevelsError(f"side {side} of pair {number} counts {count} levels but has fewer")
            del levels[worst]
            count -= 1
        if count != before:
            self._counts[number, side] = count


def decimal_text(value: int, decimals: int) -> str:
    """A scaled integer as people write it: `decimal_text(35415, 2)` is `354.15`."""
    digits = f"{abs(value):0{decimals + 1}d}"
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else sign + digits


def _checked(levels: Iterable[Level], quantity_min: int) -> list[Level]:
    """The levels as a list; checked as a whole before any is applied, so that a refused message changes nothing."""
    checked = list(levels)
    for price, quantity in checked:
        if not 1 <= price <= INTEGER_MAX:
            raise LevelsError(f"price must be 1 to {INTEGER_MAX}, not {price}")
        if not quantity_min <= quantity <= INTEGER_MAX:
            raise LevelsError(f"quantity must be {quantity_min} to {INTEGER_MAX}, not {quantity}")
    return checked
