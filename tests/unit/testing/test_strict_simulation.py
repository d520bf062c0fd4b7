"""Replicas of a simulated cluster run under strict mode, without changing the run; what is found is a violation."""

from __future__ import annotations

import random
import re
from typing import Any

import pytest

from rsm.testing.probe import Probe
from rsm.testing.simulator import simulate
from tests.unit.cli.samples import run
from tests.unit.testing.planted import Clocked

CLOCKED = f"{Clocked.__module__}:{Clocked.__name__}"


def often_right(chance: random.Random, number: int) -> tuple[str, list[Any]]:
    """Commands of which one in four reads a clock."""
    return "set", [chance.choice([True, False, False, False])]


@pytest.mark.parametrize("seed", range(2))
def test_clean_clusters(seed: int) -> None:
    """Leader changes, crashes and snapshots are no findings, and strict mode leaves the run what it is."""
    options: dict[str, Any] = {"seed": seed, "seconds": 2.0}
    watched = simulate(Probe, strict=True, **options)
    assert watched.violations == ()
    assert watched.trace == simulate(Probe, **options).trace


def test_a_violation_has_its_node_and_line() -> None:
    """It is found at its first run, before any root has differed."""
    result = simulate(Clocked, seed=1, seconds=2.0, strict=True, workload=often_right)
    violation = result.violations[0]
    assert violation.rule == "strict mode"
    assert violation.nodes
    assert violation.index
    assert re.search(r"clocked\.set \(index \d+, position \d+\) called time\.time_ns\(\) at .*:\d+", violation.what)


def test_the_command_line() -> None:
    """Exit code 1, the finding, and the line that replays it."""
    ran = run("sim", "--machine", CLOCKED, "--seed", 1, "--strict")
    assert ran.code == 1
    assert "strict mode at index" in ran.out
    assert "called time.time_ns() at" in ran.out
    assert f"replay: rsm sim --machine {CLOCKED} --strict --seed 1" in ran.out


def test_bare_pysyncobj_has_no_handlers() -> None:
    """Wrong usage."""
    ran = run("sim", "--engine", "bare", "--strict", "--seeds", 1)
    assert ran.code == 2
    assert "--strict goes with machines" in ran.err
