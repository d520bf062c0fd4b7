"""The simulator: a whole cluster in one process under a virtual clock, everything of it drawn from one seed.

The nodes are real (`rsm.node.member`, with consensus, journal, snapshots and replica), the machine is the user's, the
clients keep real session cores. Simulated are what they stand on: the network, the disks, the clocks, the processes and
the people who operate them. A run has three parts: faults for some seconds; a healing, after which within ten election
time-outs a new command must commit and all members must have applied it; and the judgement of what clients saw.

The same seed gives the same run, event for event, in any process: `SimulationResult.trace` is its hash.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import msgspec

from rsm.limits import STRICT_SIMULATION_ENTRIES
from rsm.machine.machine import StateMachine
from rsm.node.log import logger
from rsm.replica.answer import Status, decode
from rsm.testing.invariants import UNCHECKED, Violation
from rsm.testing.linearizability import Operation, Verdict, check
from rsm.testing.network import CLIENTS_FROM
from rsm.testing.probe import ProbeModel
from rsm.testing.schedule import Fault, FaultKind
from rsm.testing.stage import ELECTION_SECONDS, Stage
from rsm.testing.strict_mode import Strict
from rsm.testing.versions import Versions

__all__ = ["Simulation", "SimulationResult", "simulate"]

HEAL_SECONDS: Final = 10 * ELECTION_SECONDS[1]
DRAIN_SECONDS: Final = 20.0
# After that, for differences: verdicts are waited for, logs are run again, nodes that are out are started again.
RECONCILE_SECONDS: Final = 60.0
UPGRADE_SECONDS: Final = 20.0
EVENTS_MAX: Final = 2_000_000
PROBE_CLIENT: Final = 1999


class SimulationResult(msgspec.Struct, frozen=True):
    """What one run found. `trace`: the hash of everything that happened; `lines`: the end of it, if there are
    violations. `faults`: how many of each kind struck. `plants`: what came of states that were made to differ.
    `upgrades`: what came of releases.
    """

    seed: int
    violations: tuple[Violation, ...]
    acknowledged: int
    reads: int
    unknown: int
    elections: int
    entries: int
    faults: dict[str, int]
    messages: int
    events: int
    virtual_seconds: float
    healed_after_seconds: float
    linearizability: str
    trace: str
    lines: tuple[str, ...]
    plants: dict[str, int] = {}
    upgrades: dict[str, int] = {}

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.violations


def simulate(machine: type[StateMachine], seed: int, **options: Any) -> SimulationResult:
    """One run; `options` as for `Simulation`."""
    return Simulation(machine, seed, **options).run()


class Simulation(Stage):
    """One run of one seed. Its options are those of `Stage`."""

    def run(self) -> SimulationResult:
        """Run to the end, or to the first violation."""
        watching = (
            Strict(every=STRICT_SIMULATION_ENTRIES, collect=True, on_finding=self.nondeterministic)
            if self.is_strict
            else contextlib.nullcontext()
        )
        with silence(), watching:
            for node in sorted(self.processes):
                self.queue.at(0.01 * node, partial(self.processes[node].start, self.first_configuration))
            for number in range(self.client_count):
                self.queue.at(0.5, partial(self.start_client, CLIENTS_FROM + number))
            self.queue.at(1.0, self.tend_clients)
            for fault in self.faults:
                self.queue.at(fault.at, partial(self._strike, fault))
            self._run_until(self.seconds)
            if not self.judge.violations:
                self._heal()
            if not self.judge.violations and self.is_diverging:
                self._reconcile()
            if not self.judge.violations and self.versions is not None:
                self._upgrade(self.versions)
            if not self.judge.violations:
                self._drain()
            verdict = self._judge()
        return self._result(verdict)

    def _strike(self, fault: Fault) -> None:
        self.fault_counts[fault.kind.value] = self.fault_counts.get(fault.kind.value, 0) + 1
        self.operator.strike(fault)

    def _run_until(self, time: float) -> None:
        while not self.judge.violations and self.queue.step(time):
            if self.queue.count > EVENTS_MAX:
                self.judge.broken("the run ends", f"{EVENTS_MAX} events and no end")

    def _heal(self) -> None:
        """Every fault is over and every node is up: now the cluster has ten election time-outs."""
        self.is_healing = True
        self.note("healing")
        self.operator.heal()
        start = self.queue.now
        for client in self.clients.values():
            client.stop()
        probe = self.new_client(PROBE_CLIENT)
        while not self.judge.violations and self.queue.now < start + HEAL_SECONDS:
            self._run_until(self.queue.now + 0.1)
            if not probe.is_alive:
                probe = self.new_client(PROBE_CLIENT)
            if self.healed_at is None and self._has_converged(start):
                self.healed_at = self.queue.now
                probe.stop()
                return
        if not self.judge.violations:
            self.judge.broken("convergence", f"not within {HEAL_SECONDS:g} s after healing: {self._standing()}")

    def _has_converged(self, since: float) -> bool:
        fresh = [
            call.index
            for call in self.history.calls
            if call.kind == "command" and call.returned is not None and call.called >= since and call.index
        ]
        leader = self.leader()
        if not fresh or leader is None:
            return False
        for node in self.configuration().ids:
            member = self.processes[node].member
            if member is None or member.is_recovering:
                return False
            # One whose state differs applies nothing, but must have it in its log.
            reached = member.applied_index if member.agreeing.is_applying else member.commit_index
            if reached < fresh[0]:
                return False
        return True

    def _reconcile(self) -> None:
        """Whatever state differs is found in time, and healed in the end, in a cluster that is whole by now."""
        start, chance = self.queue.now, random.Random(f"last plant {self.seed}")
        probe, is_planted, restarted = self.new_client(PROBE_CLIENT), chance.random() < 0.3, Counter[int]()
        while not self.judge.violations:
            self._run_until(self.queue.now + 0.1)
            if not probe.is_alive:
                probe = self.new_client(PROBE_CLIENT)
            overdue = self.plants.overdue(start)
            if overdue:
                self.judge.broken("a difference is found in time", overdue)
                return
            for node, process in sorted(self.processes.items()):
                # Its operator reads what it says, and starts it again: once, for its code may be the reason.
                is_out = process.member is not None and process.member.agreeing.standing == "out"
                if is_out and process.machine is None and not restarted[node]:
                    restarted[node] += 1
                    self.operator.restart(process)
            unsettled = self.plants.unsettled()
            if not unsettled and is_planted:
                break
            if not unsettled:
                is_planted = True
                process = self.processes[chance.choice(self.configuration().ids)]
                kind = chance.choice((FaultKind.ALTER, FaultKind.ALTER_UNTRACKED, FaultKind.ALTER_DIGEST))
                if not self.plants.plant(process, kind, chance):
                    break
            if self.queue.now > start + RECONCILE_SECONDS:
                self.judge.broken("what differs is healed", f"not within {RECONCILE_SECONDS:g} s: {unsettled}")
                return
        probe.stop()
        self.plants.check_evidence()

    def _upgrade(self, versions: Versions) -> None:
        """Every node has the newest release by now: it can be put in force, and then every node is well under it."""
        start = self.queue.now
        probe = self.new_client(PROBE_CLIENT)
        while not self.judge.violations and (unsettled := versions.unsettled()):
            if self.queue.now > start + UPGRADE_SECONDS:
                self.judge.broken("the newest release comes in force", f"not in {UPGRADE_SECONDS:g} s: {unsettled}")
            versions.ask(versions.newest.definition.version)
            self._run_until(self.queue.now + 0.25)
            if not probe.is_alive:
                probe = self.new_client(PROBE_CLIENT)
        probe.stop()

    def _standing(self) -> str:
        parts = []
        for node, process in sorted(self.processes.items()):
            member = process.member
            if member is None:
                parts.append(f"{node} down")
            else:
                marks = ("leads " if member.is_leader else "") + ("recovering " if member.is_recovering else "")
                parts.append(
                    f"{node} {marks}term {member.term} log {member.journal.last_index} at {member.applied_index}"
                )
        return "; ".join(parts) + f"; members {self.configuration().ids}"

    def _drain(self) -> None:
        """Clients get the answers that are still open, or run out of patience."""
        until = self.queue.now + DRAIN_SECONDS
        while self.queue.now < until and not self.judge.violations:
            if all(client.is_idle or not client.is_alive for client in self.clients.values()):
                return
            self._run_until(self.queue.now + 0.25)

    def _judge(self) -> str:
        if self.judge.violations:
            return "not reached"
        self.judge.replay(self.machine, self.history.calls, self.plants.doubtful)
        if not self.is_probe:
            return "order in time only"
        found = check(ProbeModel(), self._operations())
        if found.verdict is Verdict.LINEARIZABLE:
            return f"linearizable ({found.steps} steps)"
        culprit = "" if found.unexplained is None else f": {self._operations()[found.unexplained]}"
        rule = UNCHECKED if found.verdict is Verdict.UNCHECKED else "linearizability"
        self.judge.broken(rule, f"{found.verdict.value}: {found.reason}, key {found.key!r}{culprit}")
        return str(found.verdict.value)

    def _operations(self) -> list[Operation]:
        operations = []
        for call in self.history.calls:
            if call.kind not in ("command", "linearizable"):
                continue
            arguments = (call.name, *call.values)
            if call.returned is None or call.request in self.plants.doubtful:
                if call.kind == "command":
                    operations.append(Operation(call.number, arguments, call.called))
                continue
            result: Any = "rejected"
            if call.answer is None:
                result = decode(call.result)
            elif call.answer.status == Status.OK:
                result = decode(call.answer.body)
            operations.append(Operation(call.number, arguments, call.called, call.returned, result))
        return operations

    def _result(self, verdict: str) -> SimulationResult:
        calls = self.history.calls
        violations = tuple(self.judge.violations)
        return SimulationResult(
            seed=self.seed,
            violations=violations,
            acknowledged=sum(call.kind == "command" and call.returned is not None for call in calls),
            reads=sum(call.kind != "command" and call.returned is not None for call in calls),
            unknown=sum(call.kind == "command" and call.returned is None for call in calls),
            elections=len(self.judge.leaders),
            entries=self.judge.last_index,
            faults=dict(sorted(self.fault_counts.items())),
            messages=self.network.sent,
            events=self.queue.count,
            virtual_seconds=round(self.queue.now, 6),
            healed_after_seconds=-1.0 if self.healed_at is None else round(self.healed_at - self.seconds, 6),
            linearizability=verdict,
            trace=self.trace.digest(),
            lines=tuple(self.trace.lines()) if violations else (),
            plants=dict(sorted(self.plants.counts.items())),
            upgrades={} if self.versions is None else dict(sorted(self.versions.counts.items())),
        )


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Inside, nothing is logged: a run makes thousands of lines."""
    target = logger.bind()._logger
    before = target.disabled
    target.disabled = True
    try:
        yield
    finally:
        target.disabled = before
