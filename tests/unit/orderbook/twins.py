"""Plain stand-ins for the tracked containers, for tests of domain objects without a machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sortedcontainers import SortedDict


class PlainSortedMap(SortedDict):
    """A SortedDict with the neighbour methods of `rsm.SortedMap`."""

    def first(self) -> Any:
        """The smallest key, or None."""
        return self.keys()[0] if self else None

    def last(self) -> Any:
        """The largest key, or None."""
        return self.keys()[-1] if self else None

    def ceiling(self, key: Any) -> Any:
        """The smallest key >= `key`, or None."""
        return next(self.irange(key), None)

    def lower(self, key: Any) -> Any:
        """The largest key < `key`, or None."""
        return next(self.irange(None, key, (True, False), reverse=True), None)

    def range(self, start: Any = None, stop: Any = None, reverse: bool = False) -> Iterator[Any]:
        """Keys with start <= key < stop, rising, or falling if `reverse`."""
        return self.irange(start, stop, (True, False), reverse)
