"""One node of a cluster without sockets, threads and clocks: consensus, disk, replica, and those who wait.

Theory of operation. Whatever happens comes in as a call with the time (`receive`, `tick`, `submit`, `synced`); then
`flush` does everything that follows from it: it turns what waits into batches, carries out what the engine is ready
for, in its order, applies what is committed, answers, and leaves in `outbox` what is to be sent. The only I/O is the
disk's, through its seam, and of that the syncs of the log are the caller's to run, in a thread: while one lasts,
heartbeats go on. So the same code runs in a process with asyncio and in a simulation under a virtual clock.

Whatever is raised ends the node: the state of a disk or of a replica is then something that only a new start can
judge. A full disk is not such a thing: the entries were never logged, and another node leads meanwhile.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count
from typing import Literal, NamedTuple

import msgspec

from rsm.codec.record import Entry
from rsm.errors import BadBytes, Busy, CallerError, Closed, NotLeader, ReleaseMissing, RsmError, StorageError
from rsm.limits import (
    APPEND_BYTES_MAX,
    ELECTION_SECONDS_MAX,
    ELECTION_SECONDS_MIN,
    FREE_BYTES_MIN,
    FULL_DISK_RETRY_SECONDS,
    HEARTBEAT_SECONDS,
    IDLE_HASH_SECONDS,
    READS_WAITING_MAX,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MIN,
    SNAPSHOT_LOG_BYTES,
)
from rsm.machine.machine import StateMachine
from rsm.node.agreeing import Agreeing
from rsm.node.agreement.case_log import CaseLog
from rsm.node.leading import Leading
from rsm.node.log import Seldom, describe, logger
from rsm.node.network.addresses import split_address
from rsm.node.opening.salvage import Salvaged, salvage
from rsm.node.requests import Read, Request
from rsm.node.snapshotting.exchange import SnapshotExchange
from rsm.node.snapshotting.inline_snapshots import InlineSnapshots
from rsm.node.snapshotting.installing import SnapshotReceiver
from rsm.node.snapshotting.snapshotter import Snapshots
from rsm.node.storage.disk import Disk
from rsm.node.storage.journal import Journal
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.raft.cluster import ClusterEngine
from rsm.raft.configuration import Configuration
from rsm.raft.configuration import Member as ClusterMember
from rsm.raft.engine import Ready
from rsm.raft.messages import (
    AppendReply,
    Attest,
    Message,
    SnapshotAck,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotResult,
    SnapshotWant,
)
from rsm.replica.replica import Replica

__all__ = ["Member", "MemberOptions"]


class MemberOptions(msgspec.Struct, frozen=True):
    """How one node runs. Times in seconds."""

    node_id: int
    path: str
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    election_seconds_min: float = ELECTION_SECONDS_MIN
    election_seconds_max: float = ELECTION_SECONDS_MAX
    durability: Literal["fsync", "os"] = "fsync"
    snapshot_log_bytes: int = SNAPSHOT_LOG_BYTES
    segment_bytes_min: int = SEGMENT_BYTES_MIN  # simulations have small logs
    hash_seconds: float = IDLE_HASH_SECONDS  # after an entry that changed something the next root is due; 0: with it


SnapshotsOf = Callable[[Replica, Journal, SnapshotFiles, int], Snapshots]


class _Change(NamedTuple):
    """A change of membership on its way: done when `is_done` of the configuration in force."""

    is_done: Callable[[Configuration], bool]
    done: Callable[[int], None]
    fail: Callable[[Exception], None]


class Member:
    """One node. Made by `open`; every other call belongs to one thread, and `flush` follows it."""

    def __init__(
        self,
        machine: type[StateMachine],
        options: MemberOptions,
        opened: Salvaged,
        disk: Disk,
        *,
        now: float,
        wall_clock: Callable[[], int],
        chance: random.Random,
        snapshots_of: SnapshotsOf | None = None,
    ) -> None:
        self.node_id = options.node_id
        self.directory, self.journal = opened.directory, opened.journal
        self.roots = opened.directory.open_roots()
        self.replica = opened.replica
        self.replica.is_lone = False
        self.snapshot_files = opened.snapshots
        self.outbox: list[tuple[int, Message]] = []
        self.dispatch: Callable[[], None] = lambda: None  # sends and syncs now what would be after `flush`
        self.events_waiting: list[Callable[[], None]] = []  # called once when there are new events
        # Told of every entry that was applied, with its root and the seconds it took by the stopwatch, which a
        # simulation has not; and of every replica that takes the place of the one there was.
        self.on_applied: Callable[[Entry, bytes | None, float], None] = lambda _entry, _root, _seconds: None
        self.on_swapped: Callable[[], None] = lambda: None
        self.stopwatch: Callable[[], float] = lambda: 0.0
        self._machine = machine
        self._options = options
        self._disk = disk
        self._terms = opened.terms
        self._wall_clock = wall_clock
        self._now = now
        vote = opened.terms.vote
        self.engine = ClusterEngine(
            options.node_id,
            opened.journal,
            term=opened.terms.term,
            vote=None if vote is None else int(vote),
            configurations=opened.configurations,
            commit_index=opened.replica.index,
            is_recovering=opened.directory.is_recovering,
            now=now,
            heartbeat_seconds=options.heartbeat_seconds,
            election_seconds=(options.election_seconds_min, options.election_seconds_max),
            chance=chance,
        )
        self.engine.own_wall_clock = wall_clock()
        shipped = [one.version for one in machine.definition.releases()]
        self.engine.replication.releases = shipped[-1], shipped[0]
        make = snapshots_of or _inline
        self.snapshots = make(self.replica, self.journal, self.snapshot_files, options.snapshot_log_bytes)
        self.leading = Leading(self.engine, self.replica, self.node_id, chance, options.hash_seconds)
        self.leading.bind_snapshots(lambda: self.snapshots.wants_hash_point)
        self._led_term = 0
        self._reads: list[tuple[int, int, Read]] = []  # a heap: the index that must be applied first
        self._barriers: dict[Read, None] = {}  # in order: a set would be iterated by memory address
        self._numbers = count()
        self._seldom = Seldom()
        self.exchange = SnapshotExchange(
            machine,
            self.engine,
            self.journal,
            self.snapshot_files,
            self.snapshots,
            lambda: self.replica,
            self._install,
            lambda peer, message: self.outbox.append((peer, message)),
        )
        self.agreeing = Agreeing(
            machine,
            self.engine,
            self.directory,
            disk,
            self.journal,
            self.snapshot_files,
            self.snapshots,
            self.leading,
            lambda: self.replica,
            self._heal,
            lambda peer, message: self.outbox.append((peer, message)),
            now=now,
        )
        self.case_log = CaseLog()
        self._changes: list[_Change] = []
        self._transfer: tuple[Callable[[int], None], Callable[[Exception], None]] | None = None
        self._disk_full_until: float | None = None
        self._has_more = False
        self.elections = 0

    @classmethod
    def open(
        cls,
        machine: type[StateMachine],
        options: MemberOptions,
        disk: Disk,
        *,
        now: float,
        wall_clock: Callable[[], int],
        chance: random.Random,
        snapshots_of: SnapshotsOf | None = None,
    ) -> Member:
        """Open a prepared directory. `DirectoryInUse`, `WrongMachine`, `CorruptFile` (its identity), `StorageError`."""
        segment_bytes = max(options.segment_bytes_min, min(SEGMENT_BYTES, options.snapshot_log_bytes))
        opened = salvage(machine, options.path, disk, segment_bytes=segment_bytes)
        return cls(
            machine, options, opened, disk, now=now, wall_clock=wall_clock, chance=chance, snapshots_of=snapshots_of
        )

    # --- where it stands ---------------------------------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The latest in the log, committed or not."""
        return self.engine.configuration

    @property
    def is_leader(self) -> bool:
        """Whether commands are taken here."""
        return self.engine.is_leader

    @property
    def leader_id(self) -> int | None:
        """Who leads, as far as this node knows."""
        return self.engine.leader

    @property
    def term(self) -> int:
        """The current term."""
        return self.engine.term

    @property
    def commit_index(self) -> int:
        """Known to be committed up to here."""
        return self.engine.commit_index

    @property
    def applied_index(self) -> int:
        """The replica's index."""
        return self.replica.index

    @property
    def is_recovering(self) -> bool:
        """Whether its votes and acknowledgements do not count yet."""
        return self.engine.replication.is_recovering

    @property
    def is_installing(self) -> bool:
        """Whether a snapshot is on its way in."""
        return self.exchange.is_receiving

    @property
    def needs_sync(self) -> bool:
        """Whether `journal.sync()` should be run, in any thread, and then `synced`."""
        return self._options.durability == "fsync" and self.journal.durable_index < self.journal.last_index

    def not_leader(self) -> NotLeader:
        """Where to go instead."""
        return self.leading.not_leader()

    def next_wake(self, now: float) -> float:
        """Seconds until time alone gives it something to do."""
        if self._has_more or (self.snapshots.is_producing and self.snapshots.rest_seconds <= 0):
            return 0.0
        wait = min(self.engine.next_tick(now), self.leading.next_wake(now))
        if self.snapshots.is_producing:
            wait = min(wait, self.snapshots.rest_seconds)
        for at in (self.exchange.next_wake(now), self.agreeing.next_wake(now)):
            wait = wait if at is None else min(wait, at)
        return wait

    # --- what happens ------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._now = now
        self.engine.own_wall_clock = self._wall_clock()
        if self._disk_full_until is not None and now >= self._disk_full_until:
            self._disk_full_until = None
            self.engine.may_lead = True
        self.engine.tick(now)
        if self._transfer is not None and self.engine.is_leader and not self.engine.is_transferring:
            (_, fail), self._transfer = self._transfer, None
            fail(CallerError("the other node did not take over in time; this one goes on leading"))
        self._promote()

    def receive(self, sender: int, message: Message, now: float) -> None:
        """A message of another node."""
        self._now = now
        self.engine.receive(sender, message, now)
        if message.term != self.engine.term:
            return
        if isinstance(message, SnapshotOffer | SnapshotChunk):
            if not self.engine.is_leader:
                self.exchange.receive(sender, message, now)
        elif isinstance(message, SnapshotWant | SnapshotAck | SnapshotResult) and self.engine.is_leader:
            self.exchange.serve(sender, message, now)
        elif isinstance(message, Attest) and self.engine.is_leader:
            self.agreeing.receive(sender, message)
        elif isinstance(message, AppendReply) and self.engine.is_leader:
            self.leading.heard_root()

    def disconnected(self, peer: int, now: float) -> None:
        """The connection to a node broke: what was on its way is lost."""
        self._now = now
        self.engine.disconnected(peer)
        self.exchange.disconnected(peer)

    def connected(self, peer: int, now: float) -> None:
        """There is a new connection to a node."""
        self.disconnected(peer, now)

    def synced(self, now: float) -> None:
        """`journal.sync()` has returned."""
        self._now = now
        # What the journal says now, and not what the sync said when it began: the log may have been cut since.
        self.engine.durable(self.journal.durable_index)

    def submit(self, request: Request) -> None:
        """Commands to log; see `Request`."""
        self.leading.submit(request)

    def read(self, read: Read) -> None:
        """A read of the state; see `Read`."""
        if len(self._reads) + len(self._barriers) >= READS_WAITING_MAX:
            read.fail(Busy(f"{READS_WAITING_MAX} reads are waiting", retry_seconds=0.05))
        elif read.consistency == "linearizable":
            if not self.engine.is_leader:
                read.fail(self.not_leader())
                return
            self._barriers[read] = None
            self.engine.read(read)
        else:
            index = read.index if read.consistency == "at_least" else 0
            heapq.heappush(self._reads, (index, next(self._numbers), read))
            self._run_reads()

    def change(
        self,
        action: Literal["add", "add_learner", "remove"],
        member: ClusterMember,
        done: Callable[[int], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """Change the membership; `done` gets the index at which it took effect. One change at a time."""
        if not self.engine.is_leader:
            fail(self.not_leader())
            return
        configuration = self.configuration
        known = configuration.get(member.id)
        try:
            if action != "remove":
                split_address(member.peer_address)
                split_address(member.client_address)
            if action == "remove":
                if known is None:
                    raise CallerError(f"node {member.id} is not a member")
                new = configuration.without(member.id)
                change = _Change(lambda now: now.get(member.id) is None, done, fail)
            else:
                if known is not None and (known.is_voter or action == "add_learner"):
                    raise CallerError(f"node {member.id} is a member already")
                wants_vote = action == "add"
                new = configuration.with_member(
                    ClusterMember(member.id, member.peer_address, member.client_address, False, wants_vote)
                )
                change = _Change(lambda now: _is_in(now, member.id, wants_vote=wants_vote), done, fail)
            self.engine.change(new)
        except (CallerError, BadBytes) as error:
            fail(error)
            return
        self._changes.append(change)

    def transfer(self, target: int, done: Callable[[int], None], fail: Callable[[Exception], None]) -> None:
        """Hand leadership over to a node, 0 for whoever has most of the log; `done` gets the new leader."""
        if not self.engine.is_leader:
            fail(self.not_leader())
            return
        if self._transfer is not None:
            fail(CallerError("leadership is being handed over already"))
            return
        if not target:
            others = [number for number in self.configuration.voters if number != self.node_id]
            target = max(others, key=self._match, default=0)
        try:
            self.engine.transfer(target)
        except CallerError as error:
            fail(error)
            return
        self._transfer = done, fail

    def upgrade(self, version: int, done: Callable[[int], None], fail: Callable[[Exception], None]) -> None:
        """Move the machine to a version, one release after the other; `done` gets the index of the last step.

        Refused while a voter does not ship it: `CallerError` says which.
        """
        if not self.engine.is_leader or not self.leading.is_ready:
            fail(self.not_leader())
            return
        active = self.replica.definition.version
        if version <= active:
            if version == active:
                done(self.replica.index)
            else:
                fail(CallerError(f"version {active} is in force, and there is no way back to {version}"))
            return
        reason = self._unready_for(version)
        if reason:
            fail(CallerError(reason))
            return
        self.leading.upgrade(lambda _: self.upgrade(version, done, fail), fail)

    def _unready_for(self, version: int) -> str:
        """Why the machine may not move to a version yet, or an empty text."""
        if self.replica.newest.release(version) is None:
            return f"node {self.node_id}, which leads, does not ship version {version}: upgrade it, or let another lead"
        for number, (oldest, newest) in sorted(self.releases().items()):
            if not newest:
                return f"node {number} has not said which versions it ships: start it, or remove it"
            if not oldest <= version <= newest:
                shipped = f"versions {oldest} to {newest}" if oldest < newest else f"version {newest}"
                return f"node {number} ships {shipped}: upgrade it before version {version}"
        return ""

    def releases(self) -> dict[int, tuple[int, int]]:
        """The oldest and newest machine version that each voter ships, as far as this leader knows; zeros if not."""
        found = {}
        for number in self.configuration.voters:
            progress = self.engine.progress(number)
            found[number] = (0, 0) if progress is None else progress.releases
        if self.node_id in found:
            found[self.node_id] = self.engine.replication.releases
        return found

    def _match(self, number: int) -> int:
        progress = self.engine.progress(number)
        return 0 if progress is None else progress.match_index

    # --- what follows from it ----------------------------------------------------------------------------------------

    def flush(self, now: float) -> None:
        """Do what is to be done. `next_wake` is 0 afterwards if there is more: heartbeats get their turn first."""
        self._now = now
        self._note_leadership()
        self._has_more = self.exchange.advance(now)
        self._has_more = self.agreeing.advance(now) or self._has_more
        self.leading.propose(now)
        ready = self.engine.ready()
        self._carry_out(ready)
        if ready.committed or ready.persist:
            # What that led to: the next batch, further commits.
            self._note_leadership()
            self.leading.propose(now)
            again = self.engine.ready()
            self._carry_out(again)
            self._has_more = self._has_more or bool(again.committed)
        self.snapshots.advance()

    def _note_leadership(self) -> None:
        if self.engine.is_leader:
            if self._led_term != self.engine.term:
                self._stop_leading()
                self._led_term = self.engine.term
                self.elections += 1
                logger.info("leading", node=self.node_id, term=self.engine.term)
                self.leading.begin(self._now)
            return
        if self._led_term:
            self._stop_leading()
        if self._transfer is not None and self.engine.leader is not None:
            (done, _), self._transfer = self._transfer, None
            done(self.engine.leader)

    def _stop_leading(self) -> None:
        if self._led_term:
            logger.info("no longer leading", node=self.node_id, term=self._led_term)
        self._led_term = 0
        self.exchange.stop_leading()
        self.leading.end()
        error = self.not_leader()
        changes, self._changes = self._changes, []
        for change in changes:
            change.fail(error)
        barriers, self._barriers = self._barriers, {}
        for read in barriers:
            read.fail(error)

    def _carry_out(self, ready: Ready) -> None:
        """The engine's output, in the order in which it has to happen."""
        if ready.hard_state is not None:
            term, vote = ready.hard_state
            self._terms.save(term, None if vote is None else str(vote))
        if ready.truncate_from:
            self.journal.truncate_from(ready.truncate_from)
        # What could not be logged must not be spoken of; what was committed before goes its way all the same.
        if not ready.persist or self._append(ready.persist):
            self.outbox.extend(ready.messages)
        if ready.has_recovered:
            self.directory.clear_recovering()
            logger.info("caught up: this node's word counts again", node=self.node_id)
        if ready.committed:
            self.dispatch()  # others wait for the messages
        for entry in ready.committed:
            self._apply(entry)
        if ready.committed:
            self._applied()
        for read, index in ready.reads:
            if read in self._barriers:
                del self._barriers[read]
                heapq.heappush(self._reads, (index, next(self._numbers), read))
        self._run_reads()
        for peer in ready.snapshots:
            self.exchange.offer(peer, self._now)

    def _append(self, entries: list[Entry]) -> bool:
        """Write entries behind the log; False if the disk is full, and then they never were in it."""
        start, size = 0, 0
        try:
            self._check_room()
            for position, entry in enumerate(entries):
                size += len(entry.payload) + 128
                if size > APPEND_BYTES_MAX // 2:
                    self.journal.append(entries[start : position + 1])
                    start, size = position + 1, 0
            self.journal.append(entries[start:])
        except StorageError as error:
            if not self.journal.is_usable:
                raise
            if self._disk_full_until is None:  # else it was told, and is tried again with every message
                logger.error("the disk takes no entries; another node leads meanwhile", error=str(error))
            first = self.journal.last_index + 1
            self.engine.refused(first)
            self.engine.durable(self.journal.durable_index)
            self._disk_full_until = self._now + FULL_DISK_RETRY_SECONDS
            self.snapshots.refuse(error)
            return False
        if self._options.durability == "os":
            self.engine.durable(self.journal.last_index)
        return True

    def _check_room(self) -> None:
        """A node that stands still takes no snapshots, and so it keeps its whole log: not up to the last byte, which it
        needs to start again, or for the snapshot that the others send when their logs are beyond it.
        """
        if (
            self.agreeing.standing not in ("out", "outdated")
            or self._disk.free_bytes(self._options.path) >= FREE_BYTES_MIN
        ):
            return
        raise StorageError(
            f"{self._options.path}: a node that is {self.agreeing.standing} keeps its whole log, and less than "
            f"{FREE_BYTES_MIN >> 20} MiB are left on the disk: mend the node and start it again, or free some space"
        )

    def _apply(self, entry: Entry) -> None:
        proposed = self.leading.take(entry)
        if not self.agreeing.is_applying:  # committed all the same: whoever waits is told so by another node
            for request in () if proposed is None else proposed.requests:
                request.fail(self.not_leader())
            return
        began = self.stopwatch()
        try:
            applied = self.replica.apply(entry, None if proposed is None else proposed.batch)
        except ReleaseMissing as error:
            self.agreeing.outdated(error)
            for request in () if proposed is None else proposed.requests:
                request.fail(self.not_leader())
            return
        except BaseException:
            if proposed is not None:
                for request in proposed.requests:
                    request.fail(Closed("the node has stopped"))
            raise
        for failure in applied.failures:
            # A client may send commands that fail as fast as it likes.
            passed_over = self._seldom.turn(f"command {failure.name}", self._now)
            if passed_over is not None:
                logger.error(
                    "handler_failed",
                    index=failure.index,
                    position=failure.position,
                    name=failure.name,
                    passed_over=passed_over,
                    traceback=failure.traceback,
                )
        self.on_applied(entry, applied.root, self.stopwatch() - began)
        may_show = self.agreeing.may_show
        if applied.root is not None:
            self.roots.note(entry.index, applied.root)
            if may_show:
                self.snapshots.at_hash_point()
        is_quiet = proposed is not None and proposed.is_quiet
        self.leading.applied(entry.index, applied.root, is_quiet=is_quiet, now=self._now)
        if proposed is not None:
            start = proposed.ahead
            for request in proposed.requests:
                end = start + len(request.decoded)
                if may_show:
                    self.leading.answer(request, entry.index, applied.answers[start:end])
                else:  # committed all the same: another node gives the answer
                    request.fail(self.not_leader())
                start = end
            self.leading.observe(start, self._now - proposed.at)

    def _applied(self) -> None:
        replica = self.replica
        self.agreeing.applied(self._now)
        self.leading.confirm()
        if replica.agreement.cases:
            self.case_log.look(replica.agreement)
        # A node in doubt of its state says so itself; its roots count again when it is well.
        root_index = max(replica.roots, default=0) if self.agreeing.standing == "well" else 0
        self.engine.report(replica.index, root_index, replica.roots.get(root_index, b""))
        waiting, self.events_waiting = self.events_waiting, []
        for notify in waiting:
            notify()
        configuration = self.configuration
        if self._changes and self.engine.replication.configuration_index <= replica.index:
            done = [change for change in self._changes if change.is_done(configuration)]
            self._changes = [change for change in self._changes if change not in done]
            for change in done:
                change.done(self.engine.replication.configuration_index)

    def _run_reads(self) -> None:
        while self._reads and (self._reads[0][0] <= self.replica.index or self.agreeing.standing != "well"):
            if self.agreeing.standing != "well":
                heapq.heappop(self._reads)[2].fail(NotLeader(self.agreeing.unservable(self._now)))
            elif self.agreeing.unservable(self._now):
                return  # for a moment only
            else:
                heapq.heappop(self._reads)[2].run(self.replica)

    def _promote(self) -> None:
        """Give the vote to a member that joins and has caught up."""
        if not self.engine.is_leader:
            return
        self.leading.compare_roots()
        for member in self.configuration.members:
            progress = self.engine.progress(member.id)
            if not member.is_joining or progress is None or progress.is_recovering:
                continue
            if progress.match_index >= self.engine.commit_index > 0:
                promoted = ClusterMember(member.id, member.peer_address, member.client_address)
                try:
                    self.engine.change(self.configuration.with_member(promoted))
                except CallerError:
                    return  # another change is under way; the next tick tries again
                return

    def _install(self, receiver: SnapshotReceiver) -> None:
        """A snapshot is durable: start the journal behind it, and let its replica take over."""
        manifest = receiver.manifest
        self.journal.reset(manifest.index, manifest.term, manifest.chain)
        receiver.replica.compared_index = manifest.index  # a leader offers none that a quorum has not confirmed
        self.engine.installed(manifest.index, manifest.term, receiver.configuration)
        self.agreeing.installed()
        self._swap(receiver.replica)

    def _heal(self, replica: Replica, from_index: int) -> None:
        self.roots.amend(replica.roots, from_index)
        self._swap(replica)

    def _swap(self, replica: Replica) -> None:
        """Another replica takes the place of the one there was."""
        replica.is_lone = False
        self.replica = self.leading.replica = replica
        self.snapshots.rebind(replica)
        self.on_swapped()
        self._applied()
        self._run_reads()

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Tell whoever waits, make everything durable, let go of the directory. Nothing is sent any more."""
        error = Closed("the node is closed")
        self.leading.end()
        for _, _, read in self._reads:
            read.fail(error)
        for read in self._barriers:
            read.fail(error)
        self._reads, self._barriers = [], {}
        for change in self._changes:
            change.fail(error)
        if self._transfer is not None:
            self._transfer[1](error)
        self._changes, self._transfer = [], None
        self.exchange.close()
        self.snapshots.abandon(error)
        for close in (self.roots.close, self.journal.close, self._terms.close, self.directory.close):
            try:
                close()
            except RsmError as failure:  # whatever it is, the rest is closed too
                logger.error("while closing", error=describe(failure))


def _inline(replica: Replica, journal: Journal, files: SnapshotFiles, log_bytes: int) -> Snapshots:
    return InlineSnapshots(replica, journal, files, log_bytes=log_bytes)


def _is_in(configuration: Configuration, number: int, *, wants_vote: bool) -> bool:
    member = configuration.get(number)
    return member is not None and (member.is_voter or not wants_vote)
