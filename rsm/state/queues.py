"""Tracked queues: `Queue`, first in first out with stable positions, and `Table`, in which every key owns a queue.

An item's position never changes while it waits, so an item in the middle is found and removed without a scan. Positions
are state. The ends are not: the first position is the smallest live one and the next the largest live one plus one (0
in an empty queue), both functions of the live items alone, so that a queue restored from a snapshot, or rolled back,
goes on exactly as one that was never touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

from rsm.state.containers import Check, Record
from rsm.state.leaf import ABSENT
from rsm.state.ledger import Ledger

K = TypeVar("K")
V = TypeVar("V")
Q = TypeVar("Q", bound="Queue[Any]")


class Queue(dict[int, V]):
    """First in, first out, with stable integer positions. Declare it alone, or in a `Table[K, Queue[V]]`.

    A dict from position to value underneath: `queue[position]`, `position in queue`, `get` and `len` are the dict's
    own. Iterates over values, first to last.
    """

    __slots__ = ("_check_value", "_head", "_key", "_ledger", "_record", "_table", "_tail")

    _check_value: Check
    _ledger: Ledger
    _record: Record

    def __init__(self, table: Table[Any, Any] | None = None, key: Any = None) -> None:
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
        table = self._table
        if table is None:
            self._record((self, position, ABSENT))
        else:
            if not self:
                if self._key in table:
                    raise RuntimeError(
                        f"this queue was taken before another joined the table; take table[{self._key!r}] again"
                    )
                table._record((table, (self._key, position), ABSENT))
                dict.__setitem__(table, self._key, self)
            else:
                table._record((table, (self._key, position), ABSENT))
        dict.__setitem__(self, position, value)
        self._tail = position + 1
        return position

    def push_front(self, value: V) -> int:
        """Put a value before the first one; returns its position (which may be negative)."""
        if not self:
            return self.push(value)
        self._check_value(value)
        position = self._head - 1
        self._note(position, ABSENT)
        dict.__setitem__(self, position, value)
        self._head = position
        return position

    def remove(self, position: int) -> V:
        """Take out the item at a position, anywhere in the queue; KeyError if there is none."""
        value = self[position]
        self._note(position, value)
        self._drop(position)
        return value

    def pop_first(self) -> V:
        """Take out the first item; IndexError if the queue is empty."""
        if not self:
            raise IndexError("the queue is empty")
        return self.remove(self._head)

    def __setitem__(self, position: int, value: V) -> None:
        """Replace the item at a position, which keeps its place; KeyError if there is none."""
        self._check_value(value)
        self._note(position, self[position])
        dict.__setitem__(self, position, value)

    def __delitem__(self, position: int) -> None:
        self.remove(position)

    def clear(self) -> None:
        """Take out every item."""
        for position in self.positions():
            self.remove(position)

    def first(self) -> int | None:
        """The position of the first item, or None."""
        return self._head if self else None

    def last(self) -> int | None:
        """The position of the last item, or None."""
        return self._tail - 1 if self else None

    def positions(self) -> list[int]:
        """Live positions, first to last."""
        return sorted(dict.keys(self))

    def __iter__(self) -> Iterator[Any]:
        return iter([self[position] for position in self.positions()])

    def __reversed__(self) -> Iterator[Any]:
        return iter([self[position] for position in reversed(self.positions())])

    def keys(self) -> Any:
        """Live positions, first to last."""
        return self.positions()

    def values(self) -> Any:
        """Values, first to last. A list: it does not follow later changes."""
        return list(self)

    def items(self) -> Any:
        """(position, value) pairs, first to last. A list: it does not follow later changes."""
        return [(position, self[position]) for position in self.positions()]

    def _refused(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError(
            "this operation is not tracked; use push, push_front, remove, pop_first, clear or queue[position] = value"
        )

    pop = popitem = setdefault = update = copy = __or__ = __ror__ = __ior__ = __reduce__ = _refused

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
        dict.__delitem__(self, position)
        if not self:
            self._head = self._tail = 0
            if self._table is not None:
                dict.__delitem__(self._table, self._key)
            return
        # Each hole is walked over once by either end, after the removal that made it: constant cost over time.
        if position == self._head:
            position += 1
            while position not in self:
                position += 1
            self._head = position
        elif position == self._tail - 1:
            while position - 1 not in self:
                position -= 1
            self._tail = position

    _leaf = dict.get

    def _restore(self, leaf_key: Any, old: Any) -> None:
        if old is ABSENT:
            if leaf_key in self:
                self._drop(leaf_key)
            return
        if not self:
            self._head, self._tail = leaf_key, leaf_key + 1
            if self._table is not None:
                dict.__setitem__(self._table, self._key, self)
        elif leaf_key not in self:
            self._head, self._tail = min(self._head, leaf_key), max(self._tail, leaf_key + 1)
        dict.__setitem__(self, leaf_key, old)

    def _empty(self) -> None:
        dict.clear(self)
        self._head = self._tail = 0


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

    popitem = setdefault = update = copy = __or__ = __ror__ = __ior__ = __reduce__ = _refused

    def __repr__(self) -> str:
        return f"Table({ {key: self[key] for key in self}!r})"

    def _leaf(self, leaf_key: Any, default: Any) -> Any:
        queue = self.get(leaf_key[0])
        return default if queue is None else queue.get(leaf_key[1], default)

    def _restore(self, leaf_key: Any, old: Any) -> None:
        key, position = leaf_key
        if key in self or old is not ABSENT:
            self[key]._restore(position, old)

    def _empty(self) -> None:
        dict.clear(self)
