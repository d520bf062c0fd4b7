"""The requests of a remote client that are not commands: where each is sent, and what waits for somebody to send it to.

A read that any node may answer goes to a follower if there is one, so that the leader has its time for commands; a
follower that is busy, silent or gone costs one attempt, and the leader answers instead.
"""

from __future__ import annotations

from typing import Any

from rsm.client.remote.calls import Call
from rsm.client.remote.cluster import Cluster
from rsm.client.remote.link import Link

__all__ = ["Calls"]


class Calls:
    """All that are not answered. Everything runs on the client's loop; `Dispatcher` says what calls want of it."""

    cluster: Cluster

    def __init__(self) -> None:
        self.round_trips = 0
        self.retries = 0
        self._all: dict[Call[Any], None] = {}
        self._for_leader: dict[Call[Any], None] = {}  # of these, those that wait for a leader
        self._for_follower: dict[Call[Any], None] = {}  # those that wait for the end of a search

    def __len__(self) -> int:
        return len(self._all)

    def start(self, call: Call[Any]) -> None:
        """A new one."""
        self._all[call] = None
        self.dispatch(call)

    def dispatch(self, call: Call[Any]) -> None:
        """Send it to whom it may concern, or park it until there is somebody."""
        cluster = self.cluster
        if call.anywhere and cluster.may_have_follower:
            follower = cluster.follower
            if follower is not None and follower.is_open:
                call.send(follower, is_follower=True)
            else:
                self._for_follower[call] = None
                cluster.search_follower()
            return
        leader = cluster.leader
        if leader is not None and leader.is_open:
            call.send(leader)
        else:
            self._for_leader[call] = None

    def on_leader(self) -> None:
        """There is a leader (again)."""
        parked, self._for_leader = self._for_leader, {}
        for call in parked:
            self.dispatch(call)

    def on_follower(self) -> None:
        """The search for a follower is over."""
        follower = self.cluster.follower
        parked, self._for_follower = self._for_follower, {}
        for call in parked:
            call.anywhere = follower is not None and follower.is_open  # else the leader will do
            self.dispatch(call)

    def fail_all(self, error: BaseException) -> None:
        """Nobody will be answered any more."""
        for call in list(self._all):
            call.fail(error)

    # --- what calls want ----------------------------------------------------------------------------------------------

    def moved(self, link: Link, address: str) -> None:
        """The node behind this link does not lead."""
        self.cluster.moved(link, address)

    def distrust(self, link: Link) -> None:
        """The follower behind this link does not answer, or is in doubt of its own state."""
        self.cluster.distrust(link)

    def forget(self, call: Call[Any]) -> None:
        """It is over."""
        self._all.pop(call, None)
        self._for_leader.pop(call, None)
        self._for_follower.pop(call, None)

    def count(self, *, round_trips: int = 0, retries: int = 0) -> None:
        """For the statistics."""
        self.round_trips += round_trips
        self.retries += retries
