"""What a node does while it leads: it makes batches of what waits, and tends to the log when nobody asks.

Leading begins in earnest when the leader's first entry is applied: only then does it know every session, whether the
machine was activated, and which commands it need not take again. Until then commands wait.

A *confirmation* is an `rsm.confirmed` in the log: a quorum reported the same root at a hash point. A different report
is a divergence of that member; it is told to the local log, once for each root.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from rsm.codec.record import Entry
from rsm.errors import Busy, NotLeader
from rsm.limits import (
    BATCH_BYTES_MAX,
    BATCH_COMMANDS_MAX,
    BATCHES_IN_FLIGHT_MAX,
    CLUSTER_BYTES_IN_FLIGHT_MAX,
    CLUSTER_COMMANDS_IN_FLIGHT_MAX,
    CONFIRMATIONS_PER_BATCH_MAX,
    IDLE_HASH_SECONDS,
    TICK_SECONDS_MIN,
)
from rsm.node.clock import SECOND, LeaderClock
from rsm.node.log import logger
from rsm.node.requests import Request, SystemRequest
from rsm.raft.cluster import ClusterEngine
from rsm.replica.batch import (
    ACTIVATE,
    CLOSE_SESSION,
    CONFIRMED,
    FLAG_HASH_POINT,
    Batch,
    encode_call,
    join_item,
    join_runs,
)
from rsm.replica.replica import Replica

__all__ = ["Leading", "Proposed"]


class Proposed(NamedTuple):
    """A batch on its way: what its payload decodes to, and whose commands it holds."""

    term: int
    batch: Batch
    requests: list[Request]
    ahead: int  # the leader's own items before theirs
    at: float
    is_quiet: bool  # it changes nothing: confirmations at most, and nothing was due


class Leading:
    """The leader's part of a node; idle while another node leads."""

    def __init__(self, engine: ClusterEngine, replica: Replica, node_id: int, chance: random.Random) -> None:
        self.replica = replica
        self.proposed: dict[int, Proposed] = {}
        self.commands = 0  # taken into batches so far, for the statistics
        self.refusals = 0  # of requests, because too many waited
        self.observe: Callable[[int, float], None] = lambda _commands, _seconds: None  # told of each batch's way
        self._engine = engine
        self._node_id = node_id
        self._chance = chance
        self._queue: deque[Request] = deque()
        self._queued_commands = 0
        self._queued_bytes = 0
        self._clock: LeaderClock | None = None
        self._is_ready = False
        self._hash_by: float | None = None
        self._tick_from = 0.0
        self._wants_hash_point: Callable[[], bool] = lambda: False
        self._unconfirmed: list[tuple[int, bytes]] = []
        self._confirmed_to = 0
        self._told: set[int] = set()  # whose state differs, and was reported

    def bind_snapshots(self, wants_hash_point: Callable[[], bool]) -> None:
        """Who may ask for a hash point."""
        self._wants_hash_point = wants_hash_point

    # --- requests ----------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue commands; they are told `NotLeader` or `Busy` if they cannot be taken."""
        if not self._engine.is_leader or self._engine.is_transferring:
            request.fail(self.not_leader())
        elif (
            self._queued_commands + len(request.decoded) > CLUSTER_COMMANDS_IN_FLIGHT_MAX
            or self._queued_bytes + len(request.items) > CLUSTER_BYTES_IN_FLIGHT_MAX
        ):
            self.refusals += 1
            request.fail(Busy(f"{self._queued_commands} commands are waiting", retry_seconds=0.05))
        else:
            self._queue.append(request)
            self._queued_commands += len(request.decoded)
            self._queued_bytes += len(request.items)

    @property
    def is_ready(self) -> bool:
        """Whether it has applied what earlier leaders committed, and takes commands."""
        return self._is_ready

    def not_leader(self) -> NotLeader:
        """Where to go instead."""
        leader = self._engine.leader
        if leader is None or leader == self._node_id:
            return NotLeader("no leader is known: an election may be under way")
        member = self._engine.configuration.get(leader)
        return NotLeader(f"node {leader} leads", leader, "" if member is None else member.client_address)

    # --- the beginning and the end of a leadership -------------------------------------------------------------------

    def begin(self, now: float) -> None:
        """Elected: stamps begin."""
        clocks = self._engine.wall_clocks
        own = clocks.get(self._node_id, self._engine.own_wall_clock)
        others = [clock for number, clock in sorted(clocks.items()) if number != self._node_id]
        self._clock = LeaderClock(self.replica.system.clock, own, others, now)
        self._is_ready = False
        self._hash_by = now + IDLE_HASH_SECONDS
        self._unconfirmed = []
        self._confirmed_to = self.replica.confirmed_index

    def end(self) -> None:
        """Another node leads, or none: whoever waits asks there, and what was proposed may come true or not."""
        self._clock, self._is_ready = None, False
        error = self.not_leader()
        waiting = [request for proposed in self.proposed.values() for request in proposed.requests]
        waiting += self._queue
        self.proposed.clear()
        self._queue.clear()
        self._queued_commands = self._queued_bytes = 0
        for request in waiting:
            request.fail(error)

    def _become_ready(self) -> None:
        replica, definition = self.replica, self.replica.definition
        first: list[Request] = []
        schema = definition.schema()
        if replica.schema != schema or replica.system.machine_version != definition.version:
            seed = replica.system.seed or self._chance.randbytes(16)
            first.append(SystemRequest(ACTIVATE, [definition.name, definition.version, schema, seed]))
        # Sessions without a time to live are an embedded machine's, from before the cluster took it over.
        for number in sorted(number for number, session in replica.sessions.items() if session.ttl == 0):
            first.append(SystemRequest(CLOSE_SESSION, [number]))
        self._queue.extendleft(reversed(first))
        self._queued_commands += len(first)
        self._queued_bytes += sum(len(request.items) for request in first)
        self._is_ready = True

    # --- batches -----------------------------------------------------------------------------------------------------

    def propose(self, now: float) -> None:
        """Turn what waits into batches, as many as may be on their way; and what is due without being asked."""
        clock = self._clock
        if clock is None or self._engine.is_transferring:
            return
        if not self._is_ready:
            if self.replica.index < self._engine.replication.start_index:
                return
            # Stamps of earlier leaders that were not applied at the election are now.
            clock.advance_to(self.replica.system.clock, now)
            self._become_ready()
        while self._queue and len(self.proposed) < BATCHES_IN_FLIGHT_MAX:
            self._propose(self._take(), 0, now)
        if not self.proposed:
            self._tend(now)

    def _take(self) -> list[Request]:
        taken: list[Request] = []
        count = len(self._unconfirmed)
        size = 0
        while self._queue:
            request = self._queue[0]
            count += len(request.decoded)
            size += len(request.items)
            if taken and (count > BATCH_COMMANDS_MAX or size > BATCH_BYTES_MAX):
                break
            taken.append(self._queue.popleft())
            self._queued_commands -= len(request.decoded)
            self._queued_bytes -= len(request.items)
        return taken

    def _propose(self, requests: list[Request], flags: int, now: float) -> None:
        if self._clock is None:
            return
        if self._wants_hash_point() or (self._hash_by is not None and self._hash_by <= now):
            flags |= FLAG_HASH_POINT
        commands = sum(len(request.decoded) for request in requests)
        confirmations = self._unconfirmed[: max(0, min(CONFIRMATIONS_PER_BATCH_MAX, BATCH_COMMANDS_MAX - commands))]
        del self._unconfirmed[: len(confirmations)]
        version, stamp = self.replica.definition.version, self._clock.at(now)
        runs = [join_item(0, 0, 0, encode_call(CONFIRMED, 1, list(root))) for root in confirmations]
        runs += [request.items for request in requests]
        decoded: list[Any] = [[0, 0, 0, CONFIRMED, 1, list(root)] for root in confirmations]
        for request in requests:
            decoded += request.decoded
        payload = join_runs(version, stamp, flags, len(decoded), runs)
        entry = self._engine.propose(payload)
        batch = Batch(version, stamp, flags, decoded)
        due = self.replica.next_due()
        is_quiet = not requests and (due is None or due > stamp)
        self.proposed[entry.index] = Proposed(entry.term, batch, requests, len(confirmations), now, is_quiet)
        self.commands += commands

    def _tend(self, now: float) -> None:
        """Nobody asks for anything: let time pass in the log where something is due, close an open hash interval."""
        due = self.replica.next_due()
        if self._unconfirmed or self._wants_hash_point():
            self._propose([], 0, now)
        elif self._hash_by is not None and self._hash_by <= now:
            self._propose([], FLAG_HASH_POINT, now)
        elif due is not None and self._clock is not None and due <= self._clock.at(now) and self._tick_from <= now:
            self._tick_from = now + TICK_SECONDS_MIN
            self._hash_by = self._hash_by or now + IDLE_HASH_SECONDS  # timers change the state too
            self._propose([], 0, now)

    def next_wake(self, now: float) -> float:
        """Seconds until something is due without being asked."""
        if self._clock is None or self.proposed:
            return IDLE_HASH_SECONDS  # what is on its way wakes it
        wait = IDLE_HASH_SECONDS
        if self._hash_by is not None:
            wait = min(wait, self._hash_by - now)
        due = self.replica.next_due()
        if due is not None:
            wait = min(wait, max((due - self._clock.at(now)) / SECOND, self._tick_from - now))
        return max(wait, 0.0)

    # --- after apply -------------------------------------------------------------------------------------------------

    def take(self, entry: Entry) -> Proposed | None:
        """The batch that this entry is, if this leader proposed it; whoever waited for another one there is told."""
        proposed = self.proposed.pop(entry.index, None)
        if proposed is not None and proposed.term != entry.term:
            error = self.not_leader()
            for request in proposed.requests:
                request.fail(error)
            return None
        return proposed

    def applied(self, index: int, root: bytes | None, *, is_quiet: bool, now: float) -> None:
        """An entry was applied; at a hash point it has a root. After one that is not quiet the next root is due."""
        if root is not None:
            self._hash_by = None
            self.compare_roots()
        elif not is_quiet and self._hash_by is None:
            self._hash_by = now + IDLE_HASH_SECONDS

    def compare_roots(self) -> None:
        """Compare what members reported with our own roots; confirm the newest that a quorum has."""
        if self._clock is None:
            return
        engine, roots = self._engine, self.replica.roots
        voters = engine.configuration.voters
        reports: dict[int, int] = {}
        for number in voters:
            progress = engine.progress(number)
            if progress is None or progress.root_index not in roots:
                continue
            if progress.root == roots[progress.root_index]:
                self._told.discard(number)
                reports[progress.root_index] = reports.get(progress.root_index, 0) + 1
            elif number not in self._told:
                self._told.add(number)
                logger.error(
                    "a node's state differs",
                    node=number,
                    index=progress.root_index,
                    its_root=progress.root.hex(),
                    our_root=roots[progress.root_index].hex(),
                )
        if len(voters) == 1 and roots:
            reports[max(roots)] = 1
        own = int(self._node_id in voters)
        if len(voters) > 1:
            quorum = [index for index, count in reports.items() if count + own >= engine.configuration.quorum]
        else:
            quorum = list(reports)
        newest = max(quorum, default=0)
        if newest > self._confirmed_to:
            self._confirmed_to = newest
            self._unconfirmed.append((newest, roots[newest]))
