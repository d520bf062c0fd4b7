"""Nodes of mixed releases and upgrades at any moment, in the simulator; and what watches over them bites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from rsm.node.agreeing import Agreeing
from rsm.node.member import Member
from rsm.testing.probe import Probe
from rsm.testing.probe_releases import Probe2, Probe3
from rsm.testing.simulator import SimulationResult, simulate

SECONDS = 5.0
FEW, MANY = 4, 100


def told(result: SimulationResult) -> str:
    return f"rsm sim --upgrade --seed {result.seed}: " + "\n".join(map(str, result.violations))


def test_upgrades_under_all_faults() -> None:
    """Some seeds with every kind of fault: one version an index, nobody accused, and in the end the newest."""
    seen: Counter[str] = Counter()
    for seed in range(FEW):
        result = simulate(Probe, 3000 + seed, seconds=SECONDS, upgrade=True)
        assert result.passed, told(result)
        assert not result.plants
        seen.update(result.upgrades)
    assert seen["asked"] > seen["flips"] > 0


def test_many_seeds_with_upgrades(soak: bool) -> None:
    """The same with many seeds and longer runs, under `make soak`."""
    if not soak:
        pytest.skip("many seeds are for make soak")
    for seed in range(MANY):
        result = simulate(Probe, seed, upgrade=True)
        assert result.passed, told(result)


def test_the_other_faults_of_a_seed_stay_what_they_are() -> None:
    """Upgrades come on top of the seed's own faults."""
    plain = simulate(Probe, 3001, seconds=1.0)
    mixed = simulate(Probe, 3001, seconds=1.0, upgrade=True)
    assert plain.upgrades == {}
    assert {kind: mixed.faults[kind] for kind in plain.faults} == plain.faults


def test_the_releases_are_one_machine() -> None:
    assert [one.owner for one in Probe3.definition.releases()] == [Probe3, Probe2, Probe]


# --- what must be found -----------------------------------------------------------------------------------------------


def serve_outdated(patch: pytest.MonkeyPatch) -> None:
    """A node that passes over what it cannot apply."""

    def outdated(self: Any, _: Exception) -> None:
        self._replica().index += 1

    patch.setattr(Agreeing, "outdated", outdated)


def ask_nobody(patch: pytest.MonkeyPatch) -> None:
    """A leader that does not wait for the voters, and says that it is done."""

    def upgrade(self: Any, version: int, done: Callable[[int], None], fail: Callable[[Exception], None]) -> None:
        done(self.replica.index)

    patch.setattr(Member, "upgrade", upgrade)


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "applied without the code": serve_outdated,
    "promised and not done": ask_nobody,
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these breaks the upgrade; within a few seeds a rule is broken that says so."""
    PLANTED[name](monkeypatch)
    for seed in range(3000, 3012):
        result = simulate(Probe, seed, seconds=SECONDS, upgrade=True)
        if result.violations:
            return
    raise AssertionError(f"{name}: nothing was found")
