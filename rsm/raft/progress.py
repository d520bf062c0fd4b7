"""What a leader knows of one other member, and how much it may send it.

*Probing* looks for the point where the logs meet, with one message in flight, so that stale rejections cannot drive it
back and forth (fault E3 of PySyncObj). *Replicating* sends ahead of the acknowledgements, up to a bound in bytes.
*Snapshot* waits: what this member needs is no longer in the log.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from rsm.limits import FOLLOWER_BYTES_IN_FLIGHT_MAX

__all__ = ["Progress", "Stage"]


class Stage(Enum):
    """How a member is sent entries."""

    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


class Progress:
    """One other member, as its leader sees it. `match_index`: durable there and equal to our log up to there."""

    __slots__ = (
        "acknowledged_round",
        "applied_index",
        "bytes_in_flight",
        "heard_at",
        "in_flight",
        "is_probe_sent",
        "is_recovering",
        "match_index",
        "next_index",
        "releases",
        "root",
        "root_index",
        "stage",
    )

    def __init__(self, next_index: int, now: float) -> None:
        self.stage = Stage.PROBE
        self.match_index = 0
        self.next_index = next_index
        self.is_probe_sent = False
        self.in_flight: deque[tuple[int, int]] = deque()  # (last index, bytes) of each message
        self.bytes_in_flight = 0
        self.acknowledged_round = 0
        self.heard_at = now
        self.is_recovering = False
        self.applied_index = 0
        self.root_index = 0
        self.root = b""
        self.releases = (0, 0)  # oldest and newest machine version that it ships; zeros while it has not said

    @property
    def may_send(self) -> bool:
        """Whether entries may be sent now."""
        if self.stage is Stage.PROBE:
            return not self.is_probe_sent
        return self.stage is Stage.REPLICATE and self.bytes_in_flight < FOLLOWER_BYTES_IN_FLIGHT_MAX

    def sent(self, last_index: int, size: int) -> None:
        """A message with entries up to `last_index` was sent."""
        if self.stage is Stage.PROBE:
            self.is_probe_sent = True
        elif last_index >= self.next_index:
            self.next_index = last_index + 1
            self.in_flight.append((last_index, size))
            self.bytes_in_flight += size

    def matched(self, index: int) -> bool:
        """The logs are equal and durable up to here; whether that is news."""
        is_news = index > self.match_index
        self.match_index = max(self.match_index, index)
        while self.in_flight and self.in_flight[0][0] <= index:
            self.bytes_in_flight -= self.in_flight.popleft()[1]
        self.next_index = max(self.next_index, self.match_index + 1)
        return is_news

    def met(self, index: int) -> None:
        """A probe at `index` was accepted: the logs meet there, so send ahead from now on."""
        if self.stage is not Stage.REPLICATE:
            self._enter(Stage.REPLICATE, max(index + 1, self.match_index + 1))

    def probe(self, next_index: int) -> None:
        """Look for the meeting point again, from here."""
        self._enter(Stage.PROBE, max(next_index, self.match_index + 1))

    def await_snapshot(self) -> None:
        """The log does not reach back far enough."""
        self._enter(Stage.SNAPSHOT, self.next_index)

    def _enter(self, stage: Stage, next_index: int) -> None:
        self.stage = stage
        self.next_index = next_index
        self.is_probe_sent = False
        self.in_flight.clear()
        self.bytes_in_flight = 0
