"""`rsm log export` writes a file that every other command reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.samples import offsets, run, sample_entries, segments, write_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The sample log."""
    return write_log(tmp_path / "shop", sample_entries())


def test_an_export_is_a_log(log: Path, tmp_path: Path) -> None:
    """The exported range has the entries of the source, and info, cat, verify, schema and export accept it."""
    piece = tmp_path / "piece.log"
    ran = run("log", "export", log, piece, "--to", 5)
    assert (ran.code, ran.out) == (0, f"{piece}: 5 entries\n")
    assert run("log", "cat", piece, "--json").out == run("log", "cat", log, "--to", 5, "--json").out
    assert json.loads(run("log", "info", piece, "--json").out)["last_index"] == 5
    assert run("log", "verify", piece).code == 0
    assert run("schema", "show", piece).code == 0
    ran = run("log", "export", piece, tmp_path / "smaller.log", "--from", 2, "--to", 3, "--json")
    assert json.loads(ran.out)["entries"] == 2
    assert run("log", "verify", tmp_path / "smaller.log").code == 0


def test_an_export_never_overwrites(log: Path, tmp_path: Path) -> None:
    """An existing file is refused and stays as it is."""
    (tmp_path / "piece.log").write_text("mine")
    ran = run("log", "export", log, tmp_path / "piece.log")
    assert ran.code == 2
    assert "exists already" in ran.err
    assert (tmp_path / "piece.log").read_text() == "mine"


@pytest.mark.parametrize(("first", "last"), [(9, 10), (3, 9), (20, 30)])
def test_a_range_that_is_not_there_is_refused(log: Path, tmp_path: Path, first: int, last: int) -> None:
    """A range that the log does not hold leaves no file behind."""
    ran = run("log", "export", log, tmp_path / "piece.log", "--from", first, "--to", last)
    assert ran.code == 2
    assert "the log holds 1 to 8" in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop"]


def test_a_torn_tail_is_told_and_not_exported(log: Path, tmp_path: Path) -> None:
    """Whole entries are exported, what was torn off is told with its offset, and the exit code is 1."""
    segment = segments(log)[0]
    place = offsets(segment)[-2]
    segment.write_bytes(segment.read_bytes()[:-9])
    ran = run("log", "export", log, tmp_path / "piece.log")
    assert ran.code == 1
    assert f"{segment}: offset {place}: torn tail" in ran.err
    assert run("log", "verify", tmp_path / "piece.log").code == 0
    assert run("log", "export", log, tmp_path / "whole.log", "--to", 7).code == 0


def test_a_damaged_log_exports_nothing(log: Path, tmp_path: Path) -> None:
    """Damage before the end of the range gives exit code 1 and no file."""
    segment = segments(log)[0]
    data = bytearray(segment.read_bytes())
    data[offsets(segment)[4] + 65] ^= 1
    segment.write_bytes(data)
    assert run("log", "export", log, tmp_path / "piece.log").code == 1
    assert not (tmp_path / "piece.log").exists()
    assert run("log", "export", log, tmp_path / "piece.log", "--to", 2).code == 0
