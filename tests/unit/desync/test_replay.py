"""A replay in this process: recorded roots of every kind are compared, and what could not be compared is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsm.desync.finding import Finding
from rsm.desync.recording import Recording
from rsm.desync.single import replay
from rsm.errors import CorruptFile, StorageError
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.root_book import RootBook
from rsm.node.storage.scan import export
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts
from tests.machines import Bank, Log
from tests.replay_stage import ShopLog, chain_at, checkout, shop_of, write_machine, write_segment

WRONG_TOTAL = ("self.total -= count", "self.total -= count + (left == 73)")


def run(path: Path, machine: Any, **options: Any) -> Finding:
    """Replay what lies at a path."""
    return replay(Recording(OsDisk(), str(path)), machine, **options)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The class that wrote the logs."""
    return shop_of(checkout(tmp_path_factory.mktemp("healthy")))


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A class that counts one too many, once."""
    return shop_of(checkout(tmp_path_factory.mktemp("wrong"), WRONG_TOTAL))


@pytest.fixture(scope="module")
def log(healthy: Any) -> ShopLog:
    """Some three hundred entries."""
    return ShopLog(healthy).trade(300)


@pytest.fixture(scope="module")
def machine(log: ShopLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of its machine, with snapshots at 128 and 256."""
    return write_machine(tmp_path_factory.mktemp("machine") / "data", log, snapshots=(128, 256))


def test_the_same_code_agrees(machine: Path, log: ShopLog, healthy: Any) -> None:
    """From the beginning, to the last root that was recorded."""
    finding = run(machine, healthy)
    assert finding.verdict == "agree", finding
    assert finding.checked_to_index == 256
    assert (finding.replayed_from, finding.unchecked) == (0, ())
    assert finding.replayed_commands == len(log.entries)


@pytest.mark.parametrize(("start", "begins"), [(128, 128), ("newest", 256), (0, 0), (None, 0)])
def test_a_replay_begins_where_it_is_told(machine: Path, healthy: Any, start: Any, begins: int) -> None:
    """At a snapshot by its index, at the newest, at the beginning."""
    finding = run(machine, healthy, start=start)
    assert finding.replayed_from == begins
    # Behind the newest snapshot no further root was recorded.
    assert finding.verdict == ("unchecked" if begins == 256 else "agree")


def test_other_code_is_found(machine: Path, wrong: Any) -> None:
    """The first root that differs, the last that agreed, and the commands between."""
    finding = run(machine, wrong)
    assert (finding.verdict, finding.kind, finding.minority) == ("desync", "apply", ("replay",))
    assert finding.first_bad_index is not None
    assert finding.good_index is not None
    assert finding.first_bad_index - finding.good_index == 64
    assert {command["name"] for command in finding.commands} <= {"add", "sell", "label"}
    sold = [command for command in finding.commands if command["name"] == "sell"]
    assert all(finding.good_index < command["index"] <= finding.first_bad_index for command in sold)
    assert finding.checked_to_index == finding.good_index
    assert finding.bundle is None


@pytest.mark.parametrize("piece", ["log", "export"])
def test_a_log_without_its_directory(piece: str, machine: Path, healthy: Any, wrong: Any, tmp_path: Path) -> None:
    """The log directory itself, and a file that was exported: the roots in the log are compared."""
    path = machine / "log"
    if piece == "export":
        path = tmp_path / "piece.log"
        export(OsDisk(), str(machine), str(path))
    assert run(path, healthy).verdict == "agree"
    assert run(path, wrong).verdict == "desync"


