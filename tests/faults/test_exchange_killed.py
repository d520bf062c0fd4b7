"""An exchange that is killed leaves no process behind: not its nodes, nor who looks after them, asks them or trades."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from tests.documents import ROOT

# Processes enough for the whole machine: not beside another cluster.
pytestmark = pytest.mark.xdist_group("cluster")

pytest.importorskip("uvicorn", reason="needs starlette and uvicorn (the extra `demos`)")

PATIENCE_SECONDS = 40.0
LINES = 5


def processes_of(mark: str) -> dict[int, str]:
    """Those that have this word in their environment, by number."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes():
                found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):  # it has just ended, or is somebody else's
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists() or shutil.which("setpriv") is None, reason="needs Linux")
def test_an_exchange_that_was_killed_leaves_nothing_running(tmp_path: Path) -> None:
    mark = f"RSM_TEST_MARK={tmp_path}"
    name, _, value = mark.partition("=")
    command = [sys.executable, "-m", "demos.orderbook", "exchange", "--nodes", "1", "--rate", "20"]
    with subprocess.Popen(
        [*command, "--dir", str(tmp_path / "exchange")],
        cwd=ROOT,
        env=os.environ | {name: value, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as exchange:
        try:
            assert len(list(islice(exchange.stdout or (), LINES))) == LINES
            assert len(processes_of(mark)) >= 4  # itself, the supervisor, a node, the traders
        finally:
            exchange.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := processes_of(mark):
        if time.monotonic() > deadline:
            for number in left:
                os.kill(number, signal.SIGKILL)
            pytest.fail(f"still running: {left}")
        time.sleep(0.1)
