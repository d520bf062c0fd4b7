"""What a player's client measures of itself: how long a turn takes, how long an order takes, how much work a turn is.

The machine hears two numbers of it, since the length of turns depends on them (`demos.rts_lockstep.turns`): the round
trip of what the client sends, and what a turn takes its computer. Both are told as nearly the worst of late, not the
worst: one hiccup is no reason to slow everybody down.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final

# Of so many round trips and turns the second worst is told.
ROUND_TRIPS_KEPT: Final = 8
TURNS_KEPT: Final = 25
# A client that is so many entries behind its node cannot keep up, whatever its processor time says.
BEHIND_ENTRIES_MAX: Final = 15
SECOND_WORST: Final = 2
# A page reports its slow frames once a second; one that has said nothing for so long sleeps, or is closed.
PAGE_SECONDS_MAX: Final = 5.0


class Measures:
    """Of one client. Answers come in another thread than turns do. Times in seconds by the monotonic clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._round_trips: deque[float] = deque(maxlen=ROUND_TRIPS_KEPT)
        self._steps: deque[float] = deque(maxlen=TURNS_KEPT)
        self._last_turn_at: float | None = None
        self._page_frame_ms = 0  # as pages report it, the slowest one of late, and when
        self._page_drew_at = 0.0
        self.turn_seconds = 0.0
        self.step_seconds = 0.0
        self.latency_seconds = 0.0
        self.behind_entries = 0

    def answered(self, seconds: float) -> None:
        """A command was answered after so long."""
        with self._lock:
            self._round_trips.append(seconds)
            self.latency_seconds = seconds

    def stepped(self, seconds: float, behind_entries: int) -> None:
        """A turn was applied, with so much work; so many entries wait behind it."""
        now = time.monotonic()
        with self._lock:
            if self._last_turn_at is not None:
                self.turn_seconds = now - self._last_turn_at
            self._last_turn_at = now
            self._steps.append(seconds)
            self.step_seconds = seconds
            self.behind_entries = behind_entries

    def page_drew(self, frame_ms: int) -> None:
        """A page says how slow its frames are; of several open ones the slowest counts."""
        with self._lock:
            if frame_ms >= self._page_slow_ms():
                self._page_frame_ms, self._page_drew_at = frame_ms, time.monotonic()

    def _page_slow_ms(self) -> int:
        is_awake = time.monotonic() - self._page_drew_at <= PAGE_SECONDS_MAX
        return self._page_frame_ms if is_awake else 0

    def round_trip_ms(self) -> int:
        """What is told of round trips; 0 before the first."""
        with self._lock:
            return _second_worst_ms(self._round_trips)

    def frame_ms(self, turn_ms: int) -> int:
        """What is told of the work of a turn of `turn_ms`: one that cannot keep up needs more than there is."""
        with self._lock:
            worked = max(_second_worst_ms(self._steps), self._page_slow_ms())
            return max(worked, turn_ms) if self.behind_entries > BEHIND_ENTRIES_MAX else worked


def _second_worst_ms(seconds: deque[float]) -> int:
    ordered = sorted(seconds)
    return int(ordered[-min(SECOND_WORST, len(ordered))] * 1e3) if ordered else 0
