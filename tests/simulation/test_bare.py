"""The simulator bites: bare PySyncObj, under faults that it means to survive, does not keep what Raft promises."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from rsm.testing.bare import BareResult, BareSimulation
from tests.documents import ROOT

KINDS = {"cut_applied", "diverged", "livelock", "lost", "two_leaders"}


def runs(seeds: range, **options: Any) -> Iterator[BareResult]:
    for seed in seeds:
        yield BareSimulation(seed, seconds=10.0, **options).run()


def test_without_faults_it_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left alone, the library keeps its promises: what is found below is not the simulator's own doing."""
    monkeypatch.setattr("rsm.testing.bare.draw_schedule", lambda *_, **__: [])
    for small in (False, True):
        for result in runs(range(2), small_messages=small, delay_seconds=0.0005):
            assert result.violations == {}, result.first
            assert result.acknowledged > 100


def test_small_messages_overlap_and_its_log_is_cut_or_stuck() -> None:
    """E1 and E3: within a few seeds a node removes what it had applied, or the cluster never becomes one log again."""
    found: set[str] = set()
    for result in runs(range(6), small_messages=True):
        found |= result.violations.keys()
        if found & {"cut_applied", "livelock"}:
            break
    assert found & {"cut_applied", "livelock"}
    assert found <= KINDS


def test_power_cuts_lose_what_was_acknowledged() -> None:
    """E4: nothing is ever synced."""
    assert any(result.violations.keys() & {"lost", "diverged"} for result in runs(range(6), power_cuts=True))


def test_a_seed_is_a_run_whatever_the_hash_seed() -> None:
    """E13: with integer ids, a seed gives the same trace in processes with different PYTHONHASHSEED."""
    program = (
        "from rsm.testing.bare import BareSimulation\n"
        "print([BareSimulation(seed, seconds=6.0, small_messages=True).run().trace for seed in (1, 2)])"
    )
    traces = set()
    for hash_seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        traces.add(ran.stdout)
    assert len(traces) == 1


def test_nothing_of_the_library_stays_replaced() -> None:
    """After a run the library has its own clock, random numbers and journal again."""
    import pysyncobj.syncobj as module

    before = module.monotonicTime, module.random, module.createJournal
    BareSimulation(0, seconds=1.0).run()
    assert (module.monotonicTime, module.random, module.createJournal) == before
