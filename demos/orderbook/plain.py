"""Plain containers for the order book: the interface of tracked ones, on dict, with nothing in the way.

They remember nothing to undo and check no types: what is left is the bare cost of matching, which the benchmark holds
the tracked containers against. Iteration is in key order, and queue positions follow the same rule as tracked ones (the
next position is the last live one + 1, 0 in an empty queue), so that both hold equal values after equal commands.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

from demos.orderbook.book import Book
from demos.orderbook.records import Market, Order, Tape
from demos.orderbook.reference_book import LevelKey, ReferenceBook, RestingOrder

# Keys have one total order: int, str, bytes, and tuples of these.
K = TypeVar("K", int, str, bytes, tuple[int, int, int])
V = TypeVar("V")

# Keys in one part of a sorted map: moving 4 KiB of pointers costs less than finding the part.
PART_KEYS_MAX: Final = 512


class Map(dict[K, V]):
    """A dict that iterates in key order."""

    __slots__ = ()

    def __iter__(self) -> Iterator[K]:
        return iter(sorted(dict.keys(self)))

    def keys(self) -> Any:
        """Keys in order."""
        return list(self)

    def values(self) -> Any:
        """Values in key order."""
        return [self[key] for key in self]

    def items(self) -> Any:
        """(key, value) pairs in key order."""
        return [(key, self[key]) for key in self]


class SortedMap(Map[K, V]):
    """A Map that knows its key order at all times: sorted lists of bounded length, beside the dict."""

    __slots__ = ("_maxes", "_parts")

    def __init__(self) -> None:
        self._parts: list[list[K]] = []
        self._maxes: list[K] = []  # the last key of each part

    def __setitem__(self, key: K, value: V) -> None:
        if key not in self:
            self._add(key)
        dict.__setitem__(self, key, value)

    def _add(self, key: K) -> None:
        maxes = self._maxes
        if not maxes:
            maxes.append(key)
            self._parts.append([key])
            return
        number = bisect_left(maxes, key)
        if number == len(maxes):
            number -= 1
            maxes[number] = key
        part = self._parts[number]
        insort(part, key)
        if len(part) > PART_KEYS_MAX:
            half = PART_KEYS_MAX // 2
            self._parts.insert(number + 1, part[half:])
            maxes.insert(number + 1, part[-1])
            del part[half:]
            maxes[number] = part[-1]

    def __delitem__(self, key: K) -> None:
        dict.__delitem__(self, key)
        number = bisect_left(self._maxes, key)
        part = self._parts[number]
        del part[bisect_left(part, key)]
        if not part:
            del self._parts[number]
            del self._maxes[number]
        elif self._maxes[number] == key:
            self._maxes[number] = part[-1]

    def pop(self, key: K, *default: Any) -> Any:
        """Remove and return the value at `key`, or the default."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value at `key`, set to the default first if there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **named: Any) -> None:
        """Set many keys."""
        for key, value in dict(*others, **named).items():
            self[key] = value

    def clear(self) -> None:
        """Remove every key."""
        dict.clear(self)
        self._parts.clear()
        self._maxes.clear()

    def first(self) -> K | None:
        """The smallest key, or None."""
        return self._parts[0][0] if self._parts else None

    def last(self) -> K | None:
        """The largest key, or None."""
        return self._maxes[-1] if self._maxes else None

    def ceiling(self, key: K) -> K | None:
        """The smallest key >= `key`, or None."""
        maxes = self._maxes
        number = bisect_left(maxes, key)
        if number == len(maxes):
            return None
        part = self._parts[number]
        return part[bisect_left(part, key)]

    def higher(self, key: K) -> K | None:
        """The smallest key > `key`, or None."""
        return next((other for other in self.range(key) if other != key), None)

    def floor(self, key: K) -> K | None:
        """The largest key <= `key`, or None."""
        return key if key in self else self.lower(key)

    def lower(self, key: K) -> K | None:
        """The largest key < `key`, or None."""
        return next(self.range(None, key, True), None)

    def range(self, start: K | None = None, stop: K | None = None, reverse: bool = False) -> Iterator[K]:
        """Keys with start <= key < stop (None: open), rising, or falling if `reverse`. Do not write while iterating."""
        parts, maxes = self._parts, self._maxes
        begin = 0 if start is None else bisect_left(maxes, start)
        end = len(parts) if stop is None else min(bisect_left(maxes, stop) + 1, len(parts))
        for number in reversed(range(begin, end)) if reverse else range(begin, end):
            part = parts[number]
            low = 0 if start is None else bisect_left(part, start)
            high = len(part) if stop is None else bisect_left(part, stop)
            yield from reversed(part[low:high]) if reverse else part[low:high]

    def __iter__(self) -> Iterator[K]:
        for part in self._parts:
            yield from part


