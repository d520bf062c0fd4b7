"""Differences in arrays are told by cell, with the line that wrote it: replays against other code, and snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsm.desync.blame import CELL_STEPS_MAX
from rsm.desync.finding import Finding
from rsm.desync.gate import replay_against
from rsm.desync.paths import leaf_values
from rsm.desync.recording import Recording
from rsm.desync.snapshot_paths import compare_snapshots
from rsm.desync.sources import Snapshot
from rsm.limits import DIFFERENT_LEAVES_MAX
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.snapshots import read_snapshot
from rsm.replica.snapshot import decode_manifest
from rsm.state.diff import differences
from rsm.state.leaf import ABSENT
from tests.replay_stage import ShopLog, checkout, shop_of, write_machine
from tests.unit.state.stores import store_of

ROOT = Path(__file__).resolve().parents[3]
HERD = """from __future__ import annotations

from typing import Annotated

import rsm


class Shop(rsm.StateMachine, name="herd", version=1):
    deer: Annotated[rsm.Array, rsm.Columns(x="int32", hp="int16")]

    @rsm.command()
    def grow(self, ctx: rsm.Context, rows: int) -> int:
        self.deer.resize(rows)
        return len(self.deer)

    @rsm.command()
    def step(self, ctx: rsm.Context, by: int) -> None:
        x = self.deer.write("x")
        x += by
        hp = self.deer.write("hp")
        hp[x > 100] -= 1
        self.deer.set("hp", 19, self.deer.get("hp", 19) + by)

    @rsm.command()
    def bless(self, ctx: rsm.Context, row: int) -> None:
        self.deer.set("hp", row, 10)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The healthy code, in the working directory."""
    path = checkout(tmp_path / "healthy", text=HERD)
    monkeypatch.chdir(path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return path


def log_of(directory: Path, rows: int = 20) -> ShopLog:
    """A log of this code: rows, and a hundred commands."""
    log = ShopLog(shop_of(directory))
    log.run(log.session, "grow", rows)
    for number in range(100):
        log.run(log.session, "bless" if number % 5 == 4 else "step", number % 4)
    return log


def against(log: ShopLog, tmp_path: Path, *change: tuple[str, str]) -> tuple[Finding, Path]:
    """What a replay of the log against changed code finds."""
    machine = write_machine(tmp_path / "data", log)
    other = checkout(tmp_path / "other", *change, text=HERD)
    return replay_against(Recording(OsDisk(), str(machine)), "shop:Shop", str(other)), other


def line_of(directory: Path, text: str) -> int:
    """Where a text stands in a checkout's module."""
    lines = (directory / "shop.py").read_text(encoding="utf-8").splitlines()
    return 1 + next(number for number, line in enumerate(lines) if text in line)


def test_a_cell_that_differs_is_named_with_the_line_that_set_it(here: Path, tmp_path: Path) -> None:
    """Though it is not the first line of the command that writes to the column."""
    finding, other = against(log_of(here), tmp_path, ('"hp", 19) + by', '"hp", 19) + by + (by == 3)'))
    assert (finding.verdict, finding.kind) == ("desync", "apply")
    assert finding.command == {"name": "step", "version": 1, "values": {"by": 3}}
    assert [path.path for path in finding.paths] == ["deer/19/hp"]
    values = finding.paths[0].values
    assert values[str(other)] == values["replay"] + 1
    ours, theirs = finding.blame
    assert (ours.what, ours.file, ours.line) == ("deer/19/hp", str(here / "shop.py"), line_of(here, '"hp", 19'))
    assert theirs.text == 'self.deer.set("hp", 19, self.deer.get("hp", 19) + by + (by == 3))'
    assert (ours.value, theirs.value) == (values["replay"], values[str(other)])


def test_what_is_done_to_a_column_is_the_line_that_asked_for_it(here: Path, tmp_path: Path) -> None:
    """numpy does the rest, and tells nobody."""
    finding, other = against(log_of(here), tmp_path, ("x += by", "x[7:] += by"))
    assert [path.path for path in finding.paths] == [f"deer/{row}/x" for row in range(7)]
    ours, theirs = finding.blame
    assert (ours.what, ours.line) == ("deer/0/x", line_of(here, 'x = self.deer.write("x")'))
    assert theirs.file == str(other / "shop.py")


