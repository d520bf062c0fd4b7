"""What differs and is no command of the log: the first state, a migration, a change behind the containers' back."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.desync.finding import Finding
from rsm.desync.gate import replay_against
from rsm.desync.paths import answer_value
from rsm.desync.recording import Recording
from rsm.desync.single import replay
from rsm.errors import WrongMachine
from rsm.node.storage.disk import OsDisk
from rsm.replica.answer import Status
from rsm.replica.batch import PIPELINE
from rsm.state.leaf import encode
from tests.replay_stage import ShopLog, checkout, shop_of, write_machine

ROOT = Path(__file__).resolve().parents[3]
OLD = """import rsm


class Till(rsm.StateMachine, name="till", version=1):
    euros: rsm.Map[str, int]
    note: str = ""

    @rsm.command(version=1)
    def pay(self, ctx: rsm.Context, who: str, amount: int) -> int:
        self.euros[who] = self.euros.get(who, 0) + amount
        return self.euros[who]
"""
NEW = """import rsm
import old_till


class Till(rsm.StateMachine, name="till", version=2, previous=old_till.Till):
    cents: rsm.Map[str, int]
    note: str = ""

    def migrate_state(self, old: old_till.Till) -> None:
        for who, euros in old.euros.items():
            self.cents[who] = 100 * euros

    @rsm.command(version=2)
    def pay(self, ctx: rsm.Context, who: str, cents: int) -> int:
        self.cents[who] = self.cents.get(who, 0) + cents
        return self.cents[who]

    @rsm.upcast("pay", from_version=1)
    def pay_in_euros(who: str, amount: int) -> tuple[str, int]:
        return who, 100 * amount
"""
PEOPLE = ("ann", "bob", "eve")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with both releases, and a log that goes from one to the other."""
    here = tmp_path_factory.mktemp("till")
    (here / "old_till.py").write_text(OLD)
    (here / "new_till.py").write_text(NEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(here))
        import new_till  # type: ignore[import-not-found]
        import old_till  # type: ignore[import-not-found]

        for machine in (old_till.Till, new_till.Till):
            with rsm.open(machine, here / "data") as till:
                for number in range(9):
                    till.pay(PEOPLE[number % 3], number)
        for name in ("new_till", "old_till"):
            del sys.modules[name]
    return here


@pytest.fixture(autouse=True)
def _at_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def against(here: Path, other: Path, file: str, *change: str) -> Finding:
    """The gate, with one line of one module changed on the other side."""
    other.mkdir()
    for name in ("old_till.py", "new_till.py"):
        shutil.copy(here / name, other / name)
    text = (other / file).read_text()
    assert text.count(change[0]) == 1
    (other / file).write_text(text.replace(*change))
    return replay_against(Recording(OsDisk(), str(here / "data")), "new_till:Till", str(other))


def values(finding: Finding) -> dict[str, list[Any]]:
    """The values of both sides by path."""
    return {one.path: list(one.values.values()) for one in finding.paths}


def test_a_migration_is_named_and_not_the_command_behind_it(here: Path, tmp_path: Path) -> None:
    """The entry that went over to the new release, the leaf, and `migrate_state` as the line."""
    finding = against(here, tmp_path / "other", "new_till.py", "100 * euros\n\n", "100 * euros + (who == 'bob')\n\n")
    assert finding.command is not None
    assert (finding.command["name"], finding.command["values"]["version"]) == ("rsm.activate", 2)
    assert values(finding) == {"cents/'bob'": [1200, 1201]}
    assert [one.text.partition("(")[0] for one in finding.blame] == ["def migrate_state"] * 2
    assert any("migrate_state" in note for note in finding.notes)


def test_the_line_of_a_command_under_an_old_release_is_named(here: Path, tmp_path: Path) -> None:
    """Recording goes on when the replica goes over to the release that the log began under."""
    finding = against(here, tmp_path / "other", "old_till.py", "0) + amount", "0) + amount + (amount == 4)")
    assert finding.command == {"name": "pay", "version": 1, "values": {"who": "bob", "amount": 4}}
    assert [Path(one.file).name for one in finding.blame] == ["old_till.py"] * 2


def test_the_state_that_a_machine_begins_with(here: Path, tmp_path: Path) -> None:
    """No command is blamed for it."""
    finding = against(here, tmp_path / "other", "old_till.py", 'note: str = ""', 'note: str = "x"')
    assert finding.command is not None
    assert (finding.first_bad_index, finding.command["name"]) == (1, "rsm.activate")
    assert values(finding) == {"scalars/'note'": ["", "x"]}