class Queue(dict[int, V]):
    """First in, first out, with stable positions: a dict of position to value that knows its ends.

    Iterates over the values.
    """

    __slots__ = ("_head", "_key", "_table", "_tail")

    def __init__(self, table: Table[Any, V] | None = None, key: Any = None) -> None:
        self._head = 0  # the first live position
        self._tail = 0  # the last live position + 1
        self._table = table
        self._key = key

    def push(self, value: V) -> int:
        """Append a value; returns its position."""
        if not self and self._table is not None:
            self._table[self._key] = self
        position = self._tail
        self[position] = value
        self._tail = position + 1
        return position

    def push_front(self, value: V) -> int:
        """Put a value before the first one; returns its position."""
        if not self:
            return self.push(value)
        self._head -= 1
        self[self._head] = value
        return self._head

    def remove(self, position: int) -> V:
        """Take out the item at a position; KeyError if there is none."""
        value = dict.pop(self, position)
        if not self:
            self._head = self._tail = 0
            if self._table is not None:
                del self._table[self._key]
        elif position == self._head:
            position += 1
            while position not in self:
                position += 1
            self._head = position
        elif position == self._tail - 1:
            while position - 1 not in self:
                position -= 1
            self._tail = position
        return value

    def pop_first(self) -> V:
        """Take out the first item; IndexError if the queue is empty."""
        if not self:
            raise IndexError("the queue is empty")
        return self.remove(self._head)

    def first(self) -> int | None:
        """The position of the first item, or None."""
        return self._head if self else None

    def last(self) -> int | None:
        """The position of the last item, or None."""
        return self._tail - 1 if self else None

    def clear(self) -> None:
        """Take out every item."""
        for position in self.positions():
            self.remove(position)

    def positions(self) -> list[int]:
        """Live positions, first to last."""
        return sorted(dict.keys(self))

    def __iter__(self) -> Iterator[Any]:
        return iter([self[position] for position in self.positions()])

    def items(self) -> Any:
        """(position, value) pairs, first to last."""
        return [(position, self[position]) for position in self.positions()]


class Table(Map[K, Queue[V]], Generic[K, V]):
    """Every key owns a queue; a queue joins with its first item and leaves with its last."""

    __slots__ = ()

    def __missing__(self, key: K) -> Queue[V]:
        return Queue(self, key)


class Set(set[K]):
    """A set that iterates in order."""

    __slots__ = ()

    def __iter__(self) -> Iterator[K]:
        return iter(sorted(set.__iter__(self)))


def new_book() -> Book:
    """An empty book on plain containers."""
    orders: Map[int, Order] = Map()
    levels: Table[int, int] = Table()
    prices: SortedMap[int, None] = SortedMap()
    owned: Table[int, int] = Table()
    markets: Map[int, Market] = Map()
    tapes: Map[int, Tape] = Map()
    symbols: Map[str, int] = Map()
    return Book(orders=orders, levels=levels, prices=prices, owned=owned, markets=markets, tapes=tapes, symbols=symbols)


def new_reference_book() -> ReferenceBook:
    """An empty book of references on plain containers."""
    orders: Map[int, RestingOrder] = Map()
    queues: Table[LevelKey, int] = Table()
    levels: SortedMap[LevelKey, int] = SortedMap()
    return ReferenceBook(orders, queues, levels)
