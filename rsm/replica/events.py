"""The ring of recent events: effects as data, in log order, numbered from 1, kept for consumers that come late.

The ring is bounded in number and bytes. What it drops is decided by the log alone, so every replica keeps the same
events and any of them can serve a consumer that lost its connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from rsm.errors import EventsGap
from rsm.limits import EVENT_BYTES_KEPT, EVENTS_KEPT


class RawEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event as it was emitted: identity and MessagePack of the value."""

    index: int
    position: int
    step: int
    number: int
    packed: bytes


class EventRing:
    """The last events. `newest` is the number of the last one, `oldest` of the first one kept."""

    def __init__(self) -> None:
        self._ring: deque[RawEvent] = deque()
        self._bytes = 0
        self.newest = 0

    @property
    def oldest(self) -> int:
        """The number of the oldest event kept; `newest + 1` when there is none."""
        return self.newest - len(self._ring) + 1

    def extend(self, events: Iterable[RawEvent]) -> None:
        """Add events in order and drop the oldest beyond the bounds."""
        ring = self._ring
        for event in events:
            ring.append(event)
            self._bytes += len(event.packed)
            self.newest += 1
        while len(ring) > EVENTS_KEPT or self._bytes > EVENT_BYTES_KEPT:
            self._bytes -= len(ring.popleft().packed)

    def after(self, number: int, limit: int) -> list[tuple[int, RawEvent]]:
        """Up to `limit` (number, event) pairs after `number`; `EventsGap` if some of those are gone."""
        if number + 1 < self.oldest:
            raise EventsGap(
                f"events {number + 1} to {self.oldest - 1} are no longer kept; "
                f"read the state, then go on from event {self.oldest}",
                self.oldest,
            )
        ring = self._ring
        skip = number + 1 - self.oldest
        # By position: a deque finds one from its nearer end, and most consumers have read almost everything.
        return [(number + 1 + ahead, ring[skip + ahead]) for ahead in range(min(limit, len(ring) - skip))]

    def restore(self, newest: int, events: Iterable[RawEvent]) -> None:
        """Put back the ring of a snapshot."""
        self._ring = deque(events)
        self._bytes = sum(len(event.packed) for event in self._ring)
        self.newest = newest

    def __iter__(self) -> Iterator[RawEvent]:
        return iter(self._ring)
