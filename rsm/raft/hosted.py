"""PySyncObj under our rules: everything that touches its private names is in this file.

Kept of PySyncObj 0.3.17: its tick, its election time-out and candidacy, its term, vote and role, and the fall-back of a
leader that hears from no majority. Replaced: its journal (a stub that stays empty), how it sends, receives, counts,
applies, compacts and changes members, which is ours in `rsm.raft.replication` and `rsm.raft.cluster`. A subclass
can replace what Python's name mangling calls `_SyncObj__...`, and reads the same names; `tests/unit/raft` holds this
surface against the installed version, which is pinned exactly.

Its clock and its chance come from outside: `now` is handed in with every call, time-outs are drawn from a generator
that is given. Nodes have integer ids and hashes, so that its sets iterate alike everywhere (fault E13).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from typing import Any, Final, Protocol

import pysyncobj.syncobj
from pysyncobj.config import SyncObjConf
from pysyncobj.monotonic import monotonic
from pysyncobj.node import Node
from pysyncobj.syncobj import SyncObj
from pysyncobj.transport import Transport

__all__ = ["CANDIDATE", "FOLLOWER", "LEADER", "Host", "Hosted"]

FOLLOWER: Final = 0
CANDIDATE: Final = 1
LEADER: Final = 2


class Host(Protocol):
    """What PySyncObj asks of us."""

    def request_votes(self, term: int) -> None:
        """It has become a candidate."""

    def elected(self) -> None:
        """It has become the leader."""

    def deposed(self) -> None:
        """It leads no longer."""

    def pulse(self) -> None:
        """Its tick says that a heartbeat is due."""


class _Clock(threading.local):
    """The time that PySyncObj sees in this thread: the one handed in, or the real one outside of our calls."""

    now: float | None = None


_clock = _Clock()


def _monotonic() -> float:
    return monotonic() if _clock.now is None else _clock.now


# PySyncObj reads its clock by this global name; for its other users in the process nothing changes.
pysyncobj.syncobj.monotonicTime = _monotonic


class _MemberNode(Node):  # type: ignore[misc]  # PySyncObj has no types
    """A member by its number."""

    def __hash__(self) -> int:
        return int(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _MemberNode) and self.id == other.id

    def __str__(self) -> str:
        return str(self.id)


class _Outgoing(Transport):  # type: ignore[misc]
    """PySyncObj's only messages that we let pass are its requests for votes; ours go by themselves."""

    def __init__(self, host: Host) -> None:
        super().__init__(None, None, [])
        self._host = host
        self._asked_in_term = -1

    def send(self, _node: Node, message: dict[str, Any]) -> bool:
        """Turn the first request of a candidacy into ours, which goes to every voter."""
        if message["type"] == "request_vote" and message["term"] != self._asked_in_term:
            self._asked_in_term = message["term"]
            self._host.request_votes(message["term"])
        return True


class _NoPoller:
    """PySyncObj has no sockets here."""

    def poll(self, _timeout: float) -> None:
        """Nothing to wait for."""


