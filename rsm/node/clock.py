"""Where a log's time comes from: the leader's monotonic clock, started at its election.

A stamp never runs backwards and is not moved by changes of the wall clock: from the election on only the monotonic
clock counts. The start is the later of the last stamp in the log and the wall clock.
"""

from __future__ import annotations

import time


class LogClock:
    """Stamps for the batches of one leadership, in nanoseconds since 1970."""

    def __init__(self, last_stamp: int) -> None:
        self._start = max(last_stamp, time.time_ns())
        self._started = time.monotonic_ns()

    def now(self) -> int:
        """The stamp of a batch proposed now."""
        return self._start + time.monotonic_ns() - self._started
