"""The stage of a simulation: nodes, network, clients and operator under one virtual clock, and the judge who watches.

Here is who stands where and who hears what; `rsm.testing.simulator` says what happens when.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from rsm.machine.machine import StateMachine
from rsm.node.member import MemberOptions
from rsm.raft.configuration import Configuration, Member
from rsm.replica.replica import Replica
from rsm.testing.disk import Survival
from rsm.testing.faults import Operator
from rsm.testing.invariants import Judge, chain_of, survives
from rsm.testing.network import CLIENTS_FROM, EventQueue, Network, NetworkProfile, Trace
from rsm.testing.plants import Plants
from rsm.testing.probe import Probe, probe_call
from rsm.testing.probe_releases import Probe3
from rsm.testing.process import PATH, Process
from rsm.testing.schedule import ALL_FAULTS, DIVERGENCE_FAULTS, VERSION_FAULTS, FaultKind, draw_schedule
from rsm.testing.serving import serve
from rsm.testing.strict_rules import StrictFinding
from rsm.testing.values import Workload, machine_workload
from rsm.testing.versions import Versions
from rsm.testing.workload import Call, Client, History

__all__ = ["ELECTION_SECONDS", "Stage"]

ELECTION_SECONDS: Final = (0.5, 1.0)
# Every so often, what is acknowledged is looked for in the bytes that would survive a power cut of every node.
ANSWERS_PER_DISK_CHECK: Final = 50


class Stage:
    """A cluster with a machine, its clients and its faults.

    `workload` makes commands where the types of the machine's commands do not lead to useful ones. `seconds` of faults,
    of these `kinds`; `nodes` 0 draws three or five. `strict`: every replica runs under strict mode.
    `diverge`: states are made to differ, besides. `upgrade`: nodes run different releases of the machine, besides, and
    the cluster goes from one to the next.
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
        strict: bool = False,
        diverge: bool = False,
        upgrade: bool = False,
    ) -> None:
        if upgrade and machine is Probe:
            machine = Probe3
        self.machine = machine
        self.is_strict = strict
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
        self.versions = Versions(self, machine) if upgrade else None
        for node in range(1, count + 1):
            process = self.add_process(node)
            if self.versions is not None:
                process.release = self.versions.releases[0]
        self.snapshot_log_bytes = self.chance.choice((2_000, 6_000, 20_000, 1_000_000))
        # Small enough to be filled by some hundred entries, so that logs are cut and snapshots sent.
        self.segment_bytes_min = self.chance.choice((1_000, 4_000, 65_536))
        self.operator = Operator(self)
        self.plants = Plants(self, machine)
        self.is_diverging = diverge
        if diverge or upgrade:
            self.judge.truth, self.judge.is_tainted = self.plants.true_root, self.plants.is_tainted
        self.fault_counts: dict[str, int] = {}
        self.faults = draw_schedule(
            random.Random(f"faults {seed}"), kinds, seconds=seconds, rate_per_second=self.chance.choice((0.3, 1.0, 2.0))
        )
        if diverge:  # as a plan of its own, so that the other faults are those of the seed without it
            plants = draw_schedule(
                random.Random(f"plants {seed}"), DIVERGENCE_FAULTS, seconds=seconds, rate_per_second=0.4
            )
            self.faults = sorted((*self.faults, *plants), key=lambda fault: fault.at)
        if upgrade:
            upgrades = draw_schedule(
                random.Random(f"versions {seed}"), VERSION_FAULTS, seconds=seconds, rate_per_second=0.8
            )
            self.faults = sorted((*self.faults, *upgrades), key=lambda fault: fault.at)
        self.is_healing = False
        self.healed_at: float | None = None
        self.is_probe = machine in (Probe, Probe3) and workload is None
        # Clients are of the first release: whatever is in force understands its commands.
        self._definition = (machine if self.versions is None else self.versions.releases[0]).definition
        self._workload = workload or (probe_call if self.is_probe else machine_workload(self._definition))
        self.clients: dict[int, Client] = {}
        self.client_count = clients
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
            segment_bytes_min=self.segment_bytes_min,
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
        self.plants.look(process)
        if self.versions is not None:
            self.versions.look(process, member)

    def crashed(self, process: Process, error: Exception) -> None:
        """A node stopped by itself. With a disk that fails that is right; otherwise it is a fault of ours."""
        self.note("stopped", process.node, type(error).__name__, str(error)[:200])
        self.network.stop(process.node)
        self.operator.stopped(process, error)

    def nondeterministic(self, finding: StrictFinding, replica: Replica) -> None:
        """Strict mode found something in a replica: of a node, or of the judge."""
        nodes = [
            node
            for node, process in sorted(self.processes.items())
            if process.member is not None and process.member.replica is replica
        ]
        self.judge.broken("strict mode", str(finding), nodes, finding.index)

    def lost_power(self, process: Process) -> None:
        """The power went while it wrote."""
        self.operator.power_cut(process)

    # --- the network's listener ---------------------------------------------------------------------------------------

    def arrived(self, sender: int, receiver: int, message: Any) -> None:
        if receiver >= CLIENTS_FROM:
            self.trace.note(self.queue.now, "client", receiver, message[0], message[1])
            client = self.clients.get(receiver)
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
        self.plants.answers(self.processes[node], answer)
        self.network.send(node, client, answer)

    def connected(self, node: int, peer: int) -> None:
        if node < CLIENTS_FROM and peer < CLIENTS_FROM:
            self.processes[node].connected(peer)

    def disconnected(self, node: int, peer: int) -> None:
        if node < CLIENTS_FROM and peer < CLIENTS_FROM:
            self.processes[node].disconnected(peer)
        elif node >= CLIENTS_FROM and node in self.clients:
            self.clients[node].disconnected(peer)

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
        client = self.clients[place] = Client(
            place,
            self._clients_made,
            definition=self._definition,
            workload=self._workload,
            queue=self.queue,
            network=self.network,
            history=self.history,
            referee=self,
            servers=lambda: sorted(self.processes),
            chance=random.Random(f"client {self._clients_made} {self.seed}"),
            has_keys_only=self.is_probe,
        )
        self.network.start(place)
        client.start()
        return client

    def kill_client(self, chance: random.Random) -> None:
        """One of the clients dies; another takes its place."""
        if not self.clients:
            return
        place = chance.choice(sorted(self.clients))
        self.clients[place].die()
        self._replace(place)

    def _replace(self, place: int) -> None:
        self.network.stop(place)
        if not self.is_healing:
            self.queue.after(0.2, lambda: self.start_client(place))

    def start_client(self, place: int) -> None:
        if not self.is_healing:
            self.new_client(place)

    def tend_clients(self) -> None:
        for place, client in sorted(self.clients.items()):
            if not client.is_alive and not self.is_healing:
                self.new_client(place)
        self.queue.after(0.5, self.tend_clients)
