"""`rsm schema usage` on directories, exports, snapshots and a node; what cannot be looked at makes nothing dead."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path

import pytest

import rsm
from rsm.codec.chain import ZERO_CHAIN
from tests.machines import Log
from tests.unit.cli.nodes import Nodes, Stall
from tests.unit.cli.samples import DISK, run, sample_entries, segments, write_log
from tests.unit.cli.test_export_from_node import HEAD
from tests.unit.schemas.shops import SHOP

MODULE = "used_shop"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the machine's module in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    (tmp_path / f"{MODULE}.py").write_text(SHOP, encoding="utf-8")
    return tmp_path


def grown() -> None:
    """A directory that began under the first release and was opened with the second."""
    module = importlib.import_module(MODULE)
    with rsm.open(module.ShopV1, "data") as client:
        client.put("tea", 5)
    with rsm.open(module.Shop, "data") as client:
        client.sell("tea")
        client.snapshot()


def test_a_directory_says_what_occurs_and_what_is_dead() -> None:
    """The log, its snapshot and its sessions together; --json is one document."""
    grown()
    ran = run("schema", "usage", "data", "--machine", f"{MODULE}:Shop")
    assert ran.code == 0, ran
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert any(line.startswith("put v1 1 data: ") and "under version 1" in line for line in lines)
    assert any(line.startswith("put v1 to v2 dead may be deleted") for line in lines)
    assert any(line.startswith("swap v1 to v2 dead may be deleted") for line in lines)
    assert any(line.startswith("machine version 1 needed data: entries 1 to ") for line in lines)
    document = json.loads(run("schema", "usage", "data", "--machine", f"{MODULE}:Shop", "--json").out)
    assert document["unchecked"] == []
    assert {one["command"]: one["verdict"] for one in document["upcasters"]} == {"put": "dead", "swap": "dead"}
    assert document["classes"][0]["verdict"] == "needed"
    assert {(one["name"], one["version"]) for one in document["commands"]} == {("put", 1), ("sell", 1)}
    assert {one["kind"] for one in document["machine_versions"]} == {"log", "snapshot"}


def test_files_are_looked_at_without_their_code() -> None:
    """A piece of a log, and a snapshot by itself; no verdicts where no class is named."""
    grown()
    assert run("log", "export", "data", "piece.log").code == 0
    snapshot = next(Path("data/snapshots").glob("*.snapshot"))
    ran = run("schema", "usage", "piece.log", snapshot, "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert document["sources"] == ["piece.log", str(snapshot)]
    assert [one["name"] for one in document["timers"]] in ([], ["put"])
    assert (document["upcasters"], document["classes"]) == ([], [])


def test_damage_is_a_finding_and_makes_nothing_dead() -> None:
    """A flipped bit in the log or the snapshot: exit code 1, the place, and no verdict `dead`."""
    grown()
    snapshot = next(Path("data/snapshots").glob("*.snapshot"))
    for path, middle in ((segments(Path("data"))[0], 300), (snapshot, 200)):
        kept = path.read_bytes()
        path.write_bytes(kept[:middle] + bytes((kept[middle] ^ 1,)) + kept[middle + 1 :])
        ran = run("schema", "usage", "data", "--machine", f"{MODULE}:Shop")
        assert ran.code == 1
        assert f"unchecked: {path}: offset " in ran.out
        assert "dead" not in ran.out
        path.write_bytes(kept)


def test_a_torn_tail_is_unchecked() -> None:
    """What was cut off may have held anything."""
    log = write_log(Path("shop"), sample_entries())
    piece = Path("piece.log")
    shutil.copy(segments(log)[0], piece)
    size = next(at for at in range(piece.stat().st_size, 0, -1) if piece.read_bytes()[at - 1])
    piece.write_bytes(piece.read_bytes()[: size - 10])
    ran = run("schema", "usage", piece, "--json")
    document = json.loads(ran.out)
    assert ran.code == 3
    assert "a torn tail of " in document["unchecked"][0]


def test_another_machine_is_told() -> None:
    """A log of another machine than the class's proves nothing about it."""
    grown()
    log = write_log(Path("stall"), sample_entries(), machine="stall")
    text = Path(f"{MODULE}.py").read_text().replace('name="shop"', 'name="store"')
    Path("used_store.py").write_text(text)
    ran = run("schema", "usage", log, "--machine", "used_store:Shop")
    assert ran.code == 3
    assert "unchecked: stall: belongs to machine 'shop', not to 'store'" in ran.out


def test_what_is_no_source_is_refused() -> None:
    """A file of something else, a directory without a log, a path that is not there."""
    Path("notes.txt").write_text("hello, this is not a log at all")
    Path("empty").mkdir()
    for path in ("notes.txt", "empty", "missing"):
        ran = run("schema", "usage", path)
        assert (ran.code, ran.out) == (2, "")
        assert path in ran.err


def test_a_node_is_asked() -> None:
    """Its log, its timers and sessions; fellow members that were not named, and a node that is away, are reasons."""
    log = Log(Stall)
    ann = log.open("ann", 60)
    log.run(ann, "order", "tea", 1)
    log.run(ann, "order", "tea", 1, b"", version=2)
    rows = [[entry.index, entry.term, int(entry.kind), entry.payload, ZERO_CHAIN] for entry in log.entries]
    with Nodes(2) as nodes:
        nodes.exports = [(HEAD, rows[:3]), (None, rows[3:])]
        one, other = nodes.addresses
        ran = run("schema", "usage", one, "--json")
        document = json.loads(ran.out)
        assert ran.code == 3
        assert document["unchecked"] == [f"{one}: node 2 ({other}) was not looked at"]
        assert {(row["name"], row["version"]) for row in document["commands"]} == {("order", 1), ("order", 2)}
        assert run("schema", "usage", one, other).code == 0
        nodes.nodes[0].fields = {"timers": 3, "first_index": 1}
        nodes.exports = [(HEAD, rows[2:])]
        assert "3 timers wait there, some perhaps from before index 3" in run("schema", "usage", one, other).out
    ran = run("schema", "usage", one)
    assert ran.code == 3
    assert f"unchecked: {one}: cannot be reached" in ran.out


def test_a_running_directory_is_read() -> None:
    """While its owner writes; sessions that live for as long as the process are alive."""
    module = importlib.import_module(MODULE)
    with rsm.open(module.Shop, "data") as client:
        client.put("tea", 5, module.Kind.NEW)
        assert DISK.is_locked("data/lock")
        document = json.loads(run("schema", "usage", "data", "--machine", f"{MODULE}:Shop", "--json").out)
    assert document["live_sessions"] == 1
    assert {one["verdict"] for one in document["upcasters"]} == {"dead"}
