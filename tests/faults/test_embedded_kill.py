"""A process killed in the middle of its load: what it acknowledged is there, once; the rest can be sent again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rsm
from tests.documents import ROOT
from tests.faults.ledger_machine import Ledger

BOOKINGS_AT_LEAST = 400


def killed_load(directory: Path, first: int, snapshot_log_bytes: int, acknowledge: int) -> list[int]:
    """Run the load until so many bookings are acknowledged, then SIGKILL; every number that it wrote."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/faults/load.py"), str(directory), str(first), str(snapshot_log_bytes)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(acknowledge)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    assert process.wait(30) == -signal.SIGKILL
    return [int(line) for line in lines if line.endswith(b"\n")]


@pytest.mark.parametrize("snapshot_log_bytes", [2_000, 10**9])
def test_what_a_killed_process_acknowledged_is_there_once(tmp_path: Path, snapshot_log_bytes: int) -> None:
    """Three lives on one directory, each killed at some point, with snapshots all the time or never."""
    chance = random.Random(snapshot_log_bytes)
    acknowledged: list[int] = []
    for life in range(3):
        acknowledge = BOOKINGS_AT_LEAST + chance.randrange(1000)
        acknowledged += killed_load(tmp_path / "m", life * 100_000, snapshot_log_bytes, acknowledge)
        assert len(acknowledged) >= BOOKINGS_AT_LEAST * (life + 1)
    with rsm.open(Ledger, tmp_path / "m") as client:
        assert client.audit() == ""
        there = client.numbers()
        assert set(acknowledged) <= set(there)
        assert len(there) <= len(acknowledged) + 3 * 2500
        if snapshot_log_bytes < 10**9:
            assert client.snapshot() > 0  # a kill may have come before each life's own
        else:
            assert client.status().snapshot_index == 0
        last = acknowledged[-1]
        # The process that comes after need not know how far its predecessor came: it just repeats.
        for number in range(last - 5, last + 300):
            client.once(f"k{number}").move(number, f"from{number % 97}", f"to{number % 89}", 1)
        assert client.audit() == ""
        assert set(range(last - 5, last + 300)) <= set(client.numbers())
        told = [event.value for event in client.events()]
        assert told[-1] == client.numbers()[-1]
        assert len(told) == len(set(told))
