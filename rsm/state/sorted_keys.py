"""Keys in order: lists of bounded length, side by side, found by bisection over their last keys.

Inserting moves at most one part's pointers (4 KiB), so a million keys cost hardly more than a thousand.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any, Final

PART_KEYS_MAX: Final = 512


class SortedKeys:
    """Distinct keys of one orderable type, in order."""

    __slots__ = ("_changes", "_maxes", "_parts")

    def __init__(self) -> None:
        self._parts: list[list[Any]] = []
        self._maxes: list[Any] = []  # the last key of each part
        self._changes = 0  # how many keys came or went, for ranges that are under way

    def add(self, key: Any) -> None:
        """Insert a key that is not there."""
        self._changes += 1
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
            half = len(part) // 2
            self._parts.insert(number + 1, part[half:])
            maxes.insert(number + 1, part[-1])
            del part[half:]
            maxes[number] = part[-1]

    def remove(self, key: Any) -> None:
        """Take out a key that is there."""
        self._changes += 1
        maxes = self._maxes
        number = bisect_left(maxes, key)
        part = self._parts[number]
        del part[bisect_left(part, key)]
        if not part:
            del self._parts[number]
            del maxes[number]
        elif maxes[number] == key:
            maxes[number] = part[-1]

    def first(self) -> Any:
        """The smallest key, or None."""
        return self._parts[0][0] if self._parts else None

    def last(self) -> Any:
        """The largest key, or None."""
        return self._maxes[-1] if self._maxes else None

    def ceiling(self, key: Any) -> Any:
        """The smallest key >= `key`, or None."""
        maxes = self._maxes
        number = bisect_left(maxes, key)
        if number == len(maxes):
            return None
        part = self._parts[number]
        return part[bisect_left(part, key)]

    def higher(self, key: Any) -> Any:
        """The smallest key > `key`, or None."""
        maxes = self._maxes
        number = bisect_right(maxes, key)
        if number == len(maxes):
            return None
        part = self._parts[number]
        return part[bisect_right(part, key)]

    def floor(self, key: Any) -> Any:
        """The largest key <= `key`, or None."""
        return self._before(key, bisect_right)

    def lower(self, key: Any) -> Any:
        """The largest key < `key`, or None."""
        return self._before(key, bisect_left)

    def _before(self, key: Any, bisect: Any) -> Any:
        number = min(bisect_left(self._maxes, key), len(self._maxes) - 1)
        if number < 0:
            return None
        place = bisect(self._parts[number], key)
        if place:
            return self._parts[number][place - 1]
        return self._maxes[number - 1] if number else None

    def range(self, start: Any, stop: Any, reverse: bool) -> Iterator[Any]:
        """Keys with start <= key < stop (None: open), rising, or falling if `reverse`.

        When keys come or go on the way, it goes on with what is then the next key: how keys are spread over parts is an
        accident of history, and nothing that a caller sees may depend on it.
        """
        while True:
            changes = self._changes
            for key in self._keys(start, stop, reverse):
                yield key
                if self._changes != changes:
                    break
            else:
                return
            if reverse:
                stop = key
            else:
                start = self.higher(key)
                if start is None:
                    return

    def _keys(self, start: Any, stop: Any, reverse: bool) -> Iterator[Any]:
        parts, maxes = self._parts, self._maxes
        begin = 0 if start is None else bisect_left(maxes, start)
        end = len(parts) if stop is None else min(bisect_left(maxes, stop) + 1, len(parts))
        for number in reversed(range(begin, end)) if reverse else range(begin, end):
            part = parts[number]
            low = 0 if start is None else bisect_left(part, start)
            high = len(part) if stop is None else bisect_left(part, stop)
            yield from reversed(part[low:high]) if reverse else part[low:high]
