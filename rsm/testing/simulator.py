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
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

import rsm.node.member
from rsm.machine.machine import StateMachine
from rsm.node.log import logger
from rsm.node.member import MemberOptions
from rsm.raft.configuration import Configuration, Member
from rsm.replica.answer import Status, decode
from rsm.testing.disk import Survival
from rsm.testing.faults import Operator
from rsm.testing.invariants import UNCHECKED, Judge, Violation, chain_of, survives
from rsm.testing.linearizability import Operation, Verdict, check
from rsm.testing.network import CLIENTS_FROM, EventQueue, Network, NetworkProfile, Trace
from rsm.testing.probe import Probe, ProbeModel, probe_call
from rsm.testing.process import PATH, Process
from rsm.testing.schedule import ALL_FAULTS, Fault, FaultKind, draw_schedule
from rsm.testing.serving import serve
from rsm.testing.values import Workload, machine_workload
from rsm.testing.workload import Call, Client, History

__all__ = ["Simulation", "SimulationResult", "simulate"]

ELECTION_SECONDS: Final = (0.5, 1.0)
HEAL_SECONDS: Final = 10 * ELECTION_SECONDS[1]
DRAIN_SECONDS: Final = 20.0
EVENTS_MAX: Final = 2_000_000
# Every so often, what is acknowledged is looked for in the bytes that would survive a power cut of every node.
ANSWERS_PER_DISK_CHECK: Final = 50
PROBE_CLIENT: Final = 1999


