"""A recorded log is played back entry by entry, forwards and back, and the first root that is another one ends it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.desync import playback as playback_module
from rsm.limits import HASH_INTERVAL_ENTRIES
from tests.machines import Bank

ENTRIES = 3 * HASH_INTERVAL_ENTRIES


class OtherBank(rsm.StateMachine, name="bank", version=1):
    """The bank with a bug from a certain balance on."""

    balances: rsm.Map[str, int]

    @rsm.command(version=1)
    def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int:
        before = self.balances.get(to, 0)
        self.balances[to] = before + amount + (before == 50)
        return self.balances[to]

    @rsm.query
    def balance(self, who: str) -> int:
        return self.balances.get(who, 0)


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    """A bank's directory: ann has a cent more with every entry."""
    path = str(tmp_path / "bank")
    with rsm.open(Bank, path, durability="os") as bank:
        for _ in range(ENTRIES):
            bank.deposit("ann", 1)
    return path


def test_it_goes_forwards_an_entry_at_a_time(recorded: str) -> None:
    with rsm.replay(Bank, recorded) as playback:
        assert playback.first_index == 0
        assert playback.index == 0
        indexes, balances = [], []
        for played in playback:
            indexes.append(played.index)
            balances.append(playback.machine.balances.get("ann", 0))
            assert played.log_time > 0
            assert played.index == playback.index
        assert indexes == list(range(1, len(indexes) + 1))
        assert [b - a for a, b in pairwise(balances)].count(1) == ENTRIES
        assert playback.roots_checked >= ENTRIES // HASH_INTERVAL_ENTRIES
        assert playback.next() is None


def test_it_goes_to_any_index_and_back(recorded: str) -> None:
    playback = rsm.replay(Bank, recorded)
    balances = {played.index: playback.machine.balances.get("ann", 0) for played in playback}
    last, checked = playback.index, playback.roots_checked
    for index in (10, last, 3, last - 1, last // 2, 1):
        playback.seek(index)
        assert playback.index == index
        assert playback.machine.balances.get("ann", 0) == balances[index]
    assert playback.roots_checked == checked  # the same ones once more
    playback.seek(last + 1000)
    assert playback.index == last
    assert playback.seek(last) is None
    playback.seek(0)
    assert playback.index == 0


def test_going_back_loads_the_snapshot_before_and_not_the_beginning(
    recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    playback = rsm.replay(Bank, recorded)
    last = sum(1 for _ in playback)
    applied: list[int] = []
    run = playback_module.Playback._apply

    def counting(self: Any, scanned: Any) -> Any:
        applied.append(scanned.entry.index)
        return run(self, scanned)

    monkeypatch.setattr(playback_module.Playback, "_apply", counting)
    playback.seek(last - 1)
    assert applied
    assert len(applied) <= 2 * HASH_INTERVAL_ENTRIES


def test_snapshots_in_memory_are_bounded(recorded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback_module, "PLAYBACK_SNAPSHOTS_MAX", 2)
    monkeypatch.setattr(playback_module, "HASH_INTERVAL_ENTRIES", 1)
    playback = rsm.replay(Bank, recorded)
    last = sum(1 for _ in playback)
    assert 0 < len(playback._saved) <= 2
    for index in (5, last, 40):
        playback.seek(index)
        assert playback.index == index


def test_another_root_ends_it(recorded: str) -> None:
    playback = rsm.replay(OtherBank, recorded)
    with pytest.raises(rsm.DivergenceError, match="index 64: the root is"):
        list(playback)


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rsm.StorageError):
        rsm.replay(Bank, str(tmp_path / "nothing"))
