"""Views: containers as they were at one index, for reads that take long while the live ones go on.

A view is an overlay like that of a snapshot's cut, kept by key: the ledger tells it the first old value of every leaf
that changes, and a read looks there first. Opening one copies nothing; it costs memory only for what changes while it
is open, at most `VIEW_LEAVES_MAX` leaves, after which it is broken and reading from it raises `LimitExceeded`.

Views answer the reading half of their containers' methods and have no writing half.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, SupportsIndex

from rsm.errors import LimitExceeded
from rsm.limits import VIEW_LEAVES_MAX
from rsm.state.arrays import Array
from rsm.state.columns import ARRAY_KIND
from rsm.state.containers import Map, Set, SortedMap
from rsm.state.leaf import ABSENT
from rsm.state.queues import Queue, Table
from rsm.state.sorted_keys import SortedKeys

UNCHANGED: Final = object()


class OldLeaves:
    """The overlay of a view: first old values, under their leaf keys."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}
        self.is_broken = False

    def note(self, _: int, leaf_key: Any, old: Any) -> None:
        """A leaf is about to differ from `old`."""
        if leaf_key in self.values or self.is_broken:
            return
        if len(self.values) >= VIEW_LEAVES_MAX:
            self.close()
            return
        self.values[leaf_key] = old
        self.added(leaf_key, old)

    def close(self) -> None:
        """Take no more; nothing is read from it any more."""
        self.is_broken = True
        self.values.clear()

    def added(self, leaf_key: Any, old: Any) -> None:
        """For kinds of views that keep more than the values."""

    def check(self) -> None:
        """Raise `LimitExceeded` if too much has changed since the view was opened."""
        if self.is_broken:
            raise LimitExceeded(f"more than {VIEW_LEAVES_MAX} keys changed while the query ran; ask for less at a time")


class MapView(Mapping[Any, Any]):
    """A Map at one index."""

    def __init__(self, live: Map[Any, Any]) -> None:
        self._live = live
        self._count = len(live)
        self.overlay = OldLeaves()

    def __getitem__(self, key: Any) -> Any:
        self.overlay.check()
        old = self.overlay.values.get(key, UNCHANGED)
        if old is UNCHANGED:
            return self._live[key]
        if old is ABSENT:
            raise KeyError(key)
        return old

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        self.overlay.check()
        old = self.overlay.values
        keys = [key for key in dict.keys(self._live) if key not in old]
        keys.extend(key for key, value in old.items() if value is not ABSENT)
        return iter(sorted(keys))

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self)[::-1])

    def keys(self) -> Any:
        """Keys in order."""
        return list(self)

    def values(self) -> Any:
        """Values in key order."""
        return [self[key] for key in self]

    def items(self) -> Any:
        """(key, value) pairs in key order."""
        return [(key, self[key]) for key in self]

    def copy(self) -> dict[Any, Any]:
        """A plain dict of the contents, in key order."""
        return dict(self.items())


class OldSortedLeaves(OldLeaves):
    """Also knows the order of the keys that were there and have changed."""

    def __init__(self) -> None:
        super().__init__()
        self.order = SortedKeys()

    def added(self, leaf_key: Any, old: Any) -> None:
        if old is not ABSENT:
            self.order.add(leaf_key)

    def close(self) -> None:
        super().close()
        self.order = SortedKeys()


class SortedMapView(MapView):
    """A SortedMap at one index. Ranges step from key to key, so they may be read while the live map changes."""

    def __init__(self, live: SortedMap[Any, Any]) -> None:
        super().__init__(live)
        self._order = live._order
        self.overlay: OldSortedLeaves = OldSortedLeaves()

    def first(self) -> Any:
        """The smallest key, or None."""
        return self._merge(self._order.first(), self.overlay.order.first(), rising=True)

    def last(self) -> Any:
        """The largest key, or None."""
        return self._merge(self._order.last(), self.overlay.order.last(), rising=False)

    def ceiling(self, key: Any) -> Any:
        """The smallest key >= `key`, or None."""
        return self._merge(self._order.ceiling(key), self.overlay.order.ceiling(key), rising=True)

    def higher(self, key: Any) -> Any:
        """The smallest key > `key`, or None."""
        return self._merge(self._order.higher(key), self.overlay.order.higher(key), rising=True)

    def floor(self, key: Any) -> Any:
        """The largest key <= `key`, or None."""
        return self._merge(self._order.floor(key), self.overlay.order.floor(key), rising=False)

    def lower(self, key: Any) -> Any:
        """The largest key < `key`, or None."""
        return self._merge(self._order.lower(key), self.overlay.order.lower(key), rising=False)

    def _merge(self, live: Any, old: Any, *, rising: bool) -> Any:
        """The nearer of a live key (passing over those that came later) and a key that has changed."""
        self.overlay.check()
        values = self.overlay.values
        while live is not None and values.get(live, UNCHANGED) is ABSENT:
            live = self._order.higher(live) if rising else self._order.lower(live)
        if live is None or old is None:
            return old if live is None else live
        return min(live, old) if rising else max(live, old)

    def range(self, start: Any = None, stop: Any = None, reverse: bool = False) -> Iterator[Any]:
        """Keys with start <= key < stop (None: open), rising, or falling if `reverse`."""
        if reverse:
            key = self.last() if stop is None else self.lower(stop)
            while key is not None and (start is None or key >= start):
                yield key
                key = self.lower(key)
        else:
            key = self.first() if start is None else self.ceiling(start)
            while key is not None and (stop is None or key < stop):
                yield key
                key = self.higher(key)

    def __iter__(self) -> Iterator[Any]:
        return self.range()

    def __reversed__(self) -> Iterator[Any]:
        return self.range(reverse=True)


