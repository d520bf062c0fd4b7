"""A group of engines over fake journals under one virtual clock: delays, breaks, restarts, lost disks, full disks.

It does with an engine what `rsm.node.member.Member` does, with one liberty: the time between what happens to a member
and its next flush is drawn, so several messages and the end of a sync may fall in between, as they do in a process.
Connections keep order; what was under way when one broke may still arrive until there is a new one, and never later.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any, Final

from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError
from rsm.raft.cluster import ClusterEngine
from rsm.raft.configuration import Configuration, Member
from rsm.raft.messages import (
    AppendReply,
    Message,
    SnapshotOffer,
    SnapshotResult,
    decode_message,
    encode_message,
)
from tests.unit.raft.fake_journal import FakeJournal, FullDisk
from tests.unit.raft.judge import Broken, Judge

__all__ = ["Network", "Node", "configuration_of"]

HEARTBEAT: Final = 0.1
ELECTION: Final = (0.5, 1.0)
TICK: Final = 0.05
BASE: Final = 1  # the log begins behind an index that everybody has


def configuration_of(*voters: int, learners: tuple[int, ...] = (), joining: tuple[int, ...] = ()) -> Configuration:
    """These members, at addresses that nobody dials."""
    members = [Member(number, "", "") for number in voters]
    members += [Member(number, "", "", False) for number in learners]
    members += [Member(number, "", "", False, True) for number in joining]
    return Configuration(tuple(sorted(members, key=lambda member: member.id)))


class Node:
    """One member: its disk, and the engine of its present process, None while it is down."""

    def __init__(self, network: Network, number: int, configuration: Configuration | None) -> None:
        self.network = network
        self.number = number
        self.configuration = configuration  # of its birth; None for one that joins with nothing
        self.engine: ClusterEngine | None = None
        self.process = 0
        self.wipe()

    def wipe(self) -> None:
        """An empty disk, as a new node has it."""
        base = (BASE, 1, self.configuration) if self.configuration is not None else (0, 0, None)
        self.journal = FakeJournal(*base)
        self.term = base[1]
        self.vote: int | None = None
        self.is_marked = True  # recovering, on the disk

    def start(self) -> None:
        """A new process."""
        network, journal = self.network, self.journal
        self.process += 1
        self.is_flush_due = self.is_syncing = False
        self.full_until: float | None = None
        self.applied_index = journal.base_index
        self.commit_index = 0
        self.led_term = 0
        self.installing: tuple[int, SnapshotOffer] | None = None
        journal.reopen()
        self.term = max(self.term, journal.last_term)
        self.engine = ClusterEngine(
            self.number,
            journal,
            term=self.term,
            vote=self.vote,
            configurations=journal.configurations(),
            commit_index=self.applied_index,
            is_recovering=self.is_marked,
            now=network.now,
            heartbeat_seconds=HEARTBEAT,
            election_seconds=ELECTION,
            chance=network.chance,
        )
        self.later(network.chance.uniform(0, TICK), self.tick)

    def stop(self) -> None:
        """The process is killed."""
        self.engine = None
        self.process += 1

    @property
    def running(self) -> ClusterEngine:
        """The engine of a node that is up."""
        if self.engine is None:
            raise AssertionError(f"node {self.number} is down")
        return self.engine

    @property
    def log(self) -> dict[int, Entry]:
        """What its engine holds for its log, by index."""
        log = self.running.replication.log
        return {entry.index: entry for entry in self.entries(log.first_index, log.last_index)}

    def entries(self, first: int, last: int) -> list[Entry]:
        log = self.running.replication.log
        found: list[Entry] = []
        while first <= last:
            part = log.read(first, last, 2**20)
            found += part
            first += len(part)
        return found

    # --- events -------------------------------------------------------------------------------------------------------

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call, if the process is still the same."""
        process = self.process
        self.network.after(seconds, lambda: call() if self.process == process else None)

    def kick(self) -> None:
        """Flush soon; and note at once what a leader holds for committed, since it may not lead then."""
        engine, judge = self.engine, self.network.judge
        if engine is not None and engine.is_leader and engine.commit_index > judge.last_index:
            judge.commits(self.number, engine.term, self.log, engine.commit_index)
        if not self.is_flush_due:
            self.is_flush_due = True
            self.later(self.network.chance.choice((0.0, 0.0002, 0.003)), self.flush)

    def tick(self) -> None:
        network, engine = self.network, self.running
        if self.full_until is not None and network.now >= self.full_until:
            self.full_until = None
            engine.may_lead = True
        engine.tick(network.now)
        if engine.is_leader:
            self._promote(engine)
        self.kick()
        self.later(TICK, self.tick)

    def _promote(self, engine: ClusterEngine) -> None:
        for member in engine.configuration.members:
            progress = engine.progress(member.id)
            if member.is_joining and progress is not None and progress.match_index >= engine.commit_index > 0:
                try:
                    engine.change(engine.configuration.with_member(Member(member.id, "", "")))
                except CallerError:
                    return

    def receive(self, sender: int, message: Message) -> None:
        engine = self.running
        engine.receive(sender, message, self.network.now)
        if message.term == engine.term:
            if isinstance(message, SnapshotOffer) and not engine.is_leader:
                self._receive_offer(engine, sender, message)
            elif isinstance(message, SnapshotResult) and engine.is_leader:
                engine.snapshot_ended(sender, message.index)
        self.kick()

    def _receive_offer(self, engine: ClusterEngine, leader: int, offer: SnapshotOffer) -> None:
        if offer.index <= self.applied_index or engine.holds(offer.index, offer.index_term):
            self.network.send(self.number, leader, SnapshotResult(engine.term, offer.index, True, ""))
        elif self.installing is None or self.installing[1] != offer:
            self.installing = leader, offer
            self.later(self.network.chance.choice((0.01, 0.3, 1.5)), lambda: self._install(leader, offer))

    def _install(self, leader: int, offer: SnapshotOffer) -> None:
        engine = self.running
        if self.installing != (leader, offer):
            return
        self.installing = None
        if offer.index > self.applied_index and not engine.holds(offer.index, offer.index_term):
            configuration = self.network.snapshots[offer.index, offer.index_term]
            self.journal.reset(offer.index, offer.index_term, configuration)
            engine.installed(offer.index, offer.index_term, configuration)
            self.applied_index = offer.index
        self.network.send(self.number, leader, SnapshotResult(engine.term, offer.index, True, ""))
        self.kick()

    def flush(self) -> None:
        """What follows from what happened, in the order in which it has to happen."""
        self.is_flush_due = False
        network, engine, journal = self.network, self.running, self.journal
        for _ in range(2):
            self._carry_out(engine)
        if journal.durable_index < journal.last_index and not self.is_syncing:
            self.is_syncing = True
            journal.begin_sync()
            self.later(network.sync_seconds(), self._end_sync)
        if engine.is_leader and self.led_term != engine.term:
            self.led_term = engine.term
            network.judge.leads(self.number, engine.term, self.log, journal.first_index)
        network.check(self)

    def _end_sync(self) -> None:
        self.journal.end_sync()
        self.later(self.network.chance.choice((0.0, 0.001)), self._synced)

    def _synced(self) -> None:
        self.is_syncing = False
        self.running.durable(self.journal.durable_index)
        self.kick()

    def _carry_out(self, engine: ClusterEngine) -> None:
        network, journal = self.network, self.journal
        ready = engine.ready()
        if ready.hard_state is not None:
            term, vote = ready.hard_state
            if term < self.term or (term == self.term and self.vote not in (None, vote)):
                raise Broken(f"hard state: node {self.number} goes from {self.term, self.vote} to {term, vote}")
            self.term, self.vote = term, vote
        if ready.truncate_from:
            if ready.truncate_from <= self.applied_index:
                raise Broken(f"truncation: node {self.number} cuts {ready.truncate_from}, which it has applied")
            journal.truncate_from(ready.truncate_from)
        if self._persist(engine, ready.persist):
            for receiver, message in ready.messages:
                network.check_message(self, receiver, message)
                network.send(self.number, receiver, message)
            if ready.has_recovered:
                self.is_marked = False
        for entry in ready.committed:
            if entry.index != self.applied_index + 1 or entry.index > journal.durable_index:
                raise Broken(f"apply: node {self.number} gets entry {entry.index} behind {self.applied_index}")
            network.judge.applies(self.number, entry)
            self.applied_index = entry.index
        engine.report(self.applied_index, 0, b"")
        for token, index in ready.reads:
            token(index)
        for peer in ready.snapshots:
            self._offer(engine, peer)

    def _persist(self, engine: ClusterEngine, entries: list[Entry]) -> bool:
        journal = self.journal
        before = journal.last_index
        try:
            journal.append(entries, self.network.chance)
        except FullDisk:
            engine.refused(journal.last_index + 1)
            engine.durable(journal.durable_index)
            self.full_until = self.network.now + 1.0
            return False
        finally:
            for entry in list(journal.read(before + 1)):
                self.network.judge.wrote(self.number, entry, journal.term_at(entry.index - 1))
        return True

    def _offer(self, engine: ClusterEngine, peer: int) -> None:
        index = self.journal.base_index
        term = engine.replication.log.term_at(index)
        configuration = self.journal.base_configuration
        if term is not None and configuration is not None:
            self.network.snapshots[index, term] = configuration
            self.network.send(self.number, peer, SnapshotOffer(engine.term, index, term, b""))