def test_a_log_that_begins_later_needs_a_snapshot(log: ShopLog, healthy: Any, wrong: Any, tmp_path: Path) -> None:
    """With one it is replayed from there; without one nothing can be said, which is no agreement."""
    with_one = write_machine(tmp_path / "with", log, snapshots=(128,), first=100)
    assert run(with_one, healthy).replayed_from == 128
    assert run(with_one, healthy).verdict == "agree"
    write_segment(tmp_path / "piece.log", log.entries[99:], 100, (1, bytes(16)))
    finding = run(tmp_path / "piece.log", healthy)
    assert finding.verdict == "unchecked"
    assert "begins at 100" in finding.unchecked[0]
    finding = run(with_one, wrong, start=0)
    assert finding.verdict == "unchecked"
    assert "snapshots at 128" in finding.unchecked[0]


def test_without_recorded_roots_nothing_is_claimed(healthy: Any, tmp_path: Path) -> None:
    """All entries could be applied: that is no proof."""
    bare = ShopLog(healthy, confirms=False).trade(100)
    write_segment(tmp_path / "bare.log", bare.entries)
    finding = run(tmp_path / "bare.log", healthy)
    assert finding.verdict == "unchecked"
    assert "no root was recorded" in finding.unchecked[0]


def test_roots_that_end_early_are_said(healthy: Any, tmp_path: Path) -> None:
    """A log that goes on for long after its last recorded root is not checked to its end."""
    log = ShopLog(healthy).trade(70)
    log.confirms = False
    log.trade(300)
    write_segment(tmp_path / "early.log", log.entries)
    finding = run(tmp_path / "early.log", healthy)
    assert (finding.verdict, finding.checked_to_index) == ("unchecked", 64)
    assert "after index 64" in finding.unchecked[0]


def test_a_snapshot_that_is_not_what_the_log_gives(log: ShopLog, healthy: Any, wrong: Any, tmp_path: Path) -> None:
    """Log and code agree, the snapshot that other code took does not: it is named as the odd one."""
    path = write_machine(tmp_path / "data", log)
    replica = Replica(wrong)
    replica.is_lone = False
    for entry in log.entries[:256]:
        replica.apply(entry)
    with SnapshotFiles(OsDisk(), str(path / "snapshots")).begin(256, 1) as writer:
        for kind, payload in parts(replica, chain_at(log.entries, 256)):
            writer.add(kind, payload)
        writer.commit()
    finding = run(path, healthy)
    assert (finding.verdict, finding.kind) == ("desync", "snapshot")
    assert finding.first_bad_index == 192  # the manifest carries the roots before it too
    assert "the snapshot of index 256" in finding.notes[0]


def test_a_log_of_another_machine(healthy: Any, tmp_path: Path) -> None:
    """It says nothing about this one."""
    bank = Log(Bank)
    bank.send(bank.open(), "deposit", "ann", 1)
    write_segment(tmp_path / "bank.log", bank.entries)
    finding = run(tmp_path / "bank.log", healthy)
    assert finding.verdict == "unchecked"
    assert "belongs to machine 'bank'" in finding.unchecked[0]


def test_a_cut_log_is_replayed_as_far_as_it_goes(machine: Path, healthy: Any, tmp_path: Path) -> None:
    """A torn tail is a reason, and with a reason the verdict is not `agree`."""
    whole = next((machine / "log").iterdir()).read_bytes()
    (tmp_path / "cut.log").write_bytes(whole[:-20])
    finding = run(tmp_path / "cut.log", healthy)
    assert finding.verdict == "unchecked"
    assert "torn tail" in finding.unchecked[0]
    assert finding.checked_to_index == 256