class SimulationResult(msgspec.Struct, frozen=True):
    """What one run found. `trace`: the hash of everything that happened; `lines`: the end of it, if there are
    violations. `faults`: how many of each kind struck.
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

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.violations


def simulate(machine: type[StateMachine], seed: int, **options: Any) -> SimulationResult:
    """One run; `options` as for `Simulation`."""
    return Simulation(machine, seed, **options).run()


class Simulation:
    """One run of one seed with a machine.

    `workload` makes commands where the types of the machine's commands do not lead to useful ones. `seconds` of faults,
    of these `kinds`; `nodes` 0 draws three or five.
    """

    def __init__(
        self,
        machine: type[StateMachine] = Probe,
        seed: int = 0,
        *,
        nodes: int = 0,
        seconds: float = 15.0,
        kinds: Sequence[FaultKind] = ALL_FAULTS,
        workload: Workload | None = None,
        clients: int = 4,
    ) -> None:
        self.machine = machine
        self.seed = seed
        self.seconds = seconds
        self.queue = EventQueue()
        self.trace = Trace()
        # One generator for each subject, so that a change in one of them leaves the others' draws as they are.
        self.chance = random.Random(f"rsm simulation {seed}")
        self.cluster_id = random.Random(f"cluster {seed}").randbytes(16)
        self.judge = Judge(lambda: self.queue.now)
        self.history = History()
        count = nodes or self.chance.choice((3, 3, 3, 5))
        profile = NetworkProfile.drawn(self.chance)
        self.network = Network(self.queue, random.Random(f"network {seed}"), self, profile)
        self.first_configuration = Configuration(tuple(self.member_record(node) for node in range(1, count + 1)))
        self.processes: dict[int, Process] = {}
        for node in range(1, count + 1):
            self.add_process(node)
        self.snapshot_log_bytes = self.chance.choice((2_000, 6_000, 20_000, 1_000_000))
        self.segment_bytes_min = self.chance.choice((1_000, 4_000, 65_536))
        self.operator = Operator(self)
        self.fault_counts: dict[str, int] = {}
        self.faults = draw_schedule(
            random.Random(f"faults {seed}"), kinds, seconds=seconds, rate_per_second=self.chance.choice((0.3, 1.0, 2.0))
        )
        self.is_healing = False
        self.healed_at: float | None = None
        self._is_probe = machine is Probe and workload is None
        self._workload = workload or (probe_call if self._is_probe else machine_workload(machine.definition))
        self._clients: dict[int, Client] = {}
        self._client_count = clients
        self._clients_made = 0
        self._answers = 0

    @staticmethod
    def member_record(node: int) -> Member:
        """A node as configurations name it."""
        return Member(node, f"node{node}:1", f"node{node}:2")

    def add_process(self, node: int) -> Process:
        """Another machine, with an empty disk."""
        process = self.processes[node] = Process(node, self, random.Random(f"process {node} {self.seed}"))
        return process

    def first_configuration_of(self, node: int) -> Configuration:
        """What a node's empty directory is prepared with: those that join later wait for a leader to add them."""
        return self.first_configuration if self.first_configuration.get(node) else Configuration()

    def options(self, node: int) -> MemberOptions:
        """How a node runs."""
        return MemberOptions(
            node_id=node,
            path=PATH,
            election_seconds_min=ELECTION_SECONDS[0],
            election_seconds_max=ELECTION_SECONDS[1],
            snapshot_log_bytes=self.snapshot_log_bytes,
        )

    # --- who is there -------------------------------------------------------------------------------------------------

    def running(self) -> list[int]:
        """Nodes with a process, paused or not."""
        return [node for node, process in sorted(self.processes.items()) if process.member is not None]

    def leader(self) -> int | None:
        """The node that leads the highest term."""
        leading = [
            (process.member.term, node)
            for node, process in sorted(self.processes.items())
            if process.member is not None and process.member.is_leader
        ]
        return max(leading)[1] if leading else None

    def configuration(self) -> Configuration:
        """The latest configuration that anybody has committed, as the most advanced node has it."""
        best = max(
            (process.member for _, process in sorted(self.processes.items()) if process.member is not None),
            key=lambda member: member.applied_index,
            default=None,
        )
        return self.first_configuration if best is None or not best.configuration.members else best.configuration

    # --- what processes tell ------------------------------------------------------------------------------------------

    def note(self, *what: Any) -> None:
        """A line in the trace."""
        self.trace.note(self.queue.now, *what)

    def observe(self, process: Process) -> None:
        """Something happened to a node: look at it."""
        member = process.member
        if member is None:
            return
        self.trace.note(
            self.queue.now,
            process.node,
            member.term,
            int(member.is_leader),
            member.commit_index,
            member.applied_index,
            member.journal.last_index,
        )
        self.judge.observe(process.node, process.starts, member)

    def crashed(self, process: Process, error: Exception) -> None:
        """A node stopped by itself. With a disk that fails that is right; otherwise it is a fault of ours."""
        self.note("stopped", process.node, type(error).__name__, str(error)[:200])
        self.network.stop(process.node)
        self.operator.stopped(process, error)

    def lost_power(self, process: Process) -> None:
        """The power went while it wrote."""
        self.operator.power_cut(process)

    # --- the network's listener ---------------------------------------------------------------------------------------

    def arrived(self, sender: int, receiver: int, message: Any) -> None:
        if receiver >= CLIENTS_FROM:
            self.trace.note(self.queue.now, "client", receiver, message[0], message[1])
            client = self._clients.get(receiver)
            if client is not None:
                client.arrived(sender, message)
            return
        process = self.processes[receiver]
        self.trace.note(self.queue.now, sender, receiver, message if type(message) is bytes else message[:2])
        if sender < CLIENTS_FROM:
            process.received(sender, message)
            return
        process.call(
            lambda member: serve(
                member,
                message,
                lambda answer: self._send_answer(receiver, sender, answer),
                lambda index: self._answering(receiver, index),
            )
        )

    def _send_answer(self, node: int, client: int, answer: tuple[Any, ...]) -> None:
        self.network.send(node, client, answer)

    def connected(self, node: int, peer: int) -> None:
        if node < CLIENTS_FROM and peer < CLIENTS_FROM:
            self.processes[node].connected(peer)

    def disconnected(self, node: int, peer: int) -> None:
        if node < CLIENTS_FROM and peer < CLIENTS_FROM:
            self.processes[node].disconnected(peer)
        elif node >= CLIENTS_FROM and node in self._clients:
            self._clients[node].disconnected(peer)

    # --- what clients are told ----------------------------------------------------------------------------------------

    def _answering(self, node: int, index: int) -> None:
        """A leader is about to answer what took effect at `index`: enough disks must hold it."""
        member = self.processes[node].member
        if member is None or index > self.judge.last_index + 1:
            return
        chain = chain_of(member.journal, index)
        if chain is None:
            return
        self._answers += 1
        looks_at_disks = self._answers % ANSWERS_PER_DISK_CHECK == 0
        holders = []
        for voter in member.configuration.voters:
            process = self.processes[voter]
            if looks_at_disks:
                if survives(process.disk.restart(Survival.NOTHING), PATH, index, chain):
                    holders.append(voter)
            elif self._holds(process, index, chain):
                holders.append(voter)
        quorum = member.configuration.quorum
        if len(holders) < quorum and not looks_at_disks:
            # A node that is down has what its disk has; ask the disks before accusing anyone.
            holders = [
                voter
                for voter in member.configuration.voters
                if survives(self.processes[voter].disk.restart(Survival.NOTHING), PATH, index, chain)
            ]
        if len(holders) < quorum and not self.operator.has_damage:
            self.judge.broken(
                "acknowledged is durable on a quorum",
                f"node {node} answers, but only {holders} hold it and {quorum} must",
                [node],
                index,
            )

    @staticmethod
    def _holds(process: Process, index: int, chain: bytes) -> bool:
        member = process.member
        if member is None or not member.journal.is_usable or member.journal.durable_index < index:
            return False
        return index < member.journal.first_index - 1 or chain_of(member.journal, index) == chain

    def acknowledged(self, call: Call) -> None:
        """A client was told how its command ended."""
        self.note("acknowledged", call.number, call.index, call.answer.status if call.answer else -1)

    def was_read(self, call: Call) -> None:
        """A client was told what it asked for."""
        self.note("read", call.number, call.index, call.result)

    def inconsistent(self, what: str) -> None:
        """A client saw what it must not see."""
        self.judge.broken("monotonic session reads", what)

    # --- clients ------------------------------------------------------------------------------------------------------

    def new_client(self, place: int) -> Client:
        """A client process at a place in the network; the one that was there has died."""
        self._clients_made += 1
        client = self._clients[place] = Client(
            place,
            self._clients_made,
            definition=self.machine.definition,
            workload=self._workload,
            queue=self.queue,
            network=self.network,
            history=self.history,
            referee=self,
            servers=lambda: sorted(self.processes),
            chance=random.Random(f"client {self._clients_made} {self.seed}"),
            has_keys_only=self._is_probe,
        )
        self.network.start(place)
        client.start()
        return client

    def kill_client(self, chance: random.Random) -> None:
        """One of the clients dies; another takes its place."""
        if not self._clients:
            return
        place = chance.choice(sorted(self._clients))
        self._clients[place].die()
        self._replace(place)

    def _replace(self, place: int) -> None:
        self.network.stop(place)
        if not self.is_healing:
            self.queue.after(0.2, lambda: self._start_client(place))

    def _start_client(self, place: int) -> None:
        if not self.is_healing:
            self.new_client(place)

    def _tend_clients(self) -> None:
        for place, client in sorted(self._clients.items()):
            if not client.is_alive and not self.is_healing:
                self.new_client(place)
        self.queue.after(0.5, self._tend_clients)

    # --- the run ------------------------------------------------------------------------------------------------------

    def run(self) -> SimulationResult:
        """Run to the end, or to the first violation."""
        with staged(self.segment_bytes_min):
            for node in sorted(self.processes):
                self.queue.at(0.01 * node, partial(self.processes[node].start, self.first_configuration))
            for number in range(self._client_count):
                self.queue.at(0.5, partial(self._start_client, CLIENTS_FROM + number))
            self.queue.at(1.0, self._tend_clients)
            for fault in self.faults:
                self.queue.at(fault.at, partial(self._strike, fault))
            self._run_until(self.seconds)
            if not self.judge.violations:
                self._heal()
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
        for client in self._clients.values():
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
            if member is None or member.is_recovering or member.applied_index < fresh[0]:
                return False
        return True

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
            if all(client.is_idle or not client.is_alive for client in self._clients.values()):
                return
            self._run_until(self.queue.now + 0.25)

    def _judge(self) -> str:
        if self.judge.violations:
            return "not reached"
        self.judge.replay(self.machine, self.history.calls)
        if not self._is_probe:
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
            if call.returned is None:
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
        )


@contextlib.contextmanager
def staged(segment_bytes_min: int) -> Iterator[None]:
    """Inside, nothing is logged (a run makes thousands of lines), and segments are small enough to be removed: a log of
    some hundred entries would never fill one, no log would be cut, and no snapshot be sent.
    """
    member: Any = rsm.node.member
    target = logger.bind()._logger
    before = target.disabled, member.SEGMENT_BYTES_MIN
    target.disabled, member.SEGMENT_BYTES_MIN = True, segment_bytes_min
    try:
        yield
    finally:
        target.disabled, member.SEGMENT_BYTES_MIN = before
