"""A machine opened in this process moves on to its newest release when it is opened; older code is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.errors import WrongMachine
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.scan import scan
from rsm.replica.batch import decode_batch
from tests.unit.replica.test_releases import TillV1, TillV2, TillV3


def paid(machine: type[rsm.StateMachine], path: Path, who: str, amount: int) -> Any:
    """Open, pay once, close."""
    till: Any
    with rsm.open(machine, str(path)) as till:
        return till.pay(who, amount)


def version(machine: type[rsm.StateMachine], path: Path) -> int:
    """The version in force after an open with this class."""
    with rsm.open(machine, str(path)) as till:
        return till.status().version


def flips(path: Path) -> list[int]:
    """How many entries of the log move the machine on."""
    batches = [(one.entry.index, one.entry.payload) for one in scan(OsDisk(), str(path)) if one.entry.payload]
    return [index for index, payload in batches if decode_batch(payload).is_upgrade]


def test_it_moves_on_at_open_and_only_then(tmp_path: Path) -> None:
    """Release by release, one entry each; state comes along, and a second open changes nothing."""
    path = tmp_path / "till"
    assert paid(TillV1, path, "ann", 5) == 5
    assert paid(TillV2, path, "ann", 1) == 6
    assert len(flips(path)) == 1
    assert paid(TillV3, path, "ann", 1) == 601
    assert version(TillV3, path) == 3
    assert len(flips(path)) == 2


def test_several_releases_at_once(tmp_path: Path) -> None:
    path = tmp_path / "till"
    assert paid(TillV1, path, "ann", 5) == 5
    assert paid(TillV3, path, "ann", 1) == 501
    assert len(flips(path)) == 2


def test_a_new_directory_begins_under_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "till"
    assert paid(TillV3, path, "ann", 1) == 1
    assert flips(path) == []


@pytest.mark.parametrize("has_snapshot", [False, True])
def test_an_older_class_is_refused_and_nothing_changes(tmp_path: Path, has_snapshot: bool) -> None:
    """From the log or from a snapshot of the newer version; the line says what to do, the newer class goes on."""
    path = tmp_path / "till"
    paid(TillV1, path, "ann", 5)
    till: Any
    with rsm.open(TillV3, str(path)) as till:
        till.pay("ann", 1)
        if has_snapshot:
            till.snapshot()
    before = {one: one.read_bytes() for one in path.rglob("*") if one.is_file() and "lock" not in one.name}
    for older, shipped in ((TillV1, "1"), (TillV2, "1 to 2")):
        with pytest.raises(WrongMachine) as caught:
            rsm.open(older, str(path))
        text = str(caught.value)
        assert text.startswith(f"{path}: ")
        assert f"of 'till', this release has {shipped}: upgrade this node" in text
    after = {one: one.read_bytes() for one in path.rglob("*") if one.is_file() and "lock" not in one.name}
    assert {one: data.rstrip(b"\0") for one, data in after.items() if one.suffix != ".log"} == {
        one: data.rstrip(b"\0") for one, data in before.items() if one.suffix != ".log"
    }
    assert paid(TillV3, path, "ann", 1) == 502


def test_a_migration_that_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line that says which version stays; the directory goes on with the old class, and later with a mended one."""
    path = tmp_path / "till"
    paid(TillV1, path, "poison", 5)
    for _ in range(2):
        with pytest.raises(WrongMachine) as caught:
            rsm.open(TillV3, str(path))
        assert str(caught.value) == (
            f"{path}: migrate_state of version 3 raised (see the log); version 2 stays in force: "
            f"open it with that release, or mend this one"
        )
        assert "ValueError: poison" in caplog.text
    assert paid(TillV2, path, "poison", 1) == 6
    assert len(flips(path)) == 1  # the one to version 2: what raises is tried before it is logged


def test_a_log_below_the_floor_is_refused(tmp_path: Path) -> None:
    """A release that no longer ships the version in force says which one has it."""
    path = tmp_path / "till"
    paid(TillV1, path, "ann", 5)

    class Alone(rsm.StateMachine, name="till", version=3):
        cents: rsm.Map[str, int]

    with pytest.raises(WrongMachine, match="under version 1 of 'till', this release has 3: run a release that still"):
        rsm.open(Alone, str(path))