class Hosted(SyncObj):  # type: ignore[misc]
    """The elections, terms and tick of one member; `term`, `vote`, `role`, `leader` and `deadline` are PySyncObj's."""

    _SyncObj__raftCurrentTerm: int
    _SyncObj__votedForNodeId: int | None
    _SyncObj__raftState: int
    _SyncObj__raftLeader: Any
    _SyncObj__raftElectionDeadline: float
    _SyncObj__raftCommitIndex: int
    _SyncObj__otherNodes: set[Any]
    _SyncObj__lastResponseTime: dict[Any, float]
    _SyncObj__newAppendEntriesTime: float
    _poller: Any

    def __init__(
        self,
        node_id: int,
        host: Host,
        *,
        term: int,
        vote: int | None,
        now: float,
        heartbeat_seconds: float,
        election_seconds: tuple[float, float],
        chance: random.Random,
    ) -> None:
        self._host = host
        self._chance = chance
        self._election_seconds = election_seconds
        self._may_campaign = False
        self.is_hard_state_new = False
        self._heartbeat_seconds = heartbeat_seconds
        conf = SyncObjConf(
            autoTick=False,
            raftMinTimeout=election_seconds[0],
            raftMaxTimeout=election_seconds[1],
            appendEntriesPeriod=heartbeat_seconds,
            leaderFallbackTimeout=election_seconds[1],
            connectionTimeout=2 * election_seconds[1],
            dynamicMembershipChange=False,
        )
        _clock.now = now
        try:
            super().__init__(_MemberNode(node_id), [], conf=conf, transport=_Outgoing(host))
        finally:
            _clock.now = None
        self._poller = _NoPoller()
        self._SyncObj__raftCurrentTerm = term
        self._SyncObj__votedForNodeId = vote
        # Its own log holds one empty entry for ever; with that committed, it has nothing to count and to apply.
        self._SyncObj__raftCommitIndex = 1

    # --- its state ----------------------------------------------------------------------------------------------------

    @property
    def term(self) -> int:
        """The current term."""
        return self._SyncObj__raftCurrentTerm

    @property
    def vote(self) -> int | None:
        """Whom it voted for in this term."""
        return self._SyncObj__votedForNodeId

    @property
    def role(self) -> int:
        """FOLLOWER, CANDIDATE or LEADER."""
        return self._SyncObj__raftState

    @property
    def leader(self) -> int | None:
        """The leader of this term, as far as it knows."""
        node = self._SyncObj__raftLeader
        return None if node is None else node.id

    @property
    def deadline(self) -> float:
        """When it holds an election if nothing is heard."""
        return self._SyncObj__raftElectionDeadline

    # --- what we tell it ----------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Let it do what is due."""
        _clock.now = now
        try:
            self.doTick(0)
        finally:
            _clock.now = None
            self._may_campaign = False

    def campaign(self, now: float) -> None:
        """Hold an election in a new term, at once."""
        self._may_campaign = True
        self._SyncObj__raftElectionDeadline = now - 1
        self.tick(now)

    def win(self, now: float) -> None:
        """Enough voters have granted their vote."""
        _clock.now = now
        try:
            self._SyncObj__onBecomeLeader()
        finally:
            _clock.now = None

    def postpone(self, now: float) -> None:
        """Start the election time-out anew."""
        self._SyncObj__raftElectionDeadline = now + self._SyncObj__generateRaftTimeout()

    def enter(self, term: int, vote: int | None) -> None:
        """Enter a term as a follower, or give the vote of the current one."""
        is_new = term != self.term
        self._SyncObj__setCurrentTerm(term, vote)
        if is_new:
            self._SyncObj__raftLeader = None
            self._SyncObj__setState(FOLLOWER)

    def follow(self, leader: int, now: float) -> None:
        """A leader of this term was heard."""
        self._SyncObj__setState(FOLLOWER)
        self._SyncObj__raftLeader = _MemberNode(leader)
        self.postpone(now)

    def step_down(self) -> None:
        """Lead no longer, in the same term."""
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(FOLLOWER)

    def heard(self, member: int, now: float) -> None:
        """A voter answered its leader."""
        self._SyncObj__lastResponseTime[_MemberNode(member)] = now

    def set_voters(self, others: Iterable[int], now: float) -> None:
        """Who votes besides itself: what its majorities are counted over."""
        nodes = {_MemberNode(number) for number in others}
        self._SyncObj__otherNodes = nodes
        heard = self._SyncObj__lastResponseTime
        for node in sorted(nodes, key=lambda node: node.id):
            heard.setdefault(node, now)

    # --- what it asks: replacements of its private methods ------------------------------------------------------------

    def _SyncObj__generateRaftTimeout(self) -> float:
        low, high = self._election_seconds
        return low + (high - low) * self._chance.random()

    def _SyncObj__connectedToAnyone(self) -> bool:
        # Its condition for standing as a candidate: ours is a pre-vote won, or a transfer.
        return self._may_campaign

    def _SyncObj__setCurrentTerm(self, term: int, voted_for: int | None) -> None:
        self._SyncObj__raftCurrentTerm = term
        self._SyncObj__votedForNodeId = voted_for
        self.is_hard_state_new = True

    def _SyncObj__setState(self, state: int) -> None:
        before = self._SyncObj__raftState
        self._SyncObj__raftState = state
        if before == LEADER and state != LEADER:
            self._host.deposed()

    def _SyncObj__onBecomeLeader(self) -> None:
        self._SyncObj__raftLeader = self.selfNode
        self._SyncObj__setState(LEADER)
        now = _monotonic()
        self._SyncObj__lastResponseTime.clear()
        for node in self._SyncObj__otherNodes:
            self._SyncObj__lastResponseTime[node] = now
        self._SyncObj__newAppendEntriesTime = now + self._heartbeat_seconds
        self._host.elected()

    def _SyncObj__sendAppendEntries(self) -> None:
        self._SyncObj__newAppendEntriesTime = _monotonic() + self._heartbeat_seconds
        self._host.pulse()

    def _SyncObj__tryLogCompaction(self) -> None:
        """The log is ours, and so is its compaction."""

    def _SyncObj__onMessageReceived(self, _node: Node, _message: dict[str, Any]) -> None:
        """Nothing arrives this way."""
