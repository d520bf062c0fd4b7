"""`rsm snapshot restore --new-cluster`: what one node has becomes a new cluster, and it is told how much that is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rsm
from rsm.codec.record import RecordKind
from rsm.node.storage.directory import read_identity
from rsm.node.storage.scan import scan
from rsm.raft.configuration import Member, decode_configuration
from tests.unit.cli.nodes import Stall
from tests.unit.cli.samples import DISK, run, sample_entries, segments, write_log

MEMBERS = ("--new-cluster", "--member", 2, "127.0.0.1:3", "127.0.0.1:4", "--member", 1, "127.0.0.1:1", "127.0.0.1:2")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine's directory with a snapshot, and entries behind it."""
    monkeypatch.chdir(tmp_path)
    with rsm.open(Stall, "data", durability="os") as client:
        client.order("tea", 5, b"x")
        client.snapshot()
        client.order("tea", 2, b"y")
    return tmp_path / "data"


def last_entries(path: str | Path, number: int = 1) -> list[object]:
    return [scanned.entry for scanned in scan(DISK, str(path))][-number:]


def test_a_node_becomes_a_cluster(source: Path) -> None:
    """Snapshot and log are kept to the last entry, a configuration of the new members follows, under a new id."""
    end = json.loads(run("log", "info", source, "--json").out)
    ran = run("snapshot", "restore", source, "new", *MEMBERS, "--json")
    assert ran.code == 0
    document = json.loads(ran.out)
    assert document["last_index"] == end["last_index"]
    assert 0 < document["snapshot_index"] < document["last_index"]
    assert (document["machine"], document["members"]) == ("stall", [1, 2])
    identity = read_identity(DISK, "new")
    assert identity.cluster_id.hex() == document["cluster_id"] != end["cluster_id"]
    (entry,) = [scanned.entry for scanned in scan(DISK, "new")][-1:]
    assert (entry.index, entry.kind) == (document["last_index"] + 1, RecordKind.CONFIGURATION)
    assert decode_configuration(entry.payload).members == (
        Member(1, "127.0.0.1:1", "127.0.0.1:2"),
        Member(2, "127.0.0.1:3", "127.0.0.1:4"),
    )
    assert run("log", "verify", "new").code == 0


def test_it_is_said_what_was_kept(source: Path) -> None:
    """The lines for people name the last index, the members, and that the directory must be copied."""
    ran = run("snapshot", "restore", source, "new", *MEMBERS)
    lines = ran.out.splitlines()
    assert lines[0].startswith("new: stall, cluster ")
    assert lines[1].startswith("kept: everything up to index ")
    assert lines[1].endswith("; what came later is lost")
    assert lines[2] == "members: 1, 2; copy new to each of them before they start"


def test_from_a_snapshot_alone(source: Path) -> None:
    """A snapshot file gives a log that holds the configuration only."""
    file = next((source / "snapshots").glob("*.snapshot"))
    document = json.loads(run("snapshot", "restore", file, "new", *MEMBERS, "--json").out)
    assert document["last_index"] == document["snapshot_index"]
    assert len([*scan(DISK, "new")]) == 1
    assert run("log", "verify", "new").code == 0


def test_from_a_log_without_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that begins at 1 needs no snapshot; a torn tail is cut and told."""
    monkeypatch.chdir(tmp_path)
    log = write_log(tmp_path / "shop", sample_entries())
    segment = segments(log)[0]
    segment.write_bytes(segment.read_bytes()[:-9])
    document = json.loads(run("snapshot", "restore", log, "new", *MEMBERS, "--json").out)
    assert (document["snapshot_index"], document["last_index"]) == (0, 7)
    assert document["torn"]["file"] == str(segment)
    assert [scanned.entry for scanned in scan(DISK, "new")][:7] == sample_entries()[:7]


def test_damage_restores_nothing(source: Path) -> None:
    """A flipped bit in the log behind the snapshot, or in the only snapshot, is exit code 1 and no directory."""
    log = segments(source)[-1]
    snapshot = next((source / "snapshots").glob("*.snapshot"))
    for path in (log, snapshot):
        whole = path.read_bytes()
        data = bytearray(whole)
        data[len(data) - 70 if path == log else 200] ^= 1
        path.write_bytes(data)
        if path == snapshot:
            assert run("snapshot", "restore", path, "new", *MEMBERS).code == 1
        else:
            assert run("snapshot", "restore", source, "new", *MEMBERS).code == 1
        assert not Path("new").exists()
        assert sorted(entry.name for entry in Path().iterdir()) == ["data"]
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--member", 1, "127.0.0.1:1", "127.0.0.1:2"], "--member goes with --new-cluster"),
        (["--new-cluster", "--member", 1, "nowhere", "127.0.0.1:2"], "'nowhere' is not an address"),
        ([*MEMBERS, "--member", 1, "127.0.0.1:1", "127.0.0.1:2"], "two members have the same ID"),
        ([*MEMBERS, "--machine", "x:Y"], "--machine does not go with --member"),
    ],
)
def test_wrong_usage(source: Path, arguments: list[object], words: str) -> None:
    """Members that cannot be are refused before anything is made."""
    if "--machine" in arguments:
        (source.parent / "x.py").write_text("import tests.unit.cli.nodes\nY = tests.unit.cli.nodes.Stall\n")
    ran = run("snapshot", "restore", source, "new", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert not Path("new").exists()


def test_a_target_that_is_taken(source: Path) -> None:
    """A directory with something in it stays as it is."""
    Path("new").mkdir()
    Path("new", "mine").write_text("")
    assert run("snapshot", "restore", source, "new", *MEMBERS).code == 2
    assert [path.name for path in Path("new").iterdir()] == ["mine"]
    assert run("snapshot", "restore", "nothing", "other", *MEMBERS).code == 2
