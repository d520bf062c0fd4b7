"""Bare PySyncObj under the simulator's network and faults, to see that they find what is wrong with it.

Three nodes, clients that submit numbers at any of them, and only faults that the library means to survive: connections
that break, partitions, pauses, and processes that die and come back with their journal. In a mode of its own machines
lose power, which the library, never syncing anything, cannot survive.

What is looked for is what Raft promises: one leader a term; what a node has applied stays in its log and is applied at
that index everywhere; what was acknowledged is not lost; and thirty seconds after the last fault a new command commits
and all nodes hold the same log.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from rsm.raft.bare import BareFiles, BareNode, driven
from rsm.testing.network import EventQueue, Network, NetworkProfile, Trace
from rsm.testing.schedule import NETWORK_FAULTS, Aim, Fault, FaultKind, draw_schedule, strike_network

__all__ = ["BareResult", "BareSimulation"]

TICK_SECONDS: Final = 0.05  # the library's own period
HEAL_SECONDS: Final = 30.0  # more than twenty of its election time-outs
EVENTS_MAX: Final = 400_000
DEFAULT_MESSAGE_BYTES: Final = 2**16


class BareResult(msgspec.Struct, frozen=True):
    """What one run found: how often each kind of violation was seen, and the first of each in words."""

    seed: int
    violations: dict[str, int]
    first: dict[str, str]
    acknowledged: int
    virtual_seconds: float
    events: int
    trace: str

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.violations


class BareSimulation:
    """One run of one seed. `small_messages` makes the library send 300 bytes at once, so that sends overlap more.
    `delay_seconds` 0: drawn.
    """

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 3,
        seconds: float = 20.0,
        small_messages: bool = False,
        power_cuts: bool = False,
        delay_seconds: float = 0.0,
    ) -> None:
        self.seed = seed
        self.seconds = seconds
        self.power_cuts = power_cuts
        self.message_bytes_max = 300 if small_messages else DEFAULT_MESSAGE_BYTES
        self.queue = EventQueue()
        self.trace = Trace()
        self.chance = random.Random(f"bare {seed} {nodes} {small_messages} {power_cuts}")
        self.ids = list(range(1, nodes + 1))
        # Slow enough that several of the library's messages are on their way at once.
        delay = delay_seconds or self.chance.choice((0.002, 0.01, 0.04))
        profile = NetworkProfile(
            delay_seconds_min=delay, delay_seconds_mean=delay, tail_chance=0.05, tail_seconds=10 * delay
        )
        self.network = Network(self.queue, random.Random(self.chance.random()), self, profile)
        self.files = {node: BareFiles() for node in self.ids}
        self.nodes: dict[int, BareNode] = {}
        self.violations: dict[str, int] = {}
        self.first: dict[str, str] = {}
        self.applied_at: dict[int, int] = {}  # index -> the number first applied there
        self.acknowledged: dict[int, float] = {}
        self.leaders: dict[int, int] = {}  # term -> node
        self.submitted = 0
        self.healed_acknowledged = False

    # --- what nodes do ------------------------------------------------------------------------------------------------

    def send(self, sender: int, receiver: int, message: Any) -> bool:
        self.trace.note(self.queue.now, "send", sender, receiver, message["type"], len(message.get("entries", ())))
        return self.network.send(sender, receiver, message)

    def applied(self, node: int, index: int, number: int) -> None:
        self.trace.note(self.queue.now, "apply", node, index, number)
        before = self.applied_at.setdefault(index, number)
        if before != number:
            self._violation("diverged", f"node {node} applied {number} at index {index}, another {before}")

    def removed(self, node: int, index: int) -> None:
        self.trace.note(self.queue.now, "removed", node, index)
        bare = self.nodes.get(node)
        if bare is not None and index <= bare.applied_index:
            self._violation("cut_applied", f"node {node} removed from index {index}, applied {bare.applied_index}")

    def arrived(self, sender: int, receiver: int, message: Any) -> None:
        self._run(receiver, lambda bare: bare.received(sender, message))

    def connected(self, node: int, peer: int) -> None:
        self._run(node, lambda bare: bare.connected(peer))

    def disconnected(self, node: int, peer: int) -> None:
        self._run(node, lambda bare: bare.disconnected(peer))

    def _run(self, node: int, action: Callable[[BareNode], None]) -> None:
        bare = self.nodes.get(node)
        if bare is None:
            return
        action(bare)
        bare.tick()
        if bare.is_leader:
            leader = self.leaders.setdefault(bare.term, node)
            if leader != node:
                self._violation("two_leaders", f"nodes {leader} and {node} lead in term {bare.term}")

    def _violation(self, kind: str, what: str) -> None:
        self.violations[kind] = self.violations.get(kind, 0) + 1
        self.first.setdefault(kind, f"{self.queue.now:.3f}: {what}")

    # --- processes ----------------------------------------------------------------------------------------------------

    def _start(self, node: int) -> None:
        if node in self.nodes:
            return
        self.trace.note(self.queue.now, "start", node)
        peers = [peer for peer in self.ids if peer != node]
        self.nodes[node] = bare = BareNode(node, peers, self.files[node], self, self.message_bytes_max)
        self.network.start(node)
        self._tick(node, bare)

    def _tick(self, node: int, bare: BareNode) -> None:
        if self.nodes.get(node) is not bare:
            return
        if not self.network.is_paused(node):
            self._run(node, lambda _: None)
        self.queue.after(TICK_SECONDS, lambda: self._tick(node, bare))

    def _die(self, node: int, until: float, *, power: bool) -> None:
        if self.nodes.pop(node, None) is None:
            return
        self.network.stop(node, notice_seconds=2.0 if power else 0.05)
        if power:
            self.files[node].power_cut()
        else:
            self.files[node].process_died()
        self.queue.at(until, lambda: self._start(node))

    # --- faults -------------------------------------------------------------------------------------------------------

    def _strike(self, fault: Fault) -> None:
        target = self._target(fault)
        self.trace.note(self.queue.now, "fault", fault.kind.value, target)
        if fault.kind in NETWORK_FAULTS:
            strike_network(self.network, fault, self.ids, target)
        elif fault.kind is FaultKind.PAUSE and target in self.nodes:
            self.network.pause(target)
            self.queue.at(fault.until, lambda: self._resume(target))
        elif fault.kind in (FaultKind.KILL, FaultKind.POWER):
            self._die(target, fault.until, power=fault.kind is FaultKind.POWER)
        elif fault.kind is FaultKind.BLACKOUT:
            for node in self.ids:
                self._die(node, fault.until, power=True)

    def _resume(self, node: int) -> None:
        if self.network.is_paused(node):
            self.network.resume(node)

    def _target(self, fault: Fault) -> int:
        leaders = [node for node in self.ids if node in self.nodes and self.nodes[node].is_leader]
        candidates = self.ids
        if fault.aim is Aim.LEADER and leaders:
            candidates = leaders
        elif fault.aim is Aim.FOLLOWER:
            candidates = [node for node in self.ids if node not in leaders] or self.ids
        return candidates[fault.seed % len(candidates)]

    # --- clients ------------------------------------------------------------------------------------------------------

    def _load(self, rate_per_second: float) -> None:
        if self.queue.now >= self.seconds:
            return
        for _ in range(self.chance.choice((1, 1, 2, 10))):
            self._submit(self.chance.choice(self.ids))
        self.queue.after(self.chance.expovariate(rate_per_second), lambda: self._load(rate_per_second))

    def _submit(self, node: int) -> None:
        bare = self.nodes.get(node)
        if bare is None or self.network.is_paused(node):
            return
        self.submitted += 1
        number = self.submitted

        def acknowledged() -> None:
            self.trace.note(self.queue.now, "acknowledged", number)
            self.acknowledged[number] = self.queue.now
            self.healed_acknowledged |= self.queue.now > self.seconds

        bare.submit(number, acknowledged)
        self._run(node, lambda _: None)

    def _write_back(self, node: int) -> None:
        self.files[node].write_back()
        self.queue.after(self.chance.uniform(2.0, 15.0), lambda: self._write_back(node))

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> BareResult:
        """Run to the end; the same seed gives the same result in any process."""
        kinds = [*NETWORK_FAULTS, FaultKind.PAUSE, FaultKind.KILL]
        if self.power_cuts:
            kinds += [FaultKind.POWER, FaultKind.BLACKOUT]
        faults = draw_schedule(
            self.chance, kinds, seconds=self.seconds, rate_per_second=self.chance.choice((0.5, 1, 2))
        )
        with driven(lambda: self.queue.now + 1000.0, random.Random(self.chance.random())):
            for node in self.ids:
                self.queue.at(0.01 * node, partial(self._start, node))
                self.queue.after(self.chance.uniform(2.0, 15.0), partial(self._write_back, node))
            for fault in faults:
                self.queue.at(fault.at, partial(self._strike, fault))
            rate = self.chance.choice((10, 30, 60))
            self.queue.at(1.5, lambda: self._load(rate))
            while self.queue.count < EVENTS_MAX and self.queue.step(self.seconds):
                pass
            self._heal()
        return BareResult(
            self.seed,
            dict(sorted(self.violations.items())),
            dict(sorted(self.first.items())),
            len(self.acknowledged),
            round(self.queue.now, 6),
            self.queue.count,
            self.trace.digest(),
        )

    def _heal(self) -> None:
        deadline = self.seconds + HEAL_SECONDS
        self._probe()
        look = self.seconds
        while self.queue.count < 2 * EVENTS_MAX:
            look += 0.25
            while self.queue.step(look) and self.queue.count < 2 * EVENTS_MAX:
                pass
            if self._has_converged():
                break
            if look >= deadline:
                leader = self._leader()
                logs = {node: self.files[node].entries[-1][1] for node in self.ids}
                self._violation(
                    "livelock", f"not one log {HEAL_SECONDS:g} s after healing: leader {leader}, ends {logs}"
                )
                break
        self._check_acknowledged()

    def _probe(self) -> None:
        leader = self._leader()
        if leader is not None and not self.healed_acknowledged:
            self._submit(leader)
        self.queue.after(1.0, self._probe)

    def _leader(self) -> int | None:
        leading = [(bare.term, node) for node, bare in sorted(self.nodes.items()) if bare.is_leader]
        return max(leading)[1] if leading else None

    def _has_converged(self) -> bool:
        if not self.healed_acknowledged or len(self.nodes) < len(self.ids):
            return False
        logs = [self.files[node].entries for node in self.ids]
        last = logs[0][-1][1]
        return all(log == logs[0] for log in logs) and all(self.nodes[node].applied_index == last for node in self.ids)

    def _check_acknowledged(self) -> None:
        leader = self._leader()
        held: set[bytes] = set()
        for node in self.ids if leader is None else [leader]:
            held.update(command for command, _, _ in self.files[node].entries)
        numbers = {BareNode.number_of(command) for command in sorted(held)}
        for number in sorted(self.acknowledged):
            if number not in numbers:
                when = self.acknowledged[number]
                self._violation("lost", f"command {number}, acknowledged at {when:.3f}, is in no leader's log")
