"""States that differ, in the simulator: found, named by a majority, healed; and what finds that out bites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rsm.node.agreeing import Agreeing
from rsm.node.agreement.comparison import Comparison, Found
from rsm.node.agreement.evidence import Evidence
from rsm.node.member import Member
from rsm.replica import agreement
from rsm.testing.probe import BuggyProbe, Probe
from rsm.testing.simulator import SimulationResult, simulate
from tests.machines import Bank

SECONDS = 5.0
FEW, MANY = 6, 200


def told(result: SimulationResult) -> str:
    return f"rsm sim --diverge --seed {result.seed}: " + "\n".join(map(str, result.violations))


def test_differences_under_all_faults() -> None:
    """Some seeds with every kind of fault and every kind of difference: found, healed, and nobody else accused."""
    seen: Counter[str] = Counter()
    for seed in range(FEW):
        result = simulate(Probe, 2000 + seed, seconds=SECONDS, diverge=True)
        assert result.passed, told(result)
        seen.update(result.plants)
    assert seen["planted"] >= FEW
    assert seen["found"] > 0
    assert seen["healed"] > 0
    assert seen["evidence"] >= seen["found"]


def test_many_seeds_with_differences(soak: bool) -> None:
    """The same with many seeds and longer runs, under `make soak`."""
    if not soak:
        pytest.skip("many seeds are for make soak")
    for seed in range(MANY):
        result = simulate(Probe, seed, diverge=True)
        assert result.passed, told(result)


def test_a_machine_of_a_user_may_differ() -> None:
    """Any machine has a value or a record of answers that can be changed."""
    result = simulate(Bank, 3, seconds=SECONDS, kinds=(), diverge=True)
    assert result.passed, told(result)
    assert result.plants["found"] > 0


def test_the_bug_is_one() -> None:
    """The class with the bug is of the same machine, and not of the same mind."""
    assert BuggyProbe.definition.schema() == Probe.definition.schema()
    assert BuggyProbe.definition.name == Probe.definition.name


def test_the_other_faults_of_a_seed_stay_what_they_are() -> None:
    """States that differ come on top of the seed's own faults."""
    plain = simulate(Probe, 2001, seconds=2.0)
    mixed = simulate(Probe, 2001, seconds=2.0, diverge=True)
    assert plain.plants == {}
    assert {kind: mixed.faults[kind] for kind in plain.faults} == plain.faults


# --- what must be found -----------------------------------------------------------------------------------------------


def found(seeds: range, **options: Any) -> set[str]:
    """The rules that some seed finds broken; stops at the first."""
    for seed in seeds:
        result = simulate(Probe, seed, seconds=SECONDS, diverge=True, **options)
        if result.violations:
            return {violation.rule for violation in result.violations}
    return set()


def compare_nothing(patch: pytest.MonkeyPatch) -> None:
    """A leader that looks at no roots."""
    patch.setattr(Comparison, "compare", lambda *_: Found(None, None, []))


def decide_by_one(patch: pytest.MonkeyPatch) -> None:
    """A verdict by whoever speaks first."""
    patch.setattr(agreement.Case, "quorum", property(lambda _: 1))


def confirm_by_one(patch: pytest.MonkeyPatch) -> None:
    """A leader that calls its own root the majority's."""

    def confirmed(self: Any, quorum: int, roots: dict[int, bytes]) -> tuple[int, bytes] | None:
        index = max(roots, default=0)
        if index <= self._confirmed_to:
            return None
        self._confirmed_to = index
        return index, roots[index]

    patch.setattr(Comparison, "_confirmed", confirmed)


def serve_in_doubt(patch: pytest.MonkeyPatch) -> None:
    """A node that answers whatever it thinks of its state."""
    patch.setattr(Agreeing, "may_show", property(lambda _: True))
    patch.setattr(Agreeing, "unservable", lambda *_: "")

    def run_reads(self: Any) -> None:
        while self._reads and self._reads[0][0] <= self.replica.index:
            self._reads.pop(0)[2].run(self.replica)

    patch.setattr(Member, "_run_reads", run_reads)


def write_no_evidence(patch: pytest.MonkeyPatch) -> None:
    """A node that heals and keeps nothing."""

    def write(*_: Any) -> Iterator[None]:
        yield

    patch.setattr(Evidence, "write", write)


def heal_by_hope(patch: pytest.MonkeyPatch) -> None:
    """A node that calls itself well, without another state."""

    def see_to_it(self: Any, *_: Any) -> Iterator[None]:
        yield
        self._become("well", "")

    patch.setattr(Agreeing, "_see_to_it", see_to_it)
    patch.setattr("rsm.testing.plants.Plants._see_evidence", lambda *_: None)


PLANTED: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], set[str]]] = {
    "roots are not compared": (compare_nothing, {"a difference is found in time"}),
    "decided by one": (decide_by_one, {"a verdict has a majority", "nobody differs without a plant"}),
    "confirmed by one": (confirm_by_one, {"a verdict has a majority", "nobody differs without a plant"}),
    "served in doubt": (serve_in_doubt, {"nothing of a state in doubt is shown"}),
    "no evidence": (write_no_evidence, {"evidence is kept"}),
    "healed by hope": (heal_by_hope, {"what differs is healed", "convergence", "nodes stop for a reason"}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_of_the_protocol_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these breaks the agreement about states; within a few seeds a rule is broken that says so."""
    plant, rules = PLANTED[name]
    plant(monkeypatch)
    seen = found(range(3000, 3006), kinds=())
    assert seen & rules, seen
