"""Where a log's time comes from: the leader's monotonic clock, started at its election.

A stamp never runs backwards and is not moved by changes of the wall clock: from the election on only the monotonic
clock counts. The start is the later of the last stamp in the log and the wall clock; but a wall clock that is
implausibly far ahead of the log is not believed, since one start with a clock set to 2099 would expire every session
and key for good.
"""

from __future__ import annotations

import time

from rsm.limits import CLOCK_JUMP_SECONDS_MAX
from rsm.node.log import logger


class LogClock:
    """Stamps for the batches of one leadership, in nanoseconds since 1970."""

    def __init__(self, last_stamp: int) -> None:
        wall = time.time_ns()
        if last_stamp and wall - last_stamp > CLOCK_JUMP_SECONDS_MAX * 10**9:
            logger.error(
                "the wall clock is implausibly far ahead of the log and is not used: set it right",
                wall_clock=wall,
                log_time=last_stamp,
            )
            wall = last_stamp
        self._start = max(last_stamp, wall)
        self._started = time.monotonic_ns()

    def now(self) -> int:
        """The stamp of a batch proposed now."""
        return self._start + time.monotonic_ns() - self._started
