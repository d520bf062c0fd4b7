"""Bundles: what a replay writes of a difference, and what a quarantined node writes, run again in a test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rsm.desync.recording import Recording
from rsm.desync.single import replay
from rsm.errors import CorruptFile, StorageError, UnknownFormat
from rsm.node.storage.bundles import BundleHead, environment, write_bundle
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.scan import scan
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts
from rsm.replica.trace import CommandTrace, TracingReplica
from rsm.testing import load_bundle
from tests.machines import Bank
from tests.replay_stage import ShopLog, chain_at, checkout, shop_of, write_machine

SELL_AT = 141
WRONG_TOTAL = ("self.total -= count", "self.total -= count + (left == 73)")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The class that wrote the log."""
    return shop_of(checkout(tmp_path_factory.mktemp("healthy")))


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A class that differs at one command."""
    return shop_of(checkout(tmp_path_factory.mktemp("wrong"), WRONG_TOTAL))


@pytest.fixture(scope="module")
def log(healthy: Any) -> ShopLog:
    """Some three hundred entries."""
    return ShopLog(healthy).trade(300)


@pytest.fixture
def written(log: ShopLog, wrong: Any, tmp_path: Path) -> Path:
    """The bundle that a replay under the wrong class writes."""
    machine = write_machine(tmp_path / "data", log)
    path = tmp_path / "desync"
    finding = replay(Recording(OsDisk(), str(machine)), wrong, reference="shop:Shop", bundle=lambda _: str(path))
    assert finding.bundle == str(path)
    return path


@pytest.fixture
def evidence(log: ShopLog, wrong: Any, healthy: Any, tmp_path: Path) -> Path:
    """What node 3 would write, which ran the wrong class: a confirmed snapshot, the entries, its own traces."""
    traces: list[CommandTrace] = []
    replica = TracingReplica(wrong, traces.append)
    replica.is_lone = False
    good = Replica(healthy)
    for entry in log.entries[:192]:
        replica.apply(entry)
        if entry.index <= 128:
            good.apply(entry)
    head = BundleHead(
        machine="shop",
        version=1,
        reference="shop:Shop",
        from_index=128,
        to_index=192,
        good_index=128,
        state_index=192,
        expected={192: log.replica.roots[192].hex()},
        found={192: replica.roots[192].hex()},
        node=3,
        environment=environment(),
    )
    path = tmp_path / "evidence"
    snapshot = parts(good, chain_at(log.entries, 128))
    behind = [trace for trace in traces if trace.index > 128]
    state = parts(replica, chain_at(log.entries, 192))
    list(
        write_bundle(
            OsDisk(), str(path), head, snapshot=snapshot, entries=log.entries[128:192], state=state, trace=behind
        )
    )
    return path


def test_a_bundle_is_small_and_says_what_it_holds(written: Path, log: ShopLog) -> None:
    """The state where the roots agreed last, the entries up to where they did not, and both roots."""
    bundle = load_bundle(written)
    assert (bundle.machine, bundle.version) == ("shop", 1)
    assert (bundle.from_index, bundle.good_index, bundle.to_index) == (128, 128, 192)
    assert bundle.expected == {128: log.replica.roots[128], 192: log.replica.roots[192]}
    assert bundle.found.keys() == {192}
    assert bundle.found[192] != bundle.expected[192]
    assert "python" in bundle.environment
    commands = list(bundle.commands())
    assert {"index": SELL_AT, "position": 0, "name": "sell", "version": 1, "values": {"item": "apple", "count": 2}} in (
        commands
    )
    assert sorted(path.name for path in written.iterdir()) == ["batches", "bundle.json", "snapshot"]


def test_a_bundle_tells_whether_the_fault_is_gone(written: Path, healthy: Any, wrong: Any) -> None:
    """That is what it is for."""
    assert load_bundle(written).replay(healthy).verdict == "agree"
    finding = load_bundle(written).replay(wrong)
    assert (finding.verdict, finding.kind, finding.first_bad_index, finding.good_index) == ("desync", "apply", 192, 128)
    assert load_bundle(written).replay(Bank).verdict == "unchecked"


def test_a_difference_before_the_first_root(healthy: Any, log: ShopLog, tmp_path: Path) -> None:
    """Then the bundle begins where the log does and has no snapshot."""
    other = shop_of(checkout(tmp_path / "other", ("self.total += count", "self.total += count + 1")))
    machine = write_machine(tmp_path / "data", log)
    path = tmp_path / "desync"
    replay(Recording(OsDisk(), str(machine)), other, bundle=lambda _: str(path))
    assert (load_bundle(path).from_index, load_bundle(path).to_index) == (0, 64)
    assert load_bundle(path).replay(healthy).verdict == "agree"
    assert load_bundle(path).replay(other).verdict == "desync"


def test_the_evidence_of_a_node_names_the_command(evidence: Path, healthy: Any, wrong: Any) -> None:
    """Its traces against those of the code that replays it: index, command and path."""
    finding = load_bundle(evidence).replay(healthy)
    assert finding.verdict == "agree"
    theirs = finding.evidence
    assert theirs is not None
    assert (theirs.first_bad_index, theirs.first_bad_command, theirs.minority) == (SELL_AT, 0, ("node 3",))
    assert theirs.command == {"name": "sell", "version": 1, "values": {"item": "apple", "count": 2}}
    assert [path.path for path in theirs.paths] == ["scalars/'total'"]
    values = theirs.paths[0].values
    assert values["replay"] == values["node 3"] + 1
    finding = load_bundle(evidence).replay(wrong)
    assert (finding.verdict, finding.evidence) == ("desync", None)
    assert any("did what it did at node 3" in note for note in finding.notes)


def test_a_state_that_no_command_made(evidence: Path, healthy: Any, wrong: Any) -> None:
    """Without traces, and where they tell nothing, the states are compared leaf by leaf."""
    (evidence / "trace").unlink()
    theirs = load_bundle(evidence).replay(healthy).evidence
    assert theirs is not None
    assert (theirs.first_bad_index, theirs.first_bad_command, theirs.minority) == (192, None, ("node 3",))
    assert "scalars/'total'" in [path.path for path in theirs.paths]
    assert load_bundle(evidence).replay(wrong).evidence is None


def test_damage_of_a_bundle_is_named(written: Path, healthy: Any, tmp_path: Path) -> None:
    """Head, entries and snapshot: never an agreement."""
    with pytest.raises(StorageError, match="there is no bundle here"):
        load_bundle(tmp_path / "nothing")
    head = json.loads((written / "bundle.json").read_text(encoding="utf-8"))

    def planted(**changes: Any) -> Path:
        path = tmp_path / "planted"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(written, path)
        (path / "bundle.json").write_text(json.dumps(head | changes), encoding="utf-8")
        return path

    with pytest.raises(UnknownFormat, match="a newer release wrote this"):
        load_bundle(planted(format=2))
    for changes in ({"from_index": 500}, {"expected": {"192": "xy"}}, {"expected": {"192": "ab"}}, {"machine": 7}):
        with pytest.raises(CorruptFile, match=r"bundle\.json: offset 0"):
            load_bundle(planted(**changes))
    path = planted()
    (path / "bundle.json").write_bytes(b"\xff{")
    with pytest.raises(CorruptFile, match="not the head of a bundle"):
        load_bundle(path)
    path = planted()
    data = bytearray((path / "batches").read_bytes())
    data[len(data) // 2] ^= 1
    (path / "batches").write_bytes(bytes(data))
    with pytest.raises(CorruptFile, match="batches: offset"):
        load_bundle(path).replay(healthy)
    (path / "batches").write_bytes(bytes(data[: len(data) // 3]))
    assert load_bundle(path).replay(healthy).verdict == "unchecked"
    path = planted()
    data = bytearray((path / "snapshot").read_bytes())
    data[-10] ^= 1
    (path / "snapshot").write_bytes(bytes(data))
    finding = load_bundle(path).replay(healthy)
    assert finding.verdict == "unchecked"
    assert any("snapshot: offset" in reason for reason in finding.unchecked)


def test_a_bundle_whose_entries_end_early_is_no_agreement(evidence: Path, healthy: Any) -> None:
    """Cut between two entries nothing is damaged, and yet what it expects was not reached."""
    batches = evidence / "batches"
    scanned = list(scan(OsDisk(), str(batches)))
    batches.write_bytes(batches.read_bytes()[: scanned[-20].offset])
    finding = load_bundle(str(evidence)).replay(healthy)
    assert finding.verdict == "unchecked"
    assert "its entries end at index 172" in " ".join(finding.unchecked)
    head = json.loads((evidence / "bundle.json").read_text())
    head["expected"] = {"193": head["expected"]["192"]}
    (evidence / "bundle.json").write_text(json.dumps(head))
    with pytest.raises(CorruptFile, match="expects roots that lie outside"):
        load_bundle(str(evidence))


def test_traces_that_cannot_be_read(evidence: Path, healthy: Any) -> None:
    """Damage in them is an error, as everywhere."""
    data = bytearray((evidence / "trace").read_bytes())
    data[100] ^= 1
    (evidence / "trace").write_bytes(bytes(data))
    with pytest.raises(CorruptFile, match="trace: offset"):
        load_bundle(evidence).replay(healthy)