def test_another_number_of_rows_is_named(here: Path, tmp_path: Path) -> None:
    """By `deer/rows`, with the line that resized."""
    finding, other = against(log_of(here), tmp_path, ("self.deer.resize(rows)", "self.deer.resize(rows + 1)"))
    assert finding.paths[0].path == "deer/rows"
    assert finding.paths[0].values == {"replay": 20, str(other): 21}
    assert finding.blame[0].what == "deer/rows"
    assert finding.blame[0].line == line_of(here, "self.deer.resize(rows)")


def test_a_step_that_changes_very_many_cells_is_told_by_column(here: Path, tmp_path: Path) -> None:
    """Its line is named all the same, and the paths still name cells."""
    finding, _ = against(log_of(here, CELL_STEPS_MAX + 10), tmp_path, ("x += by", "x += by + (by == 2)"))
    assert finding.paths[0].path == "deer/0/x"
    assert finding.blame[0].what == "deer/x"
    assert finding.blame[0].line == line_of(here, 'x = self.deer.write("x")')


def test_values_of_a_column(here: Path) -> None:
    """A path for each cell and one for the rows; a digest instead of too many."""
    machine = shop_of(here)()
    store = store_of(machine)
    ledger: Any = store.ledgers["deer"]
    assert leaf_values(ledger, "deer", "hp", b"\x01\0\xff\xff") == {"deer/rows": 2, "deer/0/hp": 1, "deer/1/hp": -1}
    assert leaf_values(ledger, "deer", "hp", ABSENT) == {"deer/rows": 0}
    many = leaf_values(ledger, "deer", "hp", bytes(2 * DIFFERENT_LEAVES_MAX + 2))
    assert list(many) == ["deer/rows", "deer/hp"]


def snapshot_of(directory: Path, path: Path) -> Snapshot:
    """A snapshot of this code's state, at the last hash point."""
    log = log_of(directory)
    machine = write_machine(path, log, snapshots=[max(log.replica.roots)])
    (file,) = (machine / "snapshots").glob("*.snapshot")
    return Snapshot(str(file), decode_manifest(next(iter(read_snapshot(OsDisk(), str(file))))[1]), None)


def test_snapshots_are_compared_by_cell(here: Path, tmp_path: Path) -> None:
    """Without the machine's class: by the schema in the manifest."""
    left = snapshot_of(here, tmp_path / "one")
    code = checkout(tmp_path / "other", ('"hp", row, 10', '"hp", row + 1, 10'), text=HERD)
    found = compare_snapshots(OsDisk(), {"one": left, "two": snapshot_of(code, tmp_path / "two")})
    cells = [path for path in found.paths if path.path.startswith("deer/")]
    assert [path.path for path in cells] == ["deer/0/hp", "deer/4/hp"]
    assert cells[0].values["one"] - cells[0].values["two"] == 10
    assert set(found.buckets) >= {"deer"}
    assert not found.has_more


def test_snapshots_with_other_numbers_of_rows(here: Path, tmp_path: Path) -> None:
    """Rows once, not once a column."""
    left = snapshot_of(here, tmp_path / "one")
    code = checkout(tmp_path / "other", ("self.deer.resize(rows)", "self.deer.resize(rows + 1)"), text=HERD)
    found = compare_snapshots(OsDisk(), {"one": left, "two": snapshot_of(code, tmp_path / "two")})
    assert [(path.path, path.values) for path in found.paths if path.path.startswith("deer/")] == [
        ("deer/rows", {"one": 20, "two": 21})
    ]


def test_the_system_s_records_have_the_names_of_a_replay(here: Path, tmp_path: Path) -> None:
    """An answer that differs is told under one path, with the machine's class and without."""
    left = snapshot_of(here, tmp_path / "one")
    code = checkout(tmp_path / "other", ("return len(self.deer)", "return len(self.deer) + 1"), text=HERD)
    found = compare_snapshots(OsDisk(), {"one": left, "two": snapshot_of(code, tmp_path / "two")})
    told = [difference.path for difference in differences(log_of(here).replica.store, log_of(code).replica.store)]
    sessions = [path.path for path in found.paths if path.path.startswith("rsm.sessions/")]
    assert sessions == [path for path in told if path.startswith("rsm.sessions/")]
    assert "/answers/" in sessions[0]


def test_other_columns_are_told_as_leaves(here: Path, tmp_path: Path) -> None:
    """Cells of different types are not held against each other."""
    left = snapshot_of(here, tmp_path / "one")
    code = checkout(tmp_path / "other", ('hp="int16"', 'hp="int32"'), text=HERD)
    found = compare_snapshots(OsDisk(), {"one": left, "two": snapshot_of(code, tmp_path / "two")})
    assert "deer/'hp'" in [path.path for path in found.paths]
