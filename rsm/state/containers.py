"""Tracked containers: Map, SortedMap and Set. They read like dict and set, and every write can be undone.

`Map` is a dict and `Set` a set underneath, so reads run at the speed of the built-in types; only writes and iteration
are ours. Iteration is always in key order, never in insertion order: undoing a removal or restoring a snapshot changes
the order of insertion, and a replica that iterated in it would differ from its peers.

Outside a command (in a query, or from another thread) writes are refused. Keys and values are checked when they are
written, where the traceback names the user's line: `True` is not 1, a float is no int, and what cannot be encoded would
otherwise become an entry that no replica can hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NoReturn, TypeVar

from rsm.state.leaf import ABSENT
from rsm.state.ledger import Ledger
from rsm.state.sorted_keys import SortedKeys

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

Record = Callable[[tuple[Any, Any, Any]], None]
# Refuses a key or value that the declaration does not allow, by raising TypeError.
Check = Callable[[Any], Any]


def refuse_write(_: tuple[Any, Any, Any]) -> NoReturn:
    """The recorder of a container outside a command."""
    raise TypeError("state can be changed only inside a command, timer or session-end handler")


class Map(dict[K, V]):
    """A dict that keeps undo records; iterates in key order. Declare it: `balances: rsm.Map[str, int]`.

    Keys are int, str, bytes or fixed tuples of these, values as in `rsm.state.types`; others raise `TypeError`.
    """

    __slots__ = ("_check_key", "_check_value", "_ledger", "_record")

    _check_key: Check
    _check_value: Check
    _ledger: Ledger
    _record: Record

    def __setitem__(self, key: K, value: V) -> None:
        self._check_key(key)
        self._check_value(value)
        self._record((self, key, self.get(key, ABSENT)))
        dict.__setitem__(self, key, value)

    def __delitem__(self, key: K) -> None:
        # Checked here too: True finds the entry of 1, but its leaf would hash differently.
        self._check_key(key)
        self._record((self, key, self[key]))
        dict.__delitem__(self, key)

    def pop(self, key: K, *default: Any) -> Any:
        """Remove and return the value at `key`, or the default, as dict does."""
        self._check_key(key)
        old = self.get(key, ABSENT)
        if old is ABSENT:
            if default:
                return default[0]
            raise KeyError(key)
        self._record((self, key, old))
        dict.__delitem__(self, key)
        return old

    def setdefault(self, key: K, default: Any = None) -> Any:
        """The value at `key`, set to the default first if there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **named: Any) -> None:
        """Set many keys, in the order given."""
        for key, value in dict(*others, **named).items():
            self[key] = value

    def clear(self) -> None:
        """Remove every key."""
        for key in list(self):
            del self[key]

    def popitem(self) -> NoReturn:
        """Refused: which item is last depends on insertion order, which replicas do not share."""
        raise TypeError("popitem() depends on insertion order; pop a key that you name")

    def __ior__(self, other: Any) -> Any:
        self.update(other)
        return self

    def __or__(self, other: Any) -> Any:
        # dict's own would copy in order of insertion.
        return self.copy() | other

    def __iter__(self) -> Iterator[K]:
        return iter(sorted(dict.keys(self)))  # type: ignore[type-var]  # keys are of orderable types, checked on write

    def __reversed__(self) -> Iterator[K]:
        return iter(sorted(dict.keys(self), reverse=True))  # type: ignore[type-var]  # as above

    def keys(self) -> Any:
        """Keys in order. A list: it does not follow later changes."""
        return list(self)

    def values(self) -> Any:
        """Values in key order. A list: it does not follow later changes."""
        return [self[key] for key in self]

    def items(self) -> Any:
        """(key, value) pairs in key order. A list: it does not follow later changes."""
        return [(key, self[key]) for key in self]

    def copy(self) -> dict[K, V]:
        """A plain dict of the contents, in key order."""
        return {key: self[key] for key in self}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.copy()!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a tracked container cannot be copied or pickled; use .copy() for a plain dict")

    _leaf = dict.get

    def _restore(self, leaf_key: Any, old: Any) -> None:
        if old is ABSENT:
            dict.pop(self, leaf_key, None)
        else:
            dict.__setitem__(self, leaf_key, old)

    def _empty(self) -> None:
        dict.clear(self)


