"""`rsm sim`: a machine on a simulated cluster, under every fault, from many seeds."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import click

from rsm.cli.errors import FINE, FOUND, UNCHECKED, Unreadable
from rsm.cli.options import Command, json_option
from rsm.cli.output import count, print_json, print_line, table
from rsm.cli.target import load_machine
from rsm.limits import SIMULATION_SEEDS_MAX
from rsm.testing.campaign import Outcome, run_bare, run_many, run_seed

__all__ = ["sim"]

BUILT_IN: Final = "rsm.testing.probe:Probe"
RELEASES: Final = "rsm.testing.probe_releases:Probe3"
LINES_SHOWN: Final = 40


@click.command(cls=Command)
@click.option("--machine", default=BUILT_IN, metavar="MODULE:CLASS", show_default=True, help="The machine to simulate.")
@click.option("--seeds", default=20, type=click.IntRange(1, SIMULATION_SEEDS_MAX), show_default=True, help="How many.")
@click.option("--from", "first", default=0, metavar="K", type=click.IntRange(min=0), help="The first of them.")
@click.option("--seed", type=click.IntRange(min=0), metavar="K", help="Run this one only: it replays exactly.")
@click.option("--engine", type=click.Choice(["rsm", "bare"]), default="rsm", help="bare: PySyncObj as it is.")
@click.option("--power-cuts", is_flag=True, help="With --engine bare: machines lose power, too.")
@click.option("--workload", metavar="MODULE:FUNCTION", help="Makes the commands, where their types say too little.")
@click.option("--strict", is_flag=True, help="Run replicas under strict mode: every command twice, with traps.")
@click.option("--diverge", is_flag=True, help="Make nodes' states differ, too: they must be found and healed.")
@click.option("--upgrade", is_flag=True, help="Nodes run different releases, too, and move on to the newest.")
@click.option("--keep", metavar="FILE", type=click.Path(dir_okay=False), help="Append the seeds that fail to FILE.")
@json_option()
def sim(
    machine: str,
    seeds: int,
    first: int,
    seed: int | None,
    engine: str,
    power_cuts: bool,
    workload: str | None,
    strict: bool,
    diverge: bool,
    upgrade: bool,
    keep: str | None,
    as_json: bool,
) -> int:
    """Simulate a cluster under faults.

    Each seed is one cluster of three or five nodes and some clients, under a virtual clock: partitions, crashes, power
    cuts, torn writes, flipped bits, full disks, wrong clocks, members that come and go. What is found is printed with
    the line that replays it.

    \b
    Example: rsm sim --machine bank:Bank --seeds 200
    """
    if power_cuts and engine != "bare":
        raise click.UsageError("--power-cuts goes with --engine bare: rsm's own runs always have them.")
    if strict and engine == "bare":
        raise click.UsageError("--strict goes with machines; --engine bare runs none.")
    if diverge and (strict or engine == "bare"):
        raise click.UsageError("--diverge goes with rsm's own runs, and not with --strict, which would report it.")
    if upgrade and (diverge or engine == "bare"):
        raise click.UsageError("--upgrade goes with rsm's own runs, and not with --diverge.")
    run: Callable[[int], Outcome]
    if engine == "bare":
        run = partial(run_bare, power_cuts=power_cuts)
        words = ["--engine bare", *(["--power-cuts"] if power_cuts else [])]
    else:
        machine = RELEASES if upgrade and machine == BUILT_IN else machine
        loaded = load_machine(machine)  # here, so that a wrong name is told once
        if upgrade and loaded.definition.previous is None:
            raise click.UsageError(f"--upgrade needs releases: {machine} has no previous=.")
        if workload is not None:
            load_workload(workload)
        run = partial(run_named, machine, workload, strict=strict, diverge=diverge, upgrade=upgrade)
        words = [f"--machine {machine}", *([f"--workload {workload}"] if workload else [])]
        words += ["--strict"] if strict else []
        words += ["--diverge"] if diverge else []
        words += ["--upgrade"] if upgrade else []
    wanted = range(first, first + seeds) if seed is None else range(seed, seed + 1)
    outcomes = list(watched(run_many(run, wanted), len(wanted), quiet=as_json))
    failed = [outcome for outcome in outcomes if not outcome.passed]
    replay = {outcome.seed: f"rsm sim {' '.join(words)} --seed {outcome.seed}" for outcome in outcomes}
    if keep is not None and failed:
        append_seeds(
            keep,
            "bare" if engine == "bare" else machine,
            failed,
            " diverge" if diverge else " upgrade" if upgrade else "",
        )
    if as_json:
        print_json(document(engine, machine, outcomes, replay))
    else:
        show(outcomes, replay, one=seed is not None)
    if any(outcome.violations for outcome in outcomes):
        return FOUND
    return UNCHECKED if failed else FINE


def run_named(
    machine: str,
    workload: str | None,
    seed: int,
    *,
    strict: bool = False,
    diverge: bool = False,
    upgrade: bool = False,
) -> Outcome:
    """One run, in a worker process: the machine by its name."""
    maker = None if workload is None else load_workload(workload)
    return run_seed(load_machine(machine), seed, maker, strict=strict, diverge=diverge, upgrade=upgrade)


def load_workload(name: str) -> Any:
    """The function that MODULE:FUNCTION names."""
    module_name, _, function_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Unreadable(f"{name}: cannot be imported: {error}") from error
    if not callable(found):
        raise Unreadable(f"{name}: is not a function: def {function_name}(chance, number) -> (command, [values])")
    return found


def watched(outcomes: Iterator[Outcome], total: int, *, quiet: bool) -> Iterator[Outcome]:
    """The outcomes; a bar on standard error where somebody watches."""
    if quiet or total == 1 or not sys.stderr.isatty():
        yield from outcomes
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failures = 0
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("seeds", total=total)
        for outcome in outcomes:
            failures += not outcome.passed
            bar.update(task, advance=1, description=f"seeds, {failures} failed" if failures else "seeds")
            yield outcome


def append_seeds(path: str, what: str, failed: list[Outcome], how: str = "") -> None:
    """Keep what failed, one line a seed: what was simulated, the seed, how, and why."""
    with open(path, "a", encoding="utf-8") as file:
        for outcome in failed:
            reason = (*outcome.violations, *outcome.unchecked)[0]
            file.write(f"{what} {outcome.seed}{how}  # {' '.join(reason.split())[:150]}\n")


def totals(outcomes: list[Outcome]) -> dict[str, Any]:
    """The numbers of all runs together."""
    sums: dict[str, float] = {}
    for outcome in outcomes:
        for name, number in outcome.numbers.items():
            sums[name] = max(sums.get(name, 0), number) if name == HEALED else sums.get(name, 0) + number
    kinds: dict[str, int] = {}
    faults: dict[str, int] = {}
    for outcome in outcomes:
        for kind in outcome.kinds:
            kinds[kind] = kinds.get(kind, 0) + 1
        for fault, times in outcome.faults.items():
            faults[fault] = faults.get(fault, 0) + times
    return {
        "seeds": len(outcomes),
        "passed": sum(outcome.passed for outcome in outcomes),
        "violated": sum(bool(outcome.violations) for outcome in outcomes),
        "unchecked": sum(bool(outcome.unchecked) for outcome in outcomes),
        "kinds": dict(sorted(kinds.items())),
        "faults": dict(sorted(faults.items())),
        **{name: round(number, 3) for name, number in sums.items()},
    }


HEALED: Final = "healed_after_seconds"


def document(engine: str, machine: str, outcomes: list[Outcome], replay: dict[int, str]) -> dict[str, Any]:
    """The document of --json."""
    return {
        "engine": engine,
        "machine": None if engine == "bare" else machine,
        **totals(outcomes),
        "failed": [
            {
                "seed": outcome.seed,
                "violations": list(outcome.violations),
                "unchecked": list(outcome.unchecked),
                "replay": replay[outcome.seed],
            }
            for outcome in outcomes
            if not outcome.passed
        ],
        "traces": {str(outcome.seed): outcome.trace for outcome in outcomes},
    }


def show(outcomes: list[Outcome], replay: dict[int, str], *, one: bool) -> None:
    """The summary for people: what was found, then the numbers."""
    for outcome in outcomes:
        if outcome.passed:
            continue
        if one and outcome.lines:
            print_line(f"the last {min(LINES_SHOWN, len(outcome.lines))} events:")
            for line in outcome.lines[-LINES_SHOWN:]:
                print_line(f"  {line[:160]}")
        for what in outcome.violations:
            print_line(f"seed {outcome.seed}: {what}")
        for what in outcome.unchecked:
            print_line(f"seed {outcome.seed}: could not be checked: {what}")
        print_line(f"  replay: {replay[outcome.seed]}")
    sums = totals(outcomes)
    rows = [("seeds", f"{sums['seeds']:,}"), ("passed", f"{sums['passed']:,}")]
    for name in ("violated", "unchecked"):
        if sums[name]:
            rows.append((name, f"{sums[name]:,}"))
    rows += [(f"  {kind}", f"{number:,} of them") for kind, number in sums["kinds"].items()]
    if "acknowledged" in sums:
        rows.append(("acknowledged", count(int(sums["acknowledged"]), "command")))
    for name in ("reads", "unknown", "elections", "events"):
        if name in sums:
            rows.append((name, f"{int(sums[name]):,}"))
    if "virtual_seconds" in sums:
        rows.append(("simulated", f"{sums['virtual_seconds']:,.0f} s"))
    if sums.get(HEALED, -1) >= 0:
        rows.append(("slowest to heal", f"{sums[HEALED]:.1f} s"))
    plants = {name.removeprefix("plants_"): int(number) for name, number in sums.items() if name.startswith("plants_")}
    if plants:
        rows.append(("differences", ", ".join(f"{name} {number:,}" for name, number in sorted(plants.items()))))
    moves = {name.removeprefix("upgrades_"): int(number) for name, number in sums.items() if name[:9] == "upgrades_"}
    if moves:
        rows.append(("upgrades", ", ".join(f"{name} {number:,}" for name, number in sorted(moves.items()))))
    if sums["faults"]:
        rows.append(("faults", ", ".join(f"{fault} {times}" for fault, times in sums["faults"].items())))
    if one:
        rows.append(("trace", outcomes[0].trace))
    table(rows)