def test_damage_is_named(machine: Path, healthy: Any, tmp_path: Path) -> None:
    """A damaged log is an error with file and offset; no log is one too."""
    data = bytearray(next((machine / "log").iterdir()).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.log").write_bytes(bytes(data))
    with pytest.raises(CorruptFile, match=r"damaged\.log: offset \d+"):
        run(tmp_path / "damaged.log", healthy)
    with pytest.raises(StorageError):
        run(tmp_path / "nothing", healthy)


def test_the_directory_of_a_node_that_differed(log: ShopLog, healthy: Any, wrong: Any, tmp_path: Path) -> None:
    """Its log has the quorum's root and its book its own: replayed by the quorum's code, it is the book that differs,
    and the bundle expects the quorum's root.
    """
    path = write_machine(tmp_path / "data", log)
    replica = Replica(wrong)
    replica.is_lone = False
    book = RootBook(OsDisk(), str(path))
    for entry in log.entries:
        applied = replica.apply(entry)
        if applied.root is not None:
            book.note(entry.index, applied.root)
    book.close()
    finding = run(path, healthy, bundle=lambda _: str(tmp_path / "bundle"))
    assert (finding.verdict, finding.kind, finding.minority) == ("desync", "apply", ("the book of roots",))
    assert "a quorum had the root of this code" in " ".join(finding.notes)
    assert run(tmp_path / "bundle", healthy).verdict == "agree"
    assert run(tmp_path / "bundle", wrong).verdict == "desync"
    assert run(path, wrong).minority == ("replay",)


def test_a_corrupt_snapshot_is_passed_over_and_said(log: ShopLog, healthy: Any, tmp_path: Path) -> None:
    """The next one is taken; asked for by its index, it is an error."""
    path = write_machine(tmp_path / "data", log, snapshots=(128, 192), first=100)
    broken = path / "snapshots" / f"{128:020d}.snapshot"
    data = bytearray(broken.read_bytes())
    data[-30] ^= 1
    broken.write_bytes(bytes(data))
    finding = run(path, healthy)
    assert (finding.replayed_from, finding.verdict) == (192, "unchecked")
    assert any(f"{128:020d}.snapshot: offset" in reason for reason in finding.unchecked)
    with pytest.raises(CorruptFile):
        run(path, healthy, start=128)


@pytest.mark.parametrize("error", ["SystemExit(3)", "MemoryError()", "RecursionError('deep')"])
def test_code_that_cannot_apply_an_entry(error: str, machine: Path, tmp_path: Path) -> None:
    """What stops a node is a difference: the log goes on behind it. One line says which entry."""
    planted = shop_of(checkout(tmp_path / "raises", ("self.sold.push(count)", f"raise {error}")))
    finding = run(machine, planted)
    assert (finding.verdict, finding.kind) == ("desync", "apply")
    assert finding.first_bad_index == finding.commands[0]["index"]
    assert finding.commands[0]["name"] == "sell"
    assert f"entry {finding.first_bad_index} cannot be applied" in finding.notes[0]


def test_a_handler_that_changes_values_behind_the_containers_back(machine: Path, tmp_path: Path) -> None:
    """The scrub of a hash point sees it."""
    planted = shop_of(
        checkout(tmp_path / "behind", ("self.sold.push(count)", "self.sold.push(count); dict.pop(self.stock, item)"))
    )
    finding = run(machine, planted)
    assert finding.verdict == "desync"


def test_another_state_under_the_same_version_is_refused(machine: Path, tmp_path: Path) -> None:
    """It would come to other roots by its declaration alone, which says nothing of its handlers."""
    planted = shop_of(checkout(tmp_path / "declared", ("    last: str\n", "    last: str\n    more: int\n")))
    finding = run(machine, planted)
    assert finding.verdict == "unchecked"
    assert "more is new" in finding.unchecked[0]


def test_the_book_of_roots_counts(healthy: Any, wrong: Any, tmp_path: Path) -> None:
    """What a node noted is compared as well, also where the log has no confirmation; both roots of a healed node do."""
    log = ShopLog(healthy, confirms=False).trade(300)
    path = write_machine(tmp_path / "data", log)
    book = RootBook(OsDisk(), str(path))
    for applied in log.applied:
        if applied.root is not None:
            book.note(applied.index, applied.root)
    book.close()
    assert run(path, healthy).verdict == "agree"
    assert run(path, wrong).verdict == "desync"
    book = RootBook(OsDisk(), str(path))
    book.note(128, bytes(16))
    book.close()
    assert run(path, healthy).verdict == "agree"