def test_a_state_of_many_leaves_is_compared_a_little_later(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its leaves are not kept one by one, but the entry is the same, and paths are found."""
    (tmp_path / "sitecustomize.py").write_text("import rsm.desync.blame as blame\nblame.STATE_LEAVES_MAX = 2\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    finding = against(here, tmp_path / "other", "new_till.py", "100 * euros\n\n", "100 * euros + (who == 'bob')\n\n")
    assert finding.command is not None
    assert finding.command["name"] == "rsm.activate"
    assert next(iter(values(finding))) == "cents/'bob'"


def test_a_release_that_does_not_record_states_is_compared_by_commands(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither side counts what only one of them knows; the states are compared leaf by leaf."""
    monkeypatch.setattr("rsm.desync.bisect.STATES_PROTOCOL", 99)
    finding = against(here, tmp_path / "other", "old_till.py", 'note: str = ""', 'note: str = "x"')
    assert (finding.verdict, finding.command) == ("desync", None)
    assert any("every command did the same" in note for note in finding.notes)


CHANGE = (
    "        return self.cents[who]\n\n    @rsm.upcast",
    "        {}\n        return self.cents[who]\n\n    @rsm.upcast",
)
BEHIND = "if cents == 8: dict.__setitem__(self.cents, 'ann', 5)"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of a shop that ends some entries behind its last hash point, and an item that is written once."""
    log = ShopLog(shop_of(checkout(tmp_path_factory.mktemp("healthy"))))
    log.send(log.session, "add", "once", 1)
    return write_machine(tmp_path_factory.mktemp("machine") / "data", log.trade(200))


def test_a_change_behind_the_containers_at_the_end(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hash point comes any more that would show it: at its end a replay scrubs all that there is."""
    change = "self.sold.push(count)"
    behind = f"{change}\n        if ctx.index > 194: dict.__setitem__(self.stock, 'once', 7)"
    healthy, other = checkout(tmp_path / "healthy"), checkout(tmp_path / "other", (change, behind))
    monkeypatch.chdir(healthy)
    recording = Recording(OsDisk(), str(shop))
    finding = replay_against(recording, "shop:Shop", str(other))
    assert (finding.verdict, finding.kind, finding.minority) == ("desync", "apply", (str(other),))
    assert finding.good_index is not None
    assert finding.first_bad_index is not None
    assert finding.good_index < finding.first_bad_index
    assert values(finding) == {"stock/'once'": [1, 7]}
    alone = replay(recording, shop_of(other))
    assert (alone.verdict, alone.minority) == ("desync", ("replay",))
    assert "outside tracked writes" in alone.notes[0]
    assert replay(recording, shop_of(healthy)).verdict == "agree"


def test_a_value_that_was_different_before_is_said(here: Path, tmp_path: Path) -> None:
    """The command that comes upon it is named, and that it is not the first thing that differs."""
    change = CHANGE[1].format(BEHIND.replace("8", "5"))
    finding = against(here, tmp_path / "other", "new_till.py", CHANGE[0], change)
    assert finding.command == {"name": "pay", "version": 2, "values": {"who": "ann", "cents": 6}}
    assert any(note.startswith("cents/'ann' was different before this command") for note in finding.notes)


def test_the_side_that_cannot_run_the_log_is_named(here: Path, tmp_path: Path) -> None:
    """A class of another name on one side only."""
    with pytest.raises(WrongMachine, match=f"^{tmp_path}/other: .*belongs to machine 'till', the class is 'bill'"):
        against(
            here, tmp_path / "other", "new_till.py", 'name="till", version=2, previous=old_till.Till', 'name="bill"'
        )


def test_answers_of_pipelines_are_told_step_by_step() -> None:
    """Each result decoded; a refusal with the step, without which two of them may look the same."""
    assert answer_value(PIPELINE, Status.OK, encode([encode(40), encode("x"), encode(None)])) == [40, "x", None]
    assert answer_value("list", Status.OK, encode([b"\x28"])) == ["28"]
    assert answer_value(PIPELINE, Status.REJECTED, encode(["no", 1])) == {
        "status": "rejected",
        "reason": "no",
        "step": 1,
    }
    assert answer_value("pay", Status.REJECTED, encode(["no", -1])) == {"status": "rejected", "reason": "no"}
