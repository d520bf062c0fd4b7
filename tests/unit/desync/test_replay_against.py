"""Two sides in processes of their own: the first command that differs is named, with its paths and lines of code."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rsm.desync.gate
from rsm.desync.finding import Finding
from rsm.desync.gate import replay_against
from rsm.desync.recording import Recording
from rsm.desync.replaying import Unreplayable
from rsm.desync.worker import Worker, WorkerDied, WorkerHung
from rsm.errors import CorruptFile, WrongMachine
from rsm.limits import HASH_INTERVAL_ENTRIES, REPLAY_STEP_COMMANDS
from rsm.node.storage.disk import OsDisk
from rsm.replica.batch import encode_call, join_item
from tests.machines import Bank, Log
from tests.replay_stage import ShopLog, checkout, shop_of, write_machine, write_segment

ROOT = Path(__file__).resolve().parents[3]
SELL_AT = 141  # the only sale that leaves 73


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The healthy checkout."""
    return checkout(tmp_path_factory.mktemp("healthy"))


@pytest.fixture(scope="module")
def machine(here: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its log of some three hundred entries."""
    return write_machine(
        tmp_path_factory.mktemp("machine") / "data", ShopLog(shop_of(here)).trade(300), snapshots=(128,)
    )


@pytest.fixture(autouse=True)
def _at_home(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is the healthy checkout; rsm comes from this tree."""
    monkeypatch.chdir(here)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run(path: Path, other: Path, **options: Any) -> Finding:
    """The gate."""
    return replay_against(Recording(OsDisk(), str(path)), "shop:Shop", str(other), **options)


def line_of(directory: Path, text: str) -> int:
    """Where a text stands in a checkout's module."""
    lines = (directory / "shop.py").read_text(encoding="utf-8").splitlines()
    return 1 + next(number for number, line in enumerate(lines) if text in line)


def test_equal_code_agrees(machine: Path, tmp_path: Path) -> None:
    """A comment more is no difference."""
    finding = run(machine, checkout(tmp_path / "other", ("import time\n", "import time  # more\n")))
    assert (finding.verdict, finding.checked_to_index) == ("agree", 306)
    assert finding.bundle is None


def test_a_changed_line_is_found(machine: Path, here: Path, tmp_path: Path) -> None:
    """Index, command, path with both values, both lines; and a hash interval is run again, no more."""
    other = checkout(tmp_path / "other", ("self.total -= count", "self.total -= count + (left == 73)"))
    finding = run(machine, other, bundle=lambda index: str(tmp_path / f"desync-{index}"))
    assert (finding.verdict, finding.kind) == ("desync", "apply")
    assert (finding.first_bad_index, finding.first_bad_command) == (SELL_AT, 0)
    assert finding.command == {"name": "sell", "version": 1, "values": {"item": "apple", "count": 2}}
    assert [path.path for path in finding.paths] == ["scalars/'total'"]
    values = finding.paths[0].values
    assert values["replay"] == values[str(other)] + 1
    assert finding.minority == (str(other),)
    assert (finding.good_index, finding.checked_to_index) == (128, SELL_AT - 1)
    ours, theirs = finding.blame
    assert (ours.source, ours.file, ours.line) == (
        "replay",
        str(here / "shop.py"),
        line_of(here, "self.total -= count"),
    )
    assert (theirs.file, theirs.text) == (str(other / "shop.py"), "self.total -= count + (left == 73)")
    assert (ours.value, theirs.value) == (values["replay"], values[str(other)])
    assert finding.reexecuted is not None
    assert finding.reexecuted <= 2 * 66
    assert finding.bundle == str(tmp_path / f"desync-{SELL_AT}")


def test_a_hash_point_within_a_step_is_where_it_begins_again(here: Path, tmp_path: Path) -> None:
    """Roots agree in the middle of a step: from there it runs again, and comes to the same root at its end."""
    log = ShopLog(shop_of(here))
    call = encode_call("add", 1, ["apple", 1])
    log.entry([join_item(log.session, number, 0, call) for number in range(1, REPLAY_STEP_COMMANDS + 1)])
    behind = len(log.entries)  # a step ends here, and the next one somewhere behind the hash point
    assert behind < HASH_INTERVAL_ENTRIES
    log.trade(HASH_INTERVAL_ENTRIES - behind)
    assert len(log.entries) == HASH_INTERVAL_ENTRIES + 1  # with what confirms its root
    log.send(log.session, "add", "apple", 77)
    log.trade(HASH_INTERVAL_ENTRIES)
    other = checkout(tmp_path / "other", ("self.total += count", "self.total += count + (count == 77)"))
    finding = run(write_machine(tmp_path / "data", log), other)
    assert (finding.good_index, finding.first_bad_index) == (HASH_INTERVAL_ENTRIES, HASH_INTERVAL_ENTRIES + 2)
    assert finding.notes == ()
    assert finding.reexecuted is not None
    assert finding.reexecuted <= HASH_INTERVAL_ENTRIES + 1


def test_it_is_found_behind_a_snapshot_too(machine: Path, tmp_path: Path) -> None:
    """From the snapshot at 128 both come to the same place."""
    other = checkout(tmp_path / "other", ("self.total -= count", "self.total -= count + (left == 73)"))
    finding = run(machine, other, start=128)
    assert (finding.first_bad_index, finding.replayed_from, finding.good_index) == (SELL_AT, 128, 128)


@pytest.mark.parametrize(
    ("old", "new", "paths", "text"),
    [
        ("        return left\n", "        return left + (left == 73)\n", ["result"], "return left + (left == 73)"),
        (
            "ctx.emit((item, count))",
            "ctx.emit((item, count + (left == 73)))",
            ["event/0"],
            "ctx.emit((item, count + (left == 73)))",
        ),
        (
            "self.sold.push(count)",
            "self.sold.push(count) if left != 73 else None",
            ["sold/18"],
            "return left",
        ),
        (
            "if left < 0:",
            "if left < 0 or left == 73:",
            ["stock/'apple'", "scalars/'total'", "sold/18", "event/0", "result"],
            'ctx.reject("sold out")',
        ),
        (
            "self.last = sorted(set(words.split()))[0]\n        return self.last",
            "self.last = sorted(set(words.split()))[1]\n        return 'alpha'",
            ["scalars/'last'"],
            "self.last = sorted(set(words.split()))[1]",
        ),
    ],
    ids=["result", "event", "missing write", "rejection", "other command"],
)
def test_whatever_differs_is_told_apart(
    old: str, new: str, paths: list[str], text: str, machine: Path, tmp_path: Path
) -> None:
    """State, a result and an event by their own names; where one side did nothing, the line at which it ended."""
    finding = run(machine, checkout(tmp_path / "other", (old, new)))
    assert finding.verdict == "desync"
    assert [path.path for path in finding.paths] == paths
    assert finding.blame[1].text == text


def test_both_differ_from_the_log(machine: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sides that agree with each other against what was recorded: the log is the odd one."""
    change = ("self.total -= count", "self.total -= count + (left == 73)")
    other = checkout(tmp_path / "other", change)
    monkeypatch.chdir(checkout(tmp_path / "mine", change))
    finding = run(machine, other)
    assert (finding.verdict, finding.minority) == ("desync", ("log",))
    assert (finding.good_index, finding.first_bad_index) == (128, 192)


def test_without_recorded_roots_the_two_are_compared(here: Path, tmp_path: Path) -> None:
    """That is what was asked for; a note says that nothing else was."""
    write_segment(tmp_path / "bare.log", ShopLog(shop_of(here), confirms=False).trade(200).entries)
    finding = run(tmp_path / "bare.log", checkout(tmp_path / "same"))
    assert finding.verdict == "agree"
    assert "no root was recorded" in finding.notes[0]
    other = checkout(tmp_path / "other", ("self.total -= count", "self.total -= count + (left == 73)"))
    finding = run(tmp_path / "bare.log", other)
    assert (finding.verdict, finding.minority) == ("desync", ())


def test_state_outside_of_containers_is_found_in_its_own_history(machine: Path, tmp_path: Path) -> None:
    """Going back cannot bring it back: both sides begin anew, and the same command is found."""
    other = checkout(
        tmp_path / "other",
        ("self.sold.push(count)", "self.helper.seen += 1; self.sold.push(count + (self.helper.seen == 19))"),
    )
    finding = run(machine, other)
    assert (finding.verdict, finding.first_bad_index) == ("desync", SELL_AT)
    assert [path.path for path in finding.paths] == ["sold/18"]
    assert any("outside of the declared containers" in note for note in finding.notes)


def test_a_side_that_cannot_apply_an_entry(machine: Path, tmp_path: Path) -> None:
    """The entry and the reason are named, and which side it was."""
    other = checkout(tmp_path / "other", ("self.sold.push(count)", "self.sold.push(count if left != 73 else exit(4))"))
    finding = run(machine, other)
    assert (finding.verdict, finding.first_bad_index) == ("desync", SELL_AT)
    assert finding.command is not None
    assert finding.command["name"] == "sell"
    assert any(f"entry {SELL_AT} cannot be applied: SystemExit: 4" in note for note in finding.notes)


def test_handlers_may_print(machine: Path, tmp_path: Path) -> None:
    """On whatever descriptor, when imported and when run: frames are not broken by it."""
    noise = "import os, sys; print('x' * 5000); os.write(1, b'y' * 5000); sys.stdin.read()"
    other = checkout(
        tmp_path / "other",
        ("import time\n", f"import time\n{noise}\n"),
        ("self.sold.push(count)", "print('z' * 2000); self.sold.push(count)"),
    )
    assert run(machine, other).verdict == "agree"


def test_a_child_that_dies_is_one_line(machine: Path, tmp_path: Path) -> None:
    """Its code, how far it had come, and its last words."""
    other = checkout(
        tmp_path / "other",
        ("self.sold.push(count)", "import os, sys; print('last words', file=sys.stderr, flush=True); os._exit(9)"),
    )
    with pytest.raises(WorkerDied, match=r"other: the process ended with code 9.*: last words$"):
        run(machine, other)


def test_a_child_that_hangs_is_one_line(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed after some silence."""
    monkeypatch.setattr(rsm.desync.gate, "Worker", functools.partial(Worker, silence_seconds_max=4.0))
    other = checkout(tmp_path / "other", ("self.sold.push(count)", "time.sleep(600)"))
    with pytest.raises(WorkerHung, match="other: said nothing for 4 seconds"):
        run(machine, other)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ValueError('as it is')\n", "cannot import shop: ValueError: as it is"),
        ("import nothing_of_this_name\n", "No module named 'nothing_of_this_name'"),
        ("raise SystemExit(3)\n", "cannot import shop: SystemExit: 3"),
        ("Shop = 7\n", "Shop is not a machine"),
        ("", "module shop has no Shop"),
        ("import os\nos._exit(7)\n", "the process ended with code 7"),
    ],
    ids=["raises", "imports", "exits", "no machine", "no class", "dies"],
)
def test_code_that_cannot_be_loaded(text: str, reason: str, machine: Path, tmp_path: Path) -> None:
    """Each is one line that says why; nothing was checked."""
    with pytest.raises((Unreplayable, WorkerDied)) as caught:
        run(machine, checkout(tmp_path / "other", text=text))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_without_the_module_is_not_compared_with_itself(machine: Path, tmp_path: Path) -> None:
    """Where the module would come from elsewhere, or from nowhere, that is said."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unreplayable, match="No module named 'shop'"):
        run(machine, tmp_path / "empty")
    with pytest.raises(Unreplayable, match="neither a directory with code"):
        run(machine, tmp_path / "nothing")


def test_a_module_from_elsewhere_is_refused(
    machine: Path, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as from PYTHONPATH."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(here))))
    with pytest.raises(Unreplayable, match="has no shop: it would come from"):
        run(machine, tmp_path / "empty")


def test_another_version_is_another_machine(machine: Path, tmp_path: Path) -> None:
    """Roots of unequal versions are not compared."""
    other = checkout(tmp_path / "other", ('name="shop", version=1', 'name="shop", version=2'))
    with pytest.raises(WrongMachine, match="version 1 of 'shop', this release has 2"):
        run(machine, other)


def test_the_log_of_another_machine(tmp_path: Path) -> None:
    """Neither side can say anything of it."""
    bank = Log(Bank)
    bank.send(bank.open(), "deposit", "ann", 1)
    write_segment(tmp_path / "bank.log", bank.entries)
    with pytest.raises(WrongMachine, match="belongs to machine 'bank'"):
        run(tmp_path / "bank.log", checkout(tmp_path / "other"))


def test_damage_comes_through(machine: Path, tmp_path: Path) -> None:
    """A damaged log is an error with file and offset, as without a child."""
    data = bytearray(next((machine / "log").iterdir()).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.log").write_bytes(bytes(data))
    with pytest.raises((CorruptFile, rsm.BadBytes), match=r"damaged\.log: offset \d+"):
        run(tmp_path / "damaged.log", checkout(tmp_path / "other"))


def make_environment(path: Path, *, with_rsm: bool) -> Path:
    """A virtual environment; with rsm it has what this one has."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True, timeout=120)
    if with_rsm:
        packages = next((path / "lib").glob("python3.*")) / "site-packages"
        known = [str(ROOT), *(one for one in sys.path if one.endswith("site-packages"))]
        (packages / "known.pth").write_text("\n".join(known) + "\n", encoding="utf-8")
    return path


def test_a_virtual_environment(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python runs the machine of the working directory, or one that is installed there."""
    monkeypatch.delenv("PYTHONPATH")
    environment = make_environment(tmp_path / "venv", with_rsm=True)
    assert run(machine, environment).verdict == "agree"
    assert run(machine, environment / "bin" / "python").verdict == "agree"
    packages = next((environment / "lib").glob("python3.*")) / "site-packages"
    checkout(packages, ("self.total -= count", "self.total -= count + (left == 73)"))
    finding = run(machine, environment)
    assert (finding.verdict, finding.first_bad_index) == ("desync", SELL_AT)
    assert finding.blame[1].file == str(packages / "shop.py")


def test_a_virtual_environment_without_rsm(machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says so."""
    monkeypatch.delenv("PYTHONPATH")
    environment = make_environment(tmp_path / "venv", with_rsm=False)
    with pytest.raises(Unreplayable, match=r"venv: has no rsm that can replay: .*No module named 'rsm'"):
        run(machine, environment)
