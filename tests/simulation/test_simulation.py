"""Clusters under every fault keep every promise; and when a promise is broken on purpose, the simulator sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import rsm
from rsm.node.member import Member
from rsm.raft import cluster
from rsm.raft.replication import Replication
from rsm.replica.replica import Replica
from rsm.testing.probe import Probe
from rsm.testing.schedule import ALL_FAULTS, NETWORK_FAULTS, PROCESS_FAULTS, FaultKind
from rsm.testing.simulator import SimulationResult, simulate
from tests.documents import ROOT
from tests.machines import Bank

SECONDS = 5.0
FEW, MANY = 8, 200


def told(result: SimulationResult) -> str:
    return f"seed {result.seed}: " + "\n".join(map(str, result.violations))


@pytest.mark.parametrize("seed", range(FEW))
def test_all_faults_together(seed: int) -> None:
    """Some seeds with every kind of fault: nothing lost, doubled, reordered or stuck."""
    result = simulate(Probe, 1000 + seed, seconds=SECONDS)
    assert result.passed, told(result)
    assert result.linearizability.startswith("linearizable")


def test_many_seeds(soak: bool) -> None:
    """The same with many seeds and longer runs, under `make soak`."""
    if not soak:
        pytest.skip("many seeds are for make soak")
    for seed in range(MANY):
        result = simulate(Probe, seed)
        assert result.passed, told(result)


def test_a_machine_of_a_user() -> None:
    """Any machine runs: its commands come from its schema, its answers are compared with a replay of the log."""
    result = simulate(Bank, 3, seconds=SECONDS, kinds=(*NETWORK_FAULTS, *PROCESS_FAULTS))
    assert result.passed, told(result)
    assert result.acknowledged > 0


def test_a_workload_of_a_user() -> None:
    """Commands may be given instead of drawn."""
    result = simulate(Bank, 4, seconds=2.0, kinds=(), workload=lambda chance, number: ("deposit", ["only", 1]))
    assert result.passed, told(result)
    assert result.acknowledged > 0


def test_a_seed_is_a_run_whatever_the_hash_seed() -> None:
    """The trace of a seed is the same in processes with different PYTHONHASHSEED."""
    program = (
        "from rsm.testing.simulator import simulate\nfrom rsm.testing.probe import Probe\n"
        f"print([simulate(Probe, seed, seconds={SECONDS}).trace for seed in (9, 1001)])"
    )
    traces = set()
    for hash_seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        traces.add(ran.stdout)
    assert len(traces) == 1
    assert len(traces.pop()) > 60


# --- what must be found -----------------------------------------------------------------------------------------------


def found(seeds: range, machine: type[rsm.StateMachine] = Probe, **options: Any) -> set[str]:
    """The rules that some seed finds broken; stops at the first."""
    for seed in seeds:
        result = simulate(machine, seed, seconds=SECONDS, **options)
        if result.violations:
            return {violation.rule for violation in result.violations}
    return set()


def acknowledge_before_sync(patch: pytest.MonkeyPatch) -> set[str]:
    """A node that calls durable what it has only written."""
    original = Member.flush

    def flush(self: Member, now: float) -> None:
        original(self, now)
        self.engine.durable(self.journal.last_index)
        original(self, now)

    patch.setattr(Member, "flush", flush)
    return found(range(3), kinds=(FaultKind.POWER, FaultKind.BLACKOUT))


def read_without_barrier(patch: pytest.MonkeyPatch) -> set[str]:
    """A node that answers linearizable reads from what it has, whoever leads."""

    original = Member.read

    def read(self: Member, one: Any) -> None:
        if one.consistency == "linearizable":
            one.run(self.replica)
        else:
            original(self, one)

    patch.setattr(Member, "read", read)
    return found(range(12), kinds=NETWORK_FAULTS)


def run_retries_again(patch: pytest.MonkeyPatch) -> set[str]:
    """A replica that takes a retry for a new command."""
    original = Replica._item

    def item(self: Replica, position: int, one: Any) -> Any:
        session = self.sessions.get(one[0])
        if session is not None and 0 < one[1] < session.next_sequence:
            one = [one[0], session.next_sequence, *one[2:]]
        return original(self, position, one)

    patch.setattr(Replica, "_item", item)
    return found(range(12), kinds=(FaultKind.CUT, FaultKind.SPLIT, FaultKind.PAUSE))


def cut_the_log_like_pysyncobj(patch: pytest.MonkeyPatch) -> set[str]:
    """A follower that cuts its log behind whatever it is sent (fault E1), and counts what it then holds."""
    original = Replication._new_entries

    def new_entries(self: Replication, message: Any) -> Any:
        new = original(self, message)
        end = message.previous_index + len(message.entries)
        if not new and self.commit_index < end < self.log.last_index:
            self.log.cut_from(end + 1)
        return new

    patch.setattr(Replication, "_new_entries", new_entries)
    return found(range(12), kinds=(FaultKind.CUT, FaultKind.SLOW, FaultKind.KILL, FaultKind.SPLIT))


def elect_without_a_quorum(patch: pytest.MonkeyPatch) -> set[str]:
    """A candidate for whom every second vote is enough."""
    original = cluster._Ballot.grant

    def grant(self: Any, voter: int, *, is_weak: bool) -> bool:
        original(self, voter, is_weak=is_weak)
        return True

    patch.setattr(cluster._Ballot, "grant", grant)
    return found(range(6), kinds=NETWORK_FAULTS)


PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], set[str]], set[str]]] = {
    "acknowledged before durable": (acknowledge_before_sync, {"acknowledged is durable on a quorum"}),
    "stale reads": (read_without_barrier, {"linearizability"}),
    "retries run again": (run_retries_again, {"one answer a command", "linearizability"}),
    "logs cut where they agree": (
        cut_the_log_like_pysyncobj,
        {"acknowledged is durable on a quorum", "leader completeness", "state machine safety", "convergence"},
    ),
    "elected by a minority": (
        elect_without_a_quorum,
        {"one leader a term", "log matching", "leader completeness", "nodes stop for a reason"},
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these breaks a promise in the code under test; within a few seeds a rule is broken that says so."""
    plant, rules = PLANTED[name]
    seen = plant(monkeypatch)
    assert seen & rules, seen


class Drifting(rsm.StateMachine, name="drifting", version=1):
    """A machine with state outside its containers."""

    total: int
    hidden = 0

    @rsm.command(version=1)
    def add(self, ctx: rsm.Context, amount: int) -> int:
        type(self).hidden += 1
        self.total = self.total + amount + type(self).hidden % 2
        return self.total


def test_a_machine_that_differs_between_nodes_is_found() -> None:
    """State that no replica restores gives different roots, or a replay that answers otherwise."""
    seen = found(range(3), machine=Drifting, kinds=ALL_FAULTS)
    assert seen & {"equal roots", "nodes stop for a reason", "one answer a command", "replay gives the same root"}
