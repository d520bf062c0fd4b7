"""The README's bank grows up: opened in a process, then taken over by three nodes, with its root and its clients."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rsm.cli.cluster import PROGRAM
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.scan import scan
from tests.documents import ROOT
from tests.faults.cluster_processes import until
from tests.test_readme_bank import bank_source

pytestmark = pytest.mark.xdist_group("cluster")

OPENED = 'rsm.open(Bank, "bank-data")'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the bank, run twice."""
    source = bank_source()
    assert OPENED in source
    (tmp_path / "bank.py").write_text(source, encoding="utf-8")
    assert python(tmp_path, "bank.py") == "600\n"
    assert python(tmp_path, "bank.py") == "700\n"
    return tmp_path


def environment(directory: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(directory / "state")}


def python(directory: Path, *words: str) -> str:
    """Run Python there; what it printed."""
    ran = subprocess.run(
        [sys.executable, *words], cwd=directory, env=environment(directory), capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def document(directory: Path, *words: str) -> Any:
    """What a command of `rsm` prints with --json."""
    return json.loads(python(directory, "-c", PROGRAM, *words, "--json"))


@pytest.fixture
def addresses(directory: Path) -> Iterator[list[str]]:
    """The client addresses of `rsm cluster up --from`, which runs until the test is over."""
    out = directory / "up.out"
    words = ["cluster", "up", "--machine", "bank:Bank", "--dir", "c1", "--from", "bank-data"]
    with out.open("w") as file:
        up = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=environment(directory),
        )
    try:

        def found() -> list[str] | None:
            assert up.poll() is None, out.read_text()
            clients = re.findall(r"is up: clients (\S+),", out.read_text())
            return clients if len(clients) == 3 and "leads, term" in out.read_text() else None

        yield until(found, out.read_text)
        up.send_signal(signal.SIGINT)
        assert up.wait(30) == 0, out.read_text()
    finally:
        up.kill()
        up.wait()


def chains(path: Path) -> dict[int, bytes]:
    """The hash chain at every index of a log."""
    return {scanned.entry.index: scanned.chain for scanned in scan(OsDisk(), str(path))}


def confirmed(directory: Path, log: str) -> list[Any]:
    """The state roots that a log confirms, with the index of each."""
    lines = python(directory, "-c", PROGRAM, "log", "cat", log, "--command", "rsm.confirmed", "--json").splitlines()
    return [json.loads(line)["values"] for line in lines]


def test_three_nodes_go_on_where_the_process_ended(directory: Path, addresses: list[str]) -> None:
    """One log, one root, and the program of the README with `connect` in the place of `open`."""
    before = chains(directory / "bank-data")
    index = max(before)
    roots_before = confirmed(directory, "bank-data")
    assert roots_before
    for number in (1, 2, 3):
        node = f"c1/node-{number}"
        assert {place: chain for place, chain in chains(directory / node).items() if place <= index} == before
        # A node that replays to another root than the one confirmed does not start.
        assert confirmed(directory, node)[: len(roots_before)] == roots_before

    def roots() -> list[str] | None:
        status = document(directory, "status", *addresses)["nodes"]
        places = {(one["root_index"], one["applied_index"]) for one in status}
        return [one["root"] for one in status] if len(places) == 1 and status[0]["root_index"] > index else None

    assert len(set(until(roots, "three nodes at one index"))) == 1
    assert document(directory, "query", "balance", '["ann"]')["result"] == 700
    source = bank_source().replace(OPENED, f"rsm.connect(Bank, {addresses!r})")
    (directory / "connected.py").write_text(source, encoding="utf-8")
    # The key of the first deposit was used in the embedded machine's time, and counts here as well.
    assert python(directory, "connected.py") == "800\n"
    assert python(directory, "connected.py") == "900\n"
    assert len(set(until(roots, "three nodes at one index"))) == 1
    assert python(directory, "bank.py") == "800\n"  # the original is as it was
