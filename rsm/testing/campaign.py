"""Many seeds, on all processors: each seed is a run of its own in some worker process, and gives one `Outcome`.

A run that could not be finished (the checker gave up, the worker broke down) is `unchecked`, which is neither a pass
nor a violation.
"""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from rsm.limits import SIMULATION_PROCESSES_MAX, SIMULATION_SEED_SECONDS_MAX
from rsm.machine.machine import StateMachine
from rsm.testing.bare import BareSimulation
from rsm.testing.invariants import UNCHECKED
from rsm.testing.simulator import Simulation
from rsm.testing.values import Workload

__all__ = ["Outcome", "run_bare", "run_many", "run_seed"]


class Outcome(msgspec.Struct, frozen=True):
    """What one seed came to. `violations`: in words, the first of each kind first; `kinds`: how often each was seen.
    `lines`: the end of the trace, if something was found.
    """

    seed: int
    kinds: dict[str, int] = {}
    violations: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    numbers: dict[str, float] = {}
    faults: dict[str, int] = {}
    trace: str = ""
    lines: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything was checked and nothing was found."""
        return not self.violations and not self.unchecked


def run_seed(
    machine: type[StateMachine],
    seed: int,
    workload: Workload | None = None,
    *,
    strict: bool = False,
    diverge: bool = False,
    upgrade: bool = False,
) -> Outcome:
    """One run of a cluster with a machine; `diverge`: states are made to differ, `upgrade`: releases are, besides."""
    result = Simulation(machine, seed, workload=workload, strict=strict, diverge=diverge, upgrade=upgrade).run()
    kinds: dict[str, int] = {}
    for violation in result.violations:
        if violation.rule != UNCHECKED:
            kinds[violation.rule] = kinds.get(violation.rule, 0) + 1
    return Outcome(
        seed=seed,
        kinds=kinds,
        violations=tuple(str(one) for one in result.violations if one.rule != UNCHECKED),
        unchecked=tuple(str(one) for one in result.violations if one.rule == UNCHECKED),
        numbers={
            "acknowledged": result.acknowledged,
            "reads": result.reads,
            "unknown": result.unknown,
            "elections": result.elections,
            "events": result.events,
            "virtual_seconds": result.virtual_seconds,
            "healed_after_seconds": result.healed_after_seconds,
            **{f"plants_{name}": number for name, number in result.plants.items()},
            **{f"upgrades_{name}": number for name, number in result.upgrades.items()},
        },
        faults=result.faults,
        trace=result.trace,
        lines=result.lines,
    )


def run_bare(seed: int, *, power_cuts: bool = False) -> Outcome:
    """One seed of bare PySyncObj: with its own message size, and with small ones, which overlap more."""
    kinds: dict[str, int] = {}
    found: list[str] = []
    numbers: dict[str, float] = {"acknowledged": 0, "events": 0, "virtual_seconds": 0.0}
    traces = []
    for small, name in ((False, "64 KiB messages"), (True, "300-byte messages")):
        result = BareSimulation(seed, small_messages=small, power_cuts=power_cuts).run()
        for kind in result.violations:
            kinds[kind] = 1
            found.append(f"{kind} ({name}, {result.violations[kind]} times): {result.first[kind]}")
        numbers["acknowledged"] += result.acknowledged
        numbers["events"] += result.events
        numbers["virtual_seconds"] += result.virtual_seconds
        traces.append(result.trace)
    return Outcome(seed=seed, kinds=kinds, violations=tuple(found), numbers=numbers, trace=" ".join(traces))


def run_many(run: Callable[[int], Outcome], seeds: Iterable[int], *, processes: int = 0) -> Iterator[Outcome]:
    """Outcomes as they come. `run` must be picklable; `processes` 0: one for each processor, up to a bound."""
    wanted = list(seeds)
    count = min(processes or os.cpu_count() or 1, SIMULATION_PROCESSES_MAX, len(wanted))
    if count <= 1:
        for seed in wanted:
            yield guarded(run, seed)
        return
    # Fresh interpreters: a worker must not inherit the threads and locks of whoever calls.
    with multiprocessing.get_context("spawn").Pool(count, maxtasksperchild=100) as pool:
        pending: list[tuple[int, Any]] = [(seed, pool.apply_async(guarded, (run, seed))) for seed in wanted]
        for seed, answer in pending:
            try:
                yield answer.get(SIMULATION_SEED_SECONDS_MAX)
            except multiprocessing.TimeoutError:
                yield Outcome(seed, unchecked=(f"no end after {SIMULATION_SEED_SECONDS_MAX:g} s",))


def guarded(run: Callable[[int], Outcome], seed: int) -> Outcome:
    """A run; what breaks down is told, and is no pass."""
    try:
        return run(seed)
    except Exception as error:
        where = "".join(traceback.format_exception(error)).splitlines()
        return Outcome(seed, unchecked=(f"the run broke down: {type(error).__name__}: {error}",), lines=tuple(where))