class SetView:
    """A Set at one index."""

    def __init__(self, live: Set[Any]) -> None:
        self._live = live
        self._count = len(live)
        self.overlay = OldLeaves()

    def __contains__(self, member: object) -> bool:
        self.overlay.check()
        old = self.overlay.values.get(member, UNCHANGED)
        return member in self._live if old is UNCHANGED else old is not ABSENT

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        self.overlay.check()
        old = self.overlay.values
        members = [member for member in set.__iter__(self._live) if member not in old]
        members.extend(member for member, value in old.items() if value is not ABSENT)
        return iter(sorted(members))


class QueueView(Mapping[int, Any]):
    """A Queue at one index. `read` gives its items by position, in no particular order."""

    def __init__(self, read: Callable[[], dict[int, Any]]) -> None:
        self._read = read

    def __getitem__(self, position: int) -> Any:
        return self._read()[position]

    def __len__(self) -> int:
        return len(self._read())

    def __contains__(self, position: object) -> bool:
        return position in self._read()

    def first(self) -> int | None:
        """The position of the first item, or None."""
        return min(self._read(), default=None)

    def last(self) -> int | None:
        """The position of the last item, or None."""
        return max(self._read(), default=None)

    def positions(self) -> list[int]:
        """Live positions, first to last."""
        return sorted(self._read())

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values())

    def keys(self) -> Any:
        """Live positions, first to last."""
        return self.positions()

    def values(self) -> Any:
        """Values, first to last."""
        return [value for _, value in self.items()]

    def items(self) -> Any:
        """(position, value) pairs, first to last."""
        return sorted(self._read().items(), key=lambda item: item[0])


def patched(live: dict[int, Any], old: Mapping[int, Any]) -> dict[int, Any]:
    """A queue's items as they were, from those that are and the old values of those that changed."""
    items = {position: live[position] for position in dict.keys(live) if position not in old}
    items.update((position, value) for position, value in old.items() if value is not ABSENT)
    return items


class OldQueueLeaves(OldLeaves):
    """Old values of a table, by key and position."""

    def __init__(self) -> None:
        super().__init__()
        self.by_key: dict[Any, dict[int, Any]] = {}

    def added(self, leaf_key: Any, old: Any) -> None:
        self.by_key.setdefault(leaf_key[0], {})[leaf_key[1]] = old

    def close(self) -> None:
        super().close()
        self.by_key.clear()


class TableView(Mapping[Any, QueueView]):
    """A Table at one index."""

    def __init__(self, live: Table[Any, Any]) -> None:
        self._live = live
        self._count = len(live)
        self.overlay = OldQueueLeaves()

    def __getitem__(self, key: Any) -> QueueView:
        self.overlay.check()
        items = patched(self._live.get(key, {}), self.overlay.by_key.get(key, {}))
        return QueueView(lambda: items)

    def get(self, key: Any, default: Any = None) -> Any:
        """The queue at a key, or the default."""
        queue = self[key]
        return queue if len(queue) else default

    def __contains__(self, key: object) -> bool:
        return len(self[key]) > 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(key for key in dict.keys(self._live) | self.overlay.by_key.keys() if key in self))

    def keys(self) -> Any:
        """Keys of the non-empty queues, in order."""
        return list(self)

    def values(self) -> Any:
        """The non-empty queues in key order."""
        return [self[key] for key in self]

    def items(self) -> Any:
        """(key, queue) pairs in key order."""
        return [(key, self[key]) for key in self]


class LoneQueueView(QueueView):
    """A Queue that stands alone, at one index: put together at every read."""

    def __init__(self, live: Queue[Any]) -> None:
        self.overlay = OldLeaves()
        super().__init__(lambda: self._patched(live))

    def _patched(self, live: Queue[Any]) -> dict[int, Any]:
        self.overlay.check()
        return patched(live, self.overlay.values)


class ArrayView:
    """An Array at one index. What it gives is copied when it is first read, if it has not changed by then."""

    def __init__(self, live: Array) -> None:
        self._live = live
        self._count = len(live)
        self._copies: dict[str, Any] = {}
        self.overlay = OldLeaves()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, as declared."""
        return self._live.columns

    def __len__(self) -> int:
        return self._count

    def read(self, column: str) -> Any:
        """A column, not to be written to."""
        self.overlay.check()
        if column not in self._copies:
            self._copies[column] = self._live.frozen(column, self.overlay.values.get(column, UNCHANGED))
        return self._copies[column]

    def get(self, column: str, row: SupportsIndex) -> int:
        """The value of one cell."""
        at = operator.index(row)
        if not 0 <= at < self._count:
            raise IndexError(f"row {at} of {self._count}")
        return int(self.read(column)[at])


VIEWS: Final[dict[str, Any]] = {
    "map": MapView,
    "sorted_map": SortedMapView,
    "set": SetView,
    "queue": LoneQueueView,
    "table": TableView,
    ARRAY_KIND: ArrayView,
}
