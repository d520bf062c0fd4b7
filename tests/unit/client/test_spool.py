"""The directory for an observer's files: gone when it is closed, and when its process was killed, with the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rsm.client.observing.spool import PREFIX, Spool

KILLED = (
    "import os, signal; from rsm.client.observing.spool import Spool; Spool(); os.kill(os.getpid(), signal.SIGKILL)"
)


@pytest.fixture(autouse=True)
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where spools are made, here and in other processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_what_a_killed_process_left_is_gone_with_the_next_one(above: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED], check=False, timeout=60)
    (left,) = above.iterdir()
    (left / "1.snapshot").write_bytes(b"x" * 1000)
    spool = Spool()
    assert [str(path) for path in above.iterdir()] == [spool.path]
    spool.close()
    spool.close()
    assert list(above.iterdir()) == []


def test_what_lives_is_left_alone_and_so_is_what_belongs_to_nobody_here(above: Path) -> None:
    first = Spool()
    elsewhere = above / "elsewhere"
    elsewhere.mkdir()
    (above / f"{PREFIX}link").symlink_to(elsewhere)
    (above / f"{PREFIX}file").touch()
    second = Spool()
    assert os.path.isdir(first.path)
    assert first.path != second.path
    assert elsewhere.is_dir()
    assert (above / f"{PREFIX}link").is_symlink()
    assert (above / f"{PREFIX}file").exists()
    first.close()
    second.close()