class Network:
    """The group. `step` makes the next thing happen."""

    def __init__(self, seed: int, voters: int = 3, spares: int = 0) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.judge = Judge(BASE)
        self.sync_stalls = 0.02
        self.delays = (0.0005, 0.02)
        self.snapshots: dict[tuple[int, int], Configuration] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._links: dict[tuple[int, int], int] = {}  # pair -> number of its connection
        self._old_links: dict[tuple[int, int], int] = {}
        self._arrivals: dict[tuple[int, int], float] = {}
        self.reads_done = self.proposals = 0
        configuration = configuration_of(*range(1, voters + 1))
        self.nodes = {
            number: Node(self, number, configuration if number <= voters else None)
            for number in range(1, voters + spares + 1)
        }
        for node in self.nodes.values():
            node.start()
        self.connect_all()

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, call))

    def step(self) -> None:
        self.now, _, call = heapq.heappop(self._events)
        call()

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; whether `until` came true."""
        end = self.now + seconds
        while self._events[0][0] <= end:
            self.step()
            if until is not None and until():
                return True
        self.now = end
        return False

    def sync_seconds(self) -> float:
        if self.chance.random() < self.sync_stalls:
            return self.chance.uniform(0.2, 3.0)
        return self.chance.uniform(0.0003, 0.006)

    @property
    def up(self) -> list[Node]:
        return [node for _, node in sorted(self.nodes.items()) if node.engine is not None]

    def leader(self) -> Node | None:
        """Who leads in the highest term."""
        leading = [node for node in self.up if node.running.is_leader]
        return max(leading, key=lambda node: node.running.term, default=None)

    # --- connections --------------------------------------------------------------------------------------------------

    def send(self, sender: int, receiver: int, message: Message) -> None:
        link = self._links.get(_pair(sender, receiver))
        if link is None:
            return
        data = encode_message(message)
        at = max(self._arrivals.get((sender, receiver), 0.0), self.now + self.chance.uniform(*self.delays))
        self._arrivals[sender, receiver] = at
        process = self.nodes[receiver].process

        def arrive() -> None:
            pair = _pair(sender, receiver)
            is_there = link in (self._links.get(pair), self._old_links.get(pair))
            if is_there and self.nodes[receiver].process == process and self.nodes[receiver].engine is not None:
                self.nodes[receiver].receive(sender, decode_message(data))

        self.after(at - self.now, arrive)

    def disconnect(self, one: int, other: int) -> None:
        pair = _pair(one, other)
        link = self._links.pop(pair, None)
        if link is None:
            return
        if self.chance.random() < 0.5:
            self._old_links[pair] = link
        for number, peer in ((one, other), (other, one)):
            engine = self.nodes[number].engine
            if engine is not None and self.chance.random() < 0.5:
                engine.disconnected(peer)
                self.nodes[number].kick()

    def connect(self, one: int, other: int) -> None:
        pair = _pair(one, other)
        if self.nodes[one].engine is None or self.nodes[other].engine is None or pair in self._links:
            return
        self._count += 1
        self._links[pair] = self._count
        self._old_links.pop(pair, None)
        for number, peer in ((one, other), (other, one)):
            self._arrivals.pop((number, peer), None)
            self.nodes[number].running.disconnected(peer)
            self.nodes[number].kick()

    def connect_all(self) -> None:
        for one in self.nodes:
            for other in self.nodes:
                if one < other:
                    self.connect(one, other)

    def stop(self, number: int) -> None:
        for other in self.nodes:
            if other != number:
                self.disconnect(number, other)
        self.nodes[number].stop()

    # --- what is done to it -------------------------------------------------------------------------------------------

    def propose(self, node: Node) -> None:
        engine = node.running
        if engine.is_leader and not engine.is_transferring:
            self.proposals += 1
            engine.propose(b"%d" % self.proposals + bytes(self.chance.choice((0, 0, 100, 500))), RecordKind.BATCH)
            node.kick()

    def read(self, node: Node) -> None:
        engine, known = node.running, self.judge.last_index
        if not engine.is_leader:
            return

        def done(index: int) -> None:
            self.reads_done += 1
            if index < known:
                raise Broken(f"read: node {node.number} answers as of {index}, but {known} was committed")

        engine.read(done)
        node.kick()

    # --- checks -------------------------------------------------------------------------------------------------------

    def check(self, node: Node) -> None:
        """After a flush."""
        engine, log = node.running, node.running.replication.log
        if engine.commit_index < node.commit_index:
            raise Broken(f"commit index: node {node.number} goes from {node.commit_index} to {engine.commit_index}")
        node.commit_index = engine.commit_index
        if engine.term != node.term or log.last_index != node.journal.last_index:
            raise Broken(f"node {node.number} kept something from its disk")
        if log.durable_index > node.journal.durable_index:
            raise Broken(f"durable: node {node.number} has {node.journal.durable_index}, thinks {log.durable_index}")
        for progress in engine.replication.progress.values():
            if progress.bytes_in_flight != sum(size for _, size in progress.in_flight):
                raise Broken(f"in flight: node {node.number} has lost count")

    def check_message(self, node: Node, receiver: int, message: Message) -> None:
        """Before a message leaves: an acknowledgement is of what is durable, and equal to the leader's log."""
        if not isinstance(message, AppendReply) or message.match_index == 0 or message.term != node.term:
            return
        match, journal = message.match_index, node.journal
        if match > journal.durable_index:
            raise Broken(f"acknowledgement: node {node.number} has {journal.durable_index} durable, says {match}")
        leader = self.nodes[receiver].engine
        if leader is not None and leader.is_leader and leader.term == message.term:
            log: Any = leader.replication.log
            if match > journal.base_index and match >= log.first_index and log.term_at(match) != journal.term_at(match):
                raise Broken(f"acknowledgement: node {node.number} says {match}, which is not leader {receiver}'s")


def _pair(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)
