"""Tracked queues: `Queue`, first in first out with stable positions, and `Table`, in which every key owns a queue.

An item's position never changes while it waits, so an item in the middle is found and removed without a scan. Positions
are state. The ends are not: the first position is the smallest live one and the next the largest live one plus one (0 in
an empty queue), both functions of the live items alone, so that a queue restored from a snapshot, or rolled back, goes
on exactly as one that was never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, NoReturn, TypeVar

from rsm.state.containers import Check, Record
from rsm.state.leaf import ABSENT
from rsm.state.ledger import Ledger

K = TypeVar("K")
V = TypeVar("V")
Q = TypeVar("Q", bound="Queue[Any]")


class Queue(Generic[V]):
    """First in, first out, with stable integer positions. Declare it alone, or in a `Table[K, Queue[V]]`."""

    __slots__ = ("_check_value", "_head", "_items", "_key", "_ledger", "_record", "_tail", "_table")

    _check_value: Check
    _ledger: Ledger
    _record: Record

    def __init__(self, table: Table[Any, Any] | None = None, key: Any = None) -> None:
        self._items: dict[int, V] = {}
        self._head = 0  # the smallest live position
        self._tail = 0  # the largest live position + 1
        self._table = table
        self._key = key
        if table is not None:
            self._check_value = table._check_value

    def push(self, value: V) -> int:
        """Append a value; returns its position."""
        self._check_value(value)
        position = self._tail
        self._note(position, ABSENT)
        if not self._items and self._table is not None:
            dict.__setitem__(self._table, self._key, self)
        self._items[position] = value
        self._tail = position + 1
        return position

    def push_front(self, value: V) -> int:
        """Put a value before the first one; returns its position (which may be negative)."""
        if not self._items:
            return self.push(value)
        self._check_value(value)
        position = self._head - 1
        self._note(position, ABSENT)
        self._items[position] = value
        self._head = position
        return position

    def remove(self, position: int) -> V:
        """Take out the item at a position, anywhere in the queue; KeyError if there is none."""
        value = self._items[position]
        self._note(position, value)
        self._drop(position)
        return value

    def pop_first(self) -> V:
        """Take out the first item; IndexError if the queue is empty."""
        if not self._items:
            raise IndexError("the queue is empty")
        return self.remove(self._head)

    def __setitem__(self, position: int, value: V) -> None:
        """Replace the item at a position, which keeps its place; KeyError if there is none."""
        self._check_value(value)
        self._note(position, self._items[position])
        self._items[position] = value

    def clear(self) -> None:
        """Take out every item."""
        for position in self.positions():
            self.remove(position)

    def first(self) -> int | None:
        """The position of the first item, or None."""
        return self._head if self._items else None

    def last(self) -> int | None:
        """The position of the last item, or None."""
        return self._tail - 1 if self._items else None

    def __getitem__(self, position: int) -> V:
        return self._items[position]

    def get(self, position: int, default: Any = None) -> Any:
        """The item at a position, or the default."""
        return self._items.get(position, default)

    def __contains__(self, position: object) -> bool:
        return position in self._items

    def __len__(self) -> int:
        return len(self._items)

    def positions(self) -> list[int]:
        """Live positions, first to last."""
        return sorted(self._items)

    def __iter__(self) -> Iterator[V]:
        return iter([self._items[position] for position in self.positions()])

    def items(self) -> list[tuple[int, V]]:
        """(position, value) pairs, first to last."""
        return [(position, self._items[position]) for position in self.positions()]

    def __eq__(self, other: object) -> bool:
        return self.items() == other.items() if isinstance(other, Queue) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable, as list is

    def __repr__(self) -> str:
        return f"Queue({self.items()!r})"

    def _note(self, position: int, old: Any) -> None:
        # True finds the item at 1, but its leaf would hash differently.
        if type(position) is not int:
            raise TypeError(f"a position is an int, not {type(position).__name__}")
        table = self._table
        if table is None:
            self._record((self, position, old))
        else:
            table._record((table, (self._key, position), old))

    def _drop(self, position: int) -> None:
        items = self._items
        del items[position]
        if not items:
            self._head = self._tail = 0
            if self._table is not None:
                dict.__delitem__(self._table, self._key)
            return
        # Each hole is walked over once by either end, after the removal that made it: constant cost over time.
        if position == self._head:
            position += 1
            while position not in items:
                position += 1
            self._head = position
        elif position == self._tail - 1:
            while position - 1 not in items:
                position -= 1
            self._tail = position

    def _leaf(self, leaf_key: Any, default: Any) -> Any:
        return self._items.get(leaf_key, default)

    def _leaves_of(self, key: Any) -> Iterator[tuple[Any, Any]]:
        yield key, self._items[key]

    def _restore(self, leaf_key: Any, old: Any) -> None:
        items = self._items
        if old is ABSENT:
            if leaf_key in items:
                self._drop(leaf_key)
            return
        if not items:
            self._head, self._tail = leaf_key, leaf_key + 1
            if self._table is not None:
                dict.__setitem__(self._table, self._key, self)
        elif leaf_key not in items:
            self._head, self._tail = min(self._head, leaf_key), max(self._tail, leaf_key + 1)
        items[leaf_key] = old


class Table(dict[K, Q]):
    """Every key owns a queue: `levels: rsm.Table[int, rsm.Queue[int]]`. Empty queues are not in the table.

    `table[key]` of an absent key gives an empty queue that joins the table when something is pushed. A queue handle is
    good for the command that took it; do not keep handles across commands.
    """

    __slots__ = ("_check_key", "_check_value", "_ledger", "_record")

    _check_key: Check
    _check_value: Check
    _ledger: Ledger
    _record: Record

    def __missing__(self, key: K) -> Q:
        self._check_key(key)
        return Queue(self, key)  # type: ignore[return-value]  # Q is always Queue[...]

    def __iter__(self) -> Iterator[K]:
        return iter(sorted(dict.keys(self)))  # type: ignore[type-var]  # keys are of orderable types, checked on write

    def __reversed__(self) -> Iterator[K]:
        return iter(sorted(dict.keys(self), reverse=True))  # type: ignore[type-var]  # as above

    def keys(self) -> Any:
        """Keys of the non-empty queues, in order. A list: it does not follow later changes."""
        return list(self)

    def values(self) -> Any:
        """The non-empty queues in key order. A list: it does not follow later changes."""
        return [self[key] for key in self]

    def items(self) -> Any:
        """(key, queue) pairs in key order. A list: it does not follow later changes."""
        return [(key, self[key]) for key in self]

    def clear(self) -> None:
        """Empty every queue."""
        for key in list(self):
            self[key].clear()

    def pop(self, key: K, *_: Any) -> NoReturn:
        """Refused: empty the queue instead."""
        raise TypeError("queues leave a table by becoming empty: use table[key].clear()")

    def __setitem__(self, key: K, value: Q) -> NoReturn:
        raise TypeError("queues join a table by a push: use table[key].push(value)")

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self[key].clear()

    def _refused(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this operation is not tracked; push to, or clear, the queues of the table")

    popitem = setdefault = update = copy = __ior__ = __reduce__ = _refused

    def __repr__(self) -> str:
        return f"Table({ {key: self[key] for key in self}!r})"

    def _leaf(self, leaf_key: Any, default: Any) -> Any:
        queue = self.get(leaf_key[0])
        return default if queue is None else queue._items.get(leaf_key[1], default)

    def _leaves_of(self, key: Any) -> Iterator[tuple[Any, Any]]:
        for position, value in self[key]._items.items():
            yield (key, position), value

    def _restore(self, leaf_key: Any, old: Any) -> None:
        key, position = leaf_key
        queue = self.get(key)
        if queue is None:
            if old is ABSENT:
                return
            queue = Queue(self, key)  # type: ignore[assignment]  # as above
        queue._restore(position, old)