class SortedMap(Map[K, V]):
    """A Map that always knows its key order: first, last, neighbours and ranges without a scan."""

    __slots__ = ("_order",)

    def __init__(self) -> None:
        super().__init__()
        self._order = SortedKeys()

    def __setitem__(self, key: K, value: V) -> None:
        self._check_key(key)
        self._check_value(value)
        old = self.get(key, ABSENT)
        self._record((self, key, old))
        dict.__setitem__(self, key, value)
        if old is ABSENT:
            self._order.add(key)

    def __delitem__(self, key: K) -> None:
        self._check_key(key)
        self._record((self, key, self[key]))
        dict.__delitem__(self, key)
        self._order.remove(key)

    def pop(self, key: K, *default: Any) -> Any:
        """Remove and return the value at `key`, or the default, as dict does."""
        if key not in self and default:
            return default[0]
        value = self[key]
        del self[key]
        return value

    def first(self) -> K | None:
        """The smallest key, or None."""
        return self._order.first()  # type: ignore[no-any-return]  # the order holds what __setitem__ let in: keys

    def last(self) -> K | None:
        """The largest key, or None."""
        return self._order.last()  # type: ignore[no-any-return]  # as above

    def ceiling(self, key: K) -> K | None:
        """The smallest key >= `key`, or None."""
        return self._order.ceiling(key)  # type: ignore[no-any-return]  # as above

    def higher(self, key: K) -> K | None:
        """The smallest key > `key`, or None."""
        return self._order.higher(key)  # type: ignore[no-any-return]  # as above

    def floor(self, key: K) -> K | None:
        """The largest key <= `key`, or None."""
        return self._order.floor(key)  # type: ignore[no-any-return]  # as above

    def lower(self, key: K) -> K | None:
        """The largest key < `key`, or None."""
        return self._order.lower(key)  # type: ignore[no-any-return]  # as above

    def range(self, start: K | None = None, stop: K | None = None, reverse: bool = False) -> Iterator[K]:
        """Keys with start <= key < stop (None: open), rising, or falling if `reverse`; follows writes on the way."""
        return self._order.range(start, stop, reverse)

    def __iter__(self) -> Iterator[K]:
        return self._order.range(None, None, False)

    def __reversed__(self) -> Iterator[K]:
        return self._order.range(None, None, True)

    def _restore(self, leaf_key: Any, old: Any) -> None:
        had = leaf_key in self
        if old is ABSENT:
            if had:
                dict.__delitem__(self, leaf_key)
                self._order.remove(leaf_key)
        else:
            dict.__setitem__(self, leaf_key, old)
            if not had:
                self._order.add(leaf_key)

    def _empty(self) -> None:
        dict.clear(self)
        self._order = SortedKeys()


class Set(set[T], Generic[T]):
    """A set that keeps undo records; iterates in order. Declare it: `seen: rsm.Set[str]`."""

    __slots__ = ("_check_key", "_check_value", "_ledger", "_record")

    _check_key: Check
    _check_value: Check
    _ledger: Ledger
    _record: Record

    def add(self, member: T) -> None:
        """Add a member; nothing happens if it is there."""
        self._check_key(member)
        if member not in self:
            self._record((self, member, ABSENT))
            set.add(self, member)

    def discard(self, member: object) -> None:
        """Remove a member if it is there."""
        self._check_key(member)
        if member in self:
            self._record((self, member, None))
            set.discard(self, member)

    def remove(self, member: T) -> None:
        """Remove a member, or raise KeyError."""
        if member not in self:
            raise KeyError(member)
        self.discard(member)

    def clear(self) -> None:
        """Remove every member."""
        for member in list(self):
            self.discard(member)

    def update(self, *others: Iterable[T]) -> None:
        """Add all members of the iterables."""
        for other in others:
            for member in other:
                self.add(member)

    def __iter__(self) -> Iterator[T]:
        return iter(sorted(set.__iter__(self)))  # type: ignore[type-var]  # members are of orderable types, checked on write

    def __repr__(self) -> str:
        return f"Set({list(self)!r})"

    def _refused(self, *_: Any) -> NoReturn:
        raise TypeError("this set operation is not tracked; use add, discard, remove, update or clear")

    pop = __ior__ = __iand__ = __isub__ = __ixor__ = _refused
    difference_update = intersection_update = symmetric_difference_update = _refused
    __reduce__ = _refused

    def _unordered(self, *_: Any) -> NoReturn:
        raise TypeError("the result would be a plain set, which iterates differently on every replica; use list(...)")

    copy = union = intersection = difference = symmetric_difference = _unordered
    __or__ = __and__ = __sub__ = __xor__ = _unordered

    def _leaf(self, leaf_key: Any, default: Any) -> Any:
        return None if leaf_key in self else default

    def _restore(self, leaf_key: Any, old: Any) -> None:
        if old is ABSENT:
            set.discard(self, leaf_key)
        else:
            set.add(self, leaf_key)

    def _empty(self) -> None:
        set.clear(self)
