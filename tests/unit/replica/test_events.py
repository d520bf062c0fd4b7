"""The ring of recent events: consumers that come early, late and too late."""

from __future__ import annotations

import pytest

from rsm.errors import EventsGap
from rsm.replica import events
from rsm.replica.events import EventRing, RawEvent


def event(number: int) -> RawEvent:
    return RawEvent(number, 0, 0, 0, b"x" * 10)


def test_every_place_of_the_ring_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number and limit: the events behind it in order, or a gap that names the oldest one kept."""
    monkeypatch.setattr(events, "EVENTS_KEPT", 10)
    ring = EventRing()
    assert (ring.oldest, ring.newest, ring.after(0, 5)) == (1, 0, [])
    for count in (3, 4, 9, 30):
        ring.extend(event(number) for number in range(ring.newest + 1, ring.newest + count + 1))
        kept = range(max(ring.newest - 9, 1), ring.newest + 1)
        assert (ring.oldest, ring.newest) == (kept[0], kept[-1])
        for number in range(ring.newest + 3):
            for limit in (0, 1, 4, 100):
                if number + 1 < kept[0]:
                    with pytest.raises(EventsGap) as caught:
                        ring.after(number, limit)
                    assert caught.value.oldest_index == kept[0]
                else:
                    behind = [other for other in kept if other > number][:limit]
                    assert ring.after(number, limit) == [(other, event(other)) for other in behind]


def test_the_ring_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events of ten bytes each under a bound of 35: three are kept, also by a ring that was restored."""
    monkeypatch.setattr(events, "EVENT_BYTES_KEPT", 35)
    ring = EventRing()
    ring.extend(map(event, range(1, 8)))
    assert [each.index for each in ring] == [5, 6, 7]
    again = EventRing()
    again.restore(ring.newest, ring)
    again.extend([event(8)])
    assert [number for number, _ in again.after(5, 9)] == [6, 7, 8]
