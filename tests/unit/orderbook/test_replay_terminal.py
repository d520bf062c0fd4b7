"""How `replay` behaves towards its terminal, its pipes and its user."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from demos.orderbook.__main__ import main

FLOW = b"seq,type,side,ioc,qty,order_id,price_ticks\n" + b"".join(b"%d,N,0,0,5,%d,100\n" % (n, n) for n in range(3000))


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    path = tmp_path / "flow.csv"
    path.write_bytes(FLOW)
    return path


def test_the_progress_bar_is_for_terminals(root: Path, flow: Path) -> None:
    """On a terminal's standard error there is a bar that counts messages; standard output has the document alone."""
    master, terminal = pty.openpty()
    try:
        child = subprocess.run(
            [sys.executable, "-m", "demos.orderbook", "replay", str(flow), "--json"],
            stdout=subprocess.PIPE,
            stderr=terminal,
            cwd=root,
            check=True,
            timeout=60,
        )
        os.set_blocking(master, False)
        shown = os.read(master, 1 << 20).decode()
    finally:
        os.close(terminal)
        os.close(master)
    assert "messages" in shown
    assert json.loads(child.stdout)["applied"] == 3000


def test_elsewhere_nothing_is_shown(flow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error stays empty, standard output is one line of JSON."""
    assert main(["replay", str(flow), "--json"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.count("\n") == 1
    assert json.loads(told.out)["reports"]["lines"] == 3000


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """The top level lists replay and show; replay lists its options; no command is wrong usage."""
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "replay FILE" in shown
    assert "  show" in shown
    assert main(["replay", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--dir", "--reports", "--json", "--debug"))
    assert main([]) == 2
    assert "replay FILE" in capsys.readouterr().err
    assert main(["play"]) == 2
    said = "orderbook: no command 'play': replay, show, exchange or upgrade (--help says more)\n"
    assert capsys.readouterr().err == said


def test_a_traceback_is_shown_only_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line without --debug; with it, the traceback before that line."""
    assert main(["replay", str(tmp_path / "missing")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert main(["replay", str(tmp_path / "missing"), "--debug"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("Traceback ")
    assert told.endswith(line)


def test_a_damaged_machine_is_named_and_not_replayed(flow: Path, tmp_path: Path) -> None:
    """A flipped bit in the log of --dir: exit code 1, with file and offset, and no traceback."""
    directory = tmp_path / "d"
    assert main(["replay", str(flow), "--dir", str(directory)]) == 0
    (log,) = (directory / "log").iterdir()
    content = bytearray(log.read_bytes())
    content[3000] ^= 4
    log.write_bytes(content)
    child = subprocess.run(
        [sys.executable, "-m", "demos.orderbook", "replay", str(flow), "--dir", str(directory)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (child.returncode, child.stdout) == (1, "")
    assert f"{log.name}: offset " in child.stderr
    assert child.stderr.count("\n") == 1
