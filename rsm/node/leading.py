"""What a node does while it leads: it makes batches of what waits, and tends to the log when nobody asks.

Leading begins in earnest when the leader's first entry is applied: only then does it know every session, whether the
machine was activated, and which commands it need not take again. Until then commands wait.

Besides, it states what it finds when it compares the roots that members report: `rsm.confirmed` where a quorum has one
root at a hash point, `rsm.dispute` where two have different ones, `rsm.attest` for what members then say, and
`rsm.returned` when one that differed has the confirmed root again.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from rsm.codec.record import Entry
from rsm.errors import Busy, CallerError, NotLeader
from rsm.limits import (
    BATCH_BYTES_MAX,
    BATCH_COMMANDS_MAX,
    BATCHES_IN_FLIGHT_MAX,
    CLUSTER_BYTES_IN_FLIGHT_MAX,
    CLUSTER_COMMANDS_IN_FLIGHT_MAX,
    CONFIRMATION_SECONDS_MAX,
    HASH_INTERVAL_ENTRIES,
    IDLE_HASH_SECONDS,
    STATEMENTS_PER_BATCH_MAX,
    TICK_SECONDS_MIN,
)
from rsm.node.agreement.comparison import Comparison
from rsm.node.agreement.confirming import Confirming
from rsm.node.clock import SECOND, LeaderClock
from rsm.node.log import logger
from rsm.node.requests import Request, SystemRequest
from rsm.raft.cluster import ClusterEngine
from rsm.replica.agreement import Word
from rsm.replica.answer import Answer
from rsm.replica.batch import (
    ACTIVATE,
    ATTEST,
    CLOSE_SESSION,
    CONFIRMED,
    DISPUTE,
    FLAG_HASH_POINT,
    FLAG_UPGRADE,
    RETURNED,
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
    is_quiet: bool  # it changes nothing: statements at most, and nothing was due


class Leading:
    """The leader's part of a node; idle while another node leads."""

    def __init__(
        self,
        engine: ClusterEngine,
        replica: Replica,
        node_id: int,
        chance: random.Random,
        hash_seconds: float = IDLE_HASH_SECONDS,
    ) -> None:
        self.replica = replica
        self.proposed: dict[int, Proposed] = {}
        self.commands = 0  # taken into batches so far, for the statistics
        self.refusals = 0  # of requests, because too many waited
        self.observe: Callable[[int, float], None] = lambda _commands, _seconds: None  # told of each batch's way
        self._engine = engine
        self._node_id = node_id
        self._chance = chance
        self._hash_seconds = hash_seconds
        self._queue: deque[Request] = deque()
        self._queued_commands = 0
        self._queued_bytes = 0
        self._clock: LeaderClock | None = None
        self._is_ready = False
        self._hash_by: float | None = None
        self._tick_from = 0.0
        self._wants_hash_point: Callable[[], bool] = lambda: False
        self._statements: list[tuple[str, list[Any]]] = []  # the leader's own items, to go with the next batch
        self._state_by: float | None = None  # then they go alone
        self._stated: set[tuple[Any, ...]] = set()  # those that are on their way, so that none is made twice
        self.comparison = Comparison(node_id)
        self.confirming = Confirming()
        self._upgrade: SystemRequest | None = None  # to be proposed when nothing is on its way, or on its way itself
        self.barred = ""  # why this node may not serve, though it may lead: it hands leadership over

    def bind_snapshots(self, wants_hash_point: Callable[[], bool]) -> None:
        """Who may ask for a hash point."""
        self._wants_hash_point = wants_hash_point

    # --- requests ----------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Queue commands; they are told `NotLeader` or `Busy` if they cannot be taken."""
        if self.barred or not self._engine.is_leader or self._engine.is_transferring:
            request.fail(self.not_leader())
        elif (
            self._queued_commands + len(request.decoded) > CLUSTER_COMMANDS_IN_FLIGHT_MAX
            or self._queued_bytes + len(request.items) > CLUSTER_BYTES_IN_FLIGHT_MAX
        ):
            self.refusals += 1
            request.fail(Busy(f"{self._queued_commands} commands are waiting", retry_seconds=0.05))
        elif request.wants_confirmation and (busy := self.confirming.refusal()) is not None:
            self.refusals += 1
            request.fail(busy)
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
        if leader == self._node_id and self.barred:
            return NotLeader(f"node {leader} leads, and hands over: {self.barred}")
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
        self._hash_by = now + self._hash_seconds
        self._statements.clear()
        self._state_by = None
        self._stated.clear()
        self.comparison.begin(self.replica.confirmed_index)
        self.confirming.begin()

    def end(self) -> None:
        """Another node leads, or none: whoever waits asks there, and what was proposed may come true or not."""
        self._clock, self._is_ready = None, False
        error = self.not_leader()
        waiting = [request for proposed in self.proposed.values() for request in proposed.requests]
        waiting += self._queue
        self.proposed.clear()
        self._queue.clear()
        self._queued_commands = self._queued_bytes = 0
        if self._upgrade is not None and self._upgrade not in waiting:
            waiting.append(self._upgrade)
        for request in waiting:
            request.fail(error)
        self.confirming.fail(error)

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
        if self._upgrade is not None:
            # Alone: whatever is proposed next is proposed under the version that is in force then.
            if not self.proposed:
                self._propose_upgrade(self._upgrade, now)
            return
        while self._queue and len(self.proposed) < BATCHES_IN_FLIGHT_MAX:
            self._propose(self._take(), 0, now)
        if not self.proposed:
            self._tend(now)

    def _propose_upgrade(self, request: SystemRequest, now: float) -> None:
        """Tried first: what an upgrade finds when it is applied is the state as it is now, but for what time brings."""
        target, version = self.replica.next_release, self.replica.definition.version
        if target is None:
            request.fail(CallerError(f"version {version} is in force, and this node ships no later one"))
            return
        raised = self.replica.try_migration(target)
        if raised:
            logger.error("migrate_state raises; nothing was logged", version=target.version, traceback=raised)
            last = raised.strip().rpartition("\n")[2]
            request.fail(
                CallerError(
                    f"migrate_state of version {target.version} raises ({last:.200}): version {version} stays in "
                    f"force, and every node may go on with it"
                )
            )
            return
        self._propose([request], FLAG_UPGRADE | FLAG_HASH_POINT, now)

    def _take(self) -> list[Request]:
        taken: list[Request] = []
        count = min(len(self._statements), STATEMENTS_PER_BATCH_MAX)
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
        index = self._engine.last_index + 1
        if any(request.wants_confirmation for request in requests):
            self.confirming.want(index)
        version, stamp = self.replica.definition.version, self._clock.at(now)
        due = self.replica.next_due()
        is_quiet = not requests and (due is None or due > stamp)
        is_due = self._hash_by is not None and self._hash_by <= now
        if self._needs_hash_point or is_due or not (is_quiet or self._hash_seconds):
            flags |= FLAG_HASH_POINT
        if flags & FLAG_HASH_POINT or index % HASH_INTERVAL_ENTRIES == 0:
            self.confirming.proposed_hash_point(index)
        commands = sum(len(request.decoded) for request in requests)
        count = max(0, min(STATEMENTS_PER_BATCH_MAX, BATCH_COMMANDS_MAX - commands))
        count = 0 if flags & FLAG_UPGRADE else count
        statements = self._statements[:count]
        del self._statements[:count]
        self._state_by = None
        runs = [join_item(0, 0, 0, encode_call(name, 1, values)) for name, values in statements]
        runs += [request.items for request in requests]
        decoded: list[Any] = [[0, 0, 0, name, 1, values] for name, values in statements]
        for request in requests:
            decoded += request.decoded
        payload = join_runs(version, stamp, flags, len(decoded), runs)
        entry = self._engine.propose(payload)
        batch = Batch(version, stamp, flags, decoded)
        self.proposed[entry.index] = Proposed(entry.term, batch, requests, len(statements), now, is_quiet)
        self.commands += commands

    @property
    def _needs_hash_point(self) -> bool:
        if self.barred:  # it takes no snapshots now, and confirms nobody
            return False
        return self._wants_hash_point() or self.confirming.wants_hash_point(self.replica.compared_index)

    def _tend(self, now: float) -> None:
        """Nobody asks for anything: let time pass in the log where something is due, close an open hash interval."""
        due = self.replica.next_due()
        if self._needs_hash_point or self._must_state(now):
            self._propose([], 0, now)
        elif self._hash_by is not None and self._hash_by <= now:
            self._propose([], FLAG_HASH_POINT, now)
        elif due is not None and self._clock is not None and due <= self._clock.at(now) and self._tick_from <= now:
            self._tick_from = now + TICK_SECONDS_MIN
            self._hash_by = self._hash_by or now + self._hash_seconds  # timers change the state too
            self._propose([], 0, now)

    def _must_state(self, now: float) -> bool:
        """Whether there are statements, and none that can wait for company.

        Where every change is a hash point, a confirmation of each that went alone would double the entries.
        """
        if not self._statements:
            return False
        if (
            self._hash_seconds
            or self.confirming.is_waiting(self.replica.compared_index)
            or any(name != CONFIRMED for name, _ in self._statements)
        ):
            return True
        self._state_by = self._state_by or now + CONFIRMATION_SECONDS_MAX
        return self._state_by <= now

    def next_wake(self, now: float) -> float:
        """Seconds until something is due without being asked."""
        if self._clock is None or self.proposed:
            return IDLE_HASH_SECONDS  # what is on its way wakes it
        wait = IDLE_HASH_SECONDS
        for at in (self._hash_by, self._state_by):
            wait = wait if at is None else min(wait, at - now)
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

    def answer(self, request: Request, index: int, answers: list[Answer]) -> None:
        """A request was applied: it is complete, or will be when it is confirmed."""
        if request.wants_confirmation:
            self.confirming.keep(index, request, answers)
        else:
            request.complete(index, answers)

    def confirm(self) -> None:
        """Complete what a quorum has confirmed; what this node cannot vouch for is told to ask elsewhere."""
        self.confirming.release(self.replica.compared_index)
        if self.barred:
            self.confirming.fail(self.not_leader())

    def heard_root(self) -> None:
        """A member has answered: somebody may wait for what it says of its root."""
        if self.confirming.is_waiting(self.replica.compared_index):
            self.compare_roots()

    def applied(self, index: int, root: bytes | None, *, is_quiet: bool, now: float) -> None:
        """An entry was applied; at a hash point it has a root. After one that is not quiet the next root is due."""
        if root is not None:
            self._hash_by = None
            self.compare_roots()
            if self.confirming.is_waiting(self.replica.compared_index):
                self._engine.announce_commit(now)
        elif not is_quiet and self._hash_by is None:
            self._hash_by = now + self._hash_seconds

    # --- releases ----------------------------------------------------------------------------------------------------

    def upgrade(self, done: Callable[[int], None], fail: Callable[[Exception], None]) -> None:
        """Move the machine to its next release; `done` gets the index at which that happened."""
        target = self.replica.next_release
        if target is None or self._upgrade is not None:
            fail(CallerError("there is no next release here" if target is None else "an upgrade is under way already"))
            return
        before = self.replica.definition.version

        def finished(index: int, _: Answer) -> None:
            self._upgrade = None
            if self.replica.definition is target:
                done(index)
            else:
                fail(
                    CallerError(
                        f"migrate_state of version {target.version} raised (see the nodes' logs): {before} stays"
                    )
                )

        def failed(error: Exception) -> None:
            self._upgrade = None
            fail(error)

        self._upgrade = SystemRequest(ACTIVATE, [target.name, target.version, target.schema(), b""], finished, failed)

    # --- what it states about roots -----------------------------------------------------------------------------------

    def compare_roots(self) -> None:
        """Compare what members reported with our own roots, and state what follows."""
        if self._clock is None:
            return
        found = self.comparison.compare(self._engine, self.replica)
        if found.confirmed is not None:
            self._state(CONFIRMED, *found.confirmed)
        if found.disputed is not None:
            self._dispute(found.disputed)
        for node, index in found.returned:
            self._state(RETURNED, node, index)

    def take_word(self, node: int, index: int, word: Word) -> None:
        """What a member says of itself, to be logged once. A fault, or a root that is not ours, leads to a dispute."""
        if not self._is_ready:
            return
        case = self.replica.agreement.cases.get(index)
        attest: list[Any] = [index, node, word.root, word.rerun, word.version, word.schema, word.code, word.fault]
        if case is None:
            if word.fault or (word.root and word.root != self.replica.roots.get(index, word.root)):
                self._dispute(index)
                self._state(ATTEST, *attest)
        elif node in case.voters and ((known := case.words.get(node)) is None or (word.rerun and not known.rerun)):
            self._state(ATTEST, *attest)
        elif node in case.returned and case.differs(word):
            self._statements.append((ATTEST, attest))  # once more, though it was said before
        elif node in case.out and word.root in (b"", case.root) and not word.fault:
            self._hash_by = 0.0  # it is well again, as it says: the next hash point proves it

    def _dispute(self, index: int) -> None:
        # Those who had a vote there: members that came later know of it what they were told.
        self._state(DISPUTE, index, list(self._engine.voters_at(index)))

    def _state(self, name: str, *values: Any) -> None:
        key = (name, *(tuple(value) if type(value) is list else value for value in values))
        if name == CONFIRMED or key not in self._stated:
            if name != CONFIRMED:  # of which there is no end, and none is found twice
                self._stated.add(key)
            self._statements.append((name, list(values)))
