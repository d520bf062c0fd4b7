"""Where a log's time comes from: the leader's monotonic clock, started at its election.

A stamp never runs backwards and is not moved by changes of the wall clock: from the election on only the monotonic
clock counts. The start is the later of the last stamp in the log and the wall clock; but a wall clock that is
implausibly far ahead of the log is not believed, since one start with a clock set to 2099 would expire every session
and key for good.
"""

from __future__ import annotations

import time

from rsm.limits import CLOCK_JUMP_SECONDS_MAX, CLOCK_SKEW_SECONDS_MAX
from rsm.node.log import logger

SECOND = 10**9


def first_stamp(last_stamp: int, wall_clock: int) -> int:
    """Where a leadership's stamps begin: at its wall clock, unless that is implausible, and never before the last one.

    All in nanoseconds since 1970; `last_stamp` 0 for a log without any.
    """
    if last_stamp and wall_clock - last_stamp > CLOCK_JUMP_SECONDS_MAX * SECOND:
        logger.error(
            "the wall clock is implausibly far ahead of the log and is not used: set it right",
            wall_clock=wall_clock,
            log_time=last_stamp,
        )
        return last_stamp
    return max(last_stamp, wall_clock)


class LeaderClock:
    """Stamps of one leadership in a cluster. `now` is the monotonic clock in seconds that comes with every call."""

    def __init__(self, last_stamp: int, own: int, others: list[int], now: float) -> None:
        """`own` and `others`: the wall clocks of the leader and of those who elected it, at the election."""
        clocks = sorted([own, *others])
        # Of two in the middle the earlier one: time that stands still for a while does no harm, time that was leapt
        # over ends sessions for good. Three nodes elect with two votes, so this is the common case.
        median = clocks[(len(clocks) - 1) // 2]
        if abs(own - median) > CLOCK_SKEW_SECONDS_MAX * SECOND:
            logger.error(
                "wall clocks are far apart and this node's is not used: set them right",
                wall_clock=own,
                median=median,
            )
            own = median
        self._start = first_stamp(last_stamp, own)
        self._started = now

    def advance_to(self, stamp: int, now: float) -> None:
        """Go on from a later stamp, if the log has one."""
        self._start += max(0, stamp - self.at(now))

    def at(self, now: float) -> int:
        """The stamp of a batch proposed now."""
        return self._start + int((now - self._started) * SECOND)


class LogClock:
    """Stamps for the batches of one leadership, in nanoseconds since 1970."""

    def __init__(self, last_stamp: int) -> None:
        self._start = first_stamp(last_stamp, time.time_ns())
        self._started = time.monotonic_ns()

    def now(self) -> int:
        """The stamp of a batch proposed now."""
        return self._start + time.monotonic_ns() - self._started
