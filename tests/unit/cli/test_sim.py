"""`rsm sim` says what it found, how to replay it, and ends with the code that fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rsm.cli import sim as module
from rsm.testing.campaign import Outcome, guarded, run_many
from tests.unit.cli.samples import run

GOOD = Outcome(0, numbers={"acknowledged": 12, "healed_after_seconds": 0.5}, faults={"kill": 2}, trace="ab")
BAD = Outcome(1, kinds={"log matching": 1}, violations=("1.0: log matching: two logs",), trace="cd", lines=("a line",))
UNSURE = Outcome(2, unchecked=("3.0: gave up",))


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """What the runs come to, seed by seed, instead of real ones."""
    given: list[Outcome] = []
    monkeypatch.setattr(module, "run_many", lambda _run, seeds: iter(given[: len(seeds)]))
    return given


def test_fine(outcomes: list[Outcome]) -> None:
    """Exit code 0 and the numbers."""
    outcomes.append(GOOD)
    ran = run("sim", "--seeds", 1)
    assert ran.code == 0
    assert ["acknowledged", "12", "commands"] in [line.split() for line in ran.out.splitlines()]
    assert "kill 2" in ran.out


def test_a_violation_is_told_with_its_replay(outcomes: list[Outcome]) -> None:
    """Exit code 1; the one line that replays it names machine and seed."""
    outcomes += [GOOD, BAD, UNSURE]
    ran = run("sim", "--machine", "tests.machines:Bank", "--seeds", 3)
    assert ran.code == 1
    assert "seed 1: 1.0: log matching: two logs" in ran.out
    assert "replay: rsm sim --machine tests.machines:Bank --seed 1" in ran.out
    assert "seed 2: could not be checked: 3.0: gave up" in ran.out


def test_what_could_not_be_checked_is_no_pass(outcomes: list[Outcome]) -> None:
    """Exit code 3."""
    outcomes += [GOOD, UNSURE]
    assert run("sim", "--seeds", 2).code == 3


def test_json(outcomes: list[Outcome]) -> None:
    """One document with the counts, the failures and the traces."""
    outcomes += [GOOD, BAD]
    ran = run("sim", "--seeds", 2, "--json")
    document: dict[str, Any] = json.loads(ran.out)
    assert (ran.code, document["seeds"], document["passed"], document["violated"]) == (1, 2, 1, 1)
    assert document["kinds"] == {"log matching": 1}
    assert document["failed"][0]["replay"].endswith("--seed 1")
    assert document["traces"] == {"0": "ab", "1": "cd"}


def test_failing_seeds_are_kept(outcomes: list[Outcome], tmp_path: Path) -> None:
    """--keep appends them, in the form that the kept seeds are read in."""
    outcomes += [GOOD, BAD]
    kept = tmp_path / "seeds.txt"
    kept.write_text("before 7\n", encoding="utf-8")
    run("sim", "--seeds", 2, "--keep", kept)
    assert kept.read_text(encoding="utf-8") == ("before 7\nrsm.testing.probe:Probe 1  # 1.0: log matching: two logs\n")


def test_seeds_with_differences_say_so(outcomes: list[Outcome], tmp_path: Path) -> None:
    """--diverge stands in the line that replays a seed, and where it is kept; what came of them is counted."""
    outcomes.append(msgspec.structs.replace(BAD, numbers={"plants_planted": 3, "plants_found": 2}))
    kept = tmp_path / "seeds.txt"
    ran = run("sim", "--seeds", 1, "--diverge", "--keep", kept)
    assert "replay: rsm sim --machine rsm.testing.probe:Probe --diverge --seed 1" in ran.out
    assert "found 2, planted 3" in ran.out
    assert kept.read_text(encoding="utf-8").startswith("rsm.testing.probe:Probe 1 diverge  # 1.0")


def test_seeds_with_upgrades_say_so(outcomes: list[Outcome], tmp_path: Path) -> None:
    """--upgrade takes the built-in machine's releases, and stands wherever a seed is named."""
    outcomes.append(msgspec.structs.replace(BAD, numbers={"upgrades_flips": 2, "upgrades_asked": 5}))
    kept = tmp_path / "seeds.txt"
    ran = run("sim", "--seeds", 1, "--upgrade", "--keep", kept)
    assert "replay: rsm sim --machine rsm.testing.probe_releases:Probe3 --upgrade --seed 1" in ran.out
    assert "asked 5, flips 2" in ran.out
    assert kept.read_text(encoding="utf-8").startswith("rsm.testing.probe_releases:Probe3 1 upgrade  # 1.0")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--machine", "nowhere:Bank"),
        ("--machine", "tests.machines:Nobody"),
        ("--workload", "tests.machines:nothing"),
        ("--power-cuts",),
        ("--diverge", "--strict"),
        ("--diverge", "--engine", "bare"),
        ("--upgrade", "--engine", "bare"),
        ("--upgrade", "--diverge"),
        ("--upgrade", "--machine", "tests.machines:Bank"),
        ("--seeds", "0"),
        ("--engine", "other"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    """Exit code 2 and one line."""
    ran = run("sim", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1


def test_a_real_run() -> None:
    """One real seed of the built-in machine, in this process."""
    ran = run("sim", "--seed", 7)
    assert ran.code == 0, ran.out + ran.err
    assert "trace" in ran.out


def breaks(seed: int) -> Outcome:
    """A run that breaks down on odd seeds."""
    if seed % 2:
        raise RuntimeError("odd")
    return Outcome(seed)


def test_a_run_that_breaks_down_is_not_a_pass() -> None:
    """It is told as not checked, with where it happened."""
    outcome = guarded(breaks, 1)
    assert not outcome.passed
    assert "RuntimeError: odd" in outcome.unchecked[0]
    assert any("breaks" in line for line in outcome.lines)


def test_seeds_run_in_workers_and_come_in_order() -> None:
    """Two processes, outcomes by seed."""
    outcomes = list(run_many(breaks, range(6), processes=2))
    assert [outcome.seed for outcome in outcomes] == list(range(6))
    assert [outcome.passed for outcome in outcomes] == [True, False] * 3
