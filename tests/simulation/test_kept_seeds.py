"""Whatever the simulator has found once it looks for again, for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsm.cli.target import load_machine
from rsm.testing.campaign import run_seed

SEEDS = Path(__file__).parent / "seeds.txt"


def kept() -> list[tuple[str, int, str]]:
    """The machines and seeds of the file, and what was done besides: states made to differ, or releases changed."""
    lines = [line.partition("#")[0].split() for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    return [(machine, int(seed), " ".join(how)) for machine, seed, *how in filter(None, lines)]


def test_the_file_is_read() -> None:
    """There are seeds in it, each once."""
    assert len(kept()) == len(set(kept())) > 0


@pytest.mark.parametrize(("machine", "seed", "how"), kept())
def test_a_kept_seed(machine: str, seed: int, how: str) -> None:
    """It passes now."""
    outcome = run_seed(load_machine(machine), seed, diverge=how == "diverge", upgrade=how == "upgrade")
    assert outcome.passed, f"rsm sim --machine {machine} --seed {seed}{how and f' --{how}'}\n" + "\n".join(
        (*outcome.violations, *outcome.unchecked)
    )
