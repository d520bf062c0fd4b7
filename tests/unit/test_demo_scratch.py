"""What demos keep for themselves: gone when they end, and after a SIGKILL when the next one of its kind begins."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import rsm
from demos.exits import DemoFailed, exit_code, told
from demos.scratch import scratch_directory
from tests.documents import ROOT

HOLDS = """
from demos.scratch import scratch_directory
with scratch_directory("rsm-lockstep-") as path:
    (path / "log").write_text("kept")
    print(path, flush=True)
    input()
"""


@pytest.fixture
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_a_directory_outlives_its_owner_until_the_next_one_is_made(above: Path) -> None:
    """Those of the living, of another kind and of others stay; a link is no directory of ours."""
    other, link = above / "rsm-show-x", above / "rsm-lockstep-link"
    other.mkdir()
    link.symlink_to(other)
    (other / "file").touch()
    command = [sys.executable, "-c", HOLDS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as owner:
        assert owner.stdout is not None
        path = Path(owner.stdout.readline().strip())
        with scratch_directory("rsm-lockstep-") as mine:
            assert mine != path
            assert (path / "log").read_text() == "kept"
        assert not mine.exists()
        owner.kill()
        owner.wait()
    assert path.exists()
    with scratch_directory("rsm-exchange-"):
        assert path.exists()
    with scratch_directory("rsm-lockstep-"):
        assert not path.exists()
    assert (other / "file").exists()


def test_exit_codes_are_those_of_rsm() -> None:
    """1 for damage and what went down, 2 for the call and its input, 3 where nothing can be said."""
    taken = OSError(98, "Address already in use")
    for error, code in (
        (DemoFailed("gone"), 1),
        (DemoFailed("taken", 2), 2),
        (rsm.CorruptFile("log", 7, "flipped"), 1),
        (rsm.DirectoryInUse("d"), 2),
        (rsm.Rejected("no"), 2),
        (taken, 2),
        (rsm.Unreachable("nobody"), 3),
        (TimeoutError("late"), 3),
    ):
        assert exit_code(error) == code, error
    assert told(taken) == "Address already in use"
    assert told(FileNotFoundError(2, "No such file or directory", "x.log")) == "x.log: No such file or directory"
