"""`rsm snapshot`: every damage is found without the machine's code; save and restore give the same machine again."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import rsm
from rsm.cli.reading import manifest_of
from rsm.codec import cbor
from rsm.codec.record import RecordKind
from rsm.node import embedded
from rsm.node.opening.recovery import recover
from rsm.node.storage.snapshots import SnapshotFiles, read_snapshot
from rsm.replica.snapshot import Manifest, decode_manifest
from tests.unit.cli.samples import DISK, Ran, run, save_machine

MODULE = "snapshot_shop"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with the machine's module in it and a machine `data` that has taken orders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    save_machine(tmp_path, MODULE)
    with rsm.open(shop(), "data") as client:
        for number in range(100):
            client.order(f"item-{number % 37}", number)
    yield tmp_path
    sys.modules.pop(MODULE, None)


def shop() -> Any:
    """The machine's class."""
    return importlib.import_module(MODULE).Shop


def save(*arguments: object) -> Ran:
    return run("snapshot", "save", "data", *arguments, "--machine", f"{MODULE}:Shop")


def records(path: str) -> list[tuple[RecordKind, bytes]]:
    return list(read_snapshot(DISK, path))


def rewrite(directory: Path, kept: list[tuple[RecordKind, bytes]], index: int, term: int) -> Path:
    """A snapshot file whose records are whole, whatever they say."""
    with SnapshotFiles(DISK, str(directory / "forged")).begin(index, term) as writer:
        for kind, payload in kept:
            writer.add(kind, payload)
        return Path(writer.commit())


def test_save_info_verify(directory: Path) -> None:
    """A saved snapshot is a file that says what it holds, and verifies."""
    ran = save("out.snapshot", "--json")
    document = json.loads(ran.out)  # the module and a handler print: none of it here
    assert ran.code == 0
    assert document["file"] == "out.snapshot"
    assert document["bytes"] == (directory / "out.snapshot").stat().st_size
    info = json.loads(run("snapshot", "info", "out.snapshot", "--json").out)["snapshots"][0]
    assert (info["machine"], info["version"], info["index"]) == ("shop", 2, document["index"])
    assert info["state"]["stock"]["kind"] == "map"
    assert info["state"]["waiting"]["kind"] == "table"
    assert 0 < info["state"]["stock"]["buckets_used"] <= 37
    assert info["schema"]["commands"]["order"].keys() == {"1", "2"}
    ran = run("snapshot", "verify", "out.snapshot", "--json")
    report = json.loads(ran.out)
    assert (ran.code, report["ok"]) == (0, True)
    assert report["snapshots"][0]["leaves"]["stock"] == 37
    assert report["snapshots"][0]["leaves"]["waiting"] == 100
    assert report["snapshots"][0]["leaves"]["scalars"] == 1
    assert report["snapshots"][0]["root"] == info["root"]
    for path in ("data", os.path.join("data", "snapshots"), "out.snapshot"):
        assert run("snapshot", "verify", path).code == 0
        assert "shop, version 2" in run("snapshot", "info", path).out
    ran = run("log", "verify", "data", "--json")
    assert (ran.code, len(json.loads(ran.out)["snapshots"])) == (0, 1)


def test_save_without_out_leaves_it_in_place(directory: Path) -> None:
    """Without OUT the snapshot is only taken, and its path told."""
    ran = save()
    assert ran.code == 0
    assert (directory / ran.out.partition(":")[0]).is_file()


def test_save_refuses(directory: Path) -> None:
    """An existing OUT, a directory that is no machine's, one in use, another machine's: named, and nothing is made."""
    (directory / "there").write_text("mine")
    assert save("there").code == 2
    assert (directory / "there").read_text() == "mine"
    ran = run("snapshot", "save", "nothing", "--machine", f"{MODULE}:Shop")
    assert (ran.code, (directory / "nothing").exists()) == (2, False)
    assert "not the directory of a machine" in ran.err
    with rsm.open(shop(), "data"):
        ran = save("out.snapshot")
    assert ran.code == 2
    assert "in use by process" in ran.err
    (directory / "another_shop.py").write_text(
        (directory / f"{MODULE}.py").read_text().replace('name="shop"', 'name="kiosk"')
    )
    ran = run("snapshot", "save", "data", "--machine", "another_shop:Shop")
    assert ran.code == 2
    assert "'shop'" in ran.err
    assert "'kiosk'" in ran.err


def test_restore_gives_the_same_machine(directory: Path) -> None:
    """A restored directory opens with the same state and root, goes on, and has a cluster id of its own."""
    assert save("out.snapshot").code == 0
    ran = run("snapshot", "restore", "out.snapshot", "copy", "--new-cluster", "--machine", f"{MODULE}:Shop", "--json")
    restored = json.loads(ran.out)
    assert ran.code == 0
    saved = json.loads(run("snapshot", "info", "out.snapshot", "--json").out)["snapshots"][0]
    assert (restored["index"], restored["root"]) == (saved["index"], saved["root"])
    ids = [json.loads(run("log", "info", path, "--json").out)["cluster_id"] for path in ("data", "copy")]
    assert ids[1] == restored["cluster_id"] != ids[0]
    assert run("log", "verify", "copy").code == 0
    with rsm.open(shop(), "data") as old, rsm.open(shop(), "copy") as new:
        assert [new.left(f"item-{number}") for number in range(37)] == [
            old.left(f"item-{number}") for number in range(37)
        ]
        new.order("item-1", 1)
        assert new.left("item-1") == old.left("item-1") - 1
    info = json.loads(run("log", "info", "copy", "--json").out)
    assert info["first_index"] == saved["index"] + 1
    assert run("log", "verify", "copy").code == 0
    (line,) = run("log", "cat", "copy", "--where", "item=item-1", "--json").out.splitlines()
    assert json.loads(line)["values"]["quantity"] == 1


def test_a_log_that_begins_after_a_snapshot(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that dropped the log before its snapshots is fine: read, verified, saved, restored, and going on."""
    monkeypatch.setattr(embedded, "SEGMENT_BYTES_MIN", 0)
    monkeypatch.setattr(embedded, "SEGMENT_BYTES", 4096)
    with rsm.open(shop(), "data", durability="os", snapshot_log_bytes=10_000) as client:
        for number in range(400):
            client.order(f"item-{number % 37}", 1)
    info = json.loads(run("log", "info", "data", "--json").out)
    assert info["first_index"] > 1
    assert (info["machine"], info["machine_version"]) == ("shop", 2)
    assert run("log", "cat", "data").out.splitlines()[-1].endswith("session=2 sequence=400")
    assert run("log", "cat", "data", "--where", "item=item-3").code == 0
    assert json.loads(run("schema", "show", "data", "--json").out)["commands"]["order"].keys() == {"1", "2"}
    for _ in range(2):
        report = json.loads(run("log", "verify", "data", "--json").out)
        assert (report["findings"], report["unchecked"], len(report["snapshots"])) == ([], [], 2)
        assert report["log"]["first_index"] <= report["snapshots"][0]["index"] + 1
        ran = save("--json")
        assert ran.code == 0
    saved = json.loads(ran.out)
    assert run("snapshot", "restore", saved["file"], "copy").code == 0
    manifest = manifest_of(saved["file"])
    recovered = recover(shop(), "copy", DISK)
    assert (recovered.replica.index, recovered.replica.root()) == (manifest.index, manifest.root)
    assert recovered.journal.first_index == manifest.index + 1
    assert recovered.term > manifest.term
    recovered.journal.close()
    recovered.directory.close()
    for stock in (11, 12):
        with rsm.open(shop(), "copy", durability="os", snapshot_log_bytes=10_000) as client:
            before = client.left("item-0")
            client.order("item-0", 1)
            assert client.left("item-0") == before - 1
            for _ in range(200):
                client.order("item-1", stock)
    assert run("log", "verify", "copy").code == 0
    assert json.loads(run("log", "info", "copy", "--json").out)["first_index"] > manifest.index + 1


def test_restore_refuses(directory: Path) -> None:
    """A directory with something in it, a file, a missing parent and an unfit class change nothing."""
    assert save("out.snapshot").code == 0
    (directory / "full").mkdir()
    (directory / "full" / "mine").write_text("")
    for target in ("full", "data", "out.snapshot", "none/copy"):
        ran = run("snapshot", "restore", "out.snapshot", target)
        assert ran.code == 2, target
        assert len(ran.err.splitlines()) == 1
    (directory / "other_shop.py").write_text((directory / f"{MODULE}.py").read_text().replace("version=2", "version=3"))
    assert run("snapshot", "restore", "out.snapshot", "copy", "--machine", "other_shop:Shop").code == 2
    assert sorted(path.name for path in (directory / "full").iterdir()) == ["mine"]
    assert not (directory / "copy").exists()
    (directory / "empty").mkdir()
    assert run("snapshot", "restore", "out.snapshot", "empty").code == 0


def test_every_flipped_byte_is_found(directory: Path) -> None:
    """A changed byte anywhere in the file gives exit code 1 in verify, and a restore that leaves nothing behind."""
    assert save("out.snapshot").code == 0
    whole = (directory / "out.snapshot").read_bytes()
    before = sorted(path.name for path in directory.iterdir())
    for position in [*range(8), *range(8, len(whole), 97), len(whole) - 1]:
        data = bytearray(whole)
        data[position] ^= 0x10
        (directory / "out.snapshot").write_bytes(data)
        ran = run("snapshot", "verify", "out.snapshot")
        assert ran.code == 1, position
        assert "out.snapshot: offset " in ran.out
        ran = run("snapshot", "restore", "out.snapshot", "copy")
        assert ran.code == 1, position
        assert len(ran.err.splitlines()) == 1
        assert sorted(path.name for path in directory.iterdir()) == before
    for length in (len(whole) - 1, len(whole) // 2, 70, 20):
        (directory / "out.snapshot").write_bytes(whole[:length])
        assert run("snapshot", "verify", "out.snapshot").code == 1, length
    (directory / "out.snapshot").write_bytes(whole + b"\0")
    assert run("snapshot", "verify", "out.snapshot").code == 1


def forged(manifest: Manifest, kept: list[tuple[RecordKind, bytes]]) -> list[tuple[RecordKind, bytes]]:
    return [(RecordKind.MANIFEST, manifest.encode()), *kept[1:]]


def test_contents_that_contradict_the_manifest_are_found(directory: Path) -> None:
    """Whole records around a changed value, a missing chunk, a leaf in the wrong bucket or a false root are found."""
    path = save().out.partition(":")[0]
    kept = records(path)
    manifest = decode_manifest(kept[0][1])
    index, term = manifest.index, manifest.term
    position, (name, buckets) = next(
        (position, chunk)
        for position, (_, payload) in enumerate(kept)
        if position and (chunk := cbor.decode(payload, bytes_max=1 << 24))[0] == "stock"
    )
    decode, encode = msgspec.msgpack.decode, msgspec.msgpack.encode
    (bucket, leaves), rest = buckets[0], buckets[1:]
    changed = [[key, value + 1] for key, value in decode(leaves)]

    def with_chunk(buckets: list[Any]) -> list[tuple[RecordKind, bytes]]:
        chunk = (RecordKind.CHUNK, cbor.encode([name, buckets]))
        return [*kept[:position], chunk, *kept[position + 1 :]]

    cases = {
        "has sum": with_chunk([[bucket, encode(changed)], *rest]),
        "the manifest says": with_chunk(rest),
        "lies in bucket": with_chunk([[(bucket + 1) % 1024, leaves], *rest]),
        "cannot be read": with_chunk([[bucket, b"\xc1"]]),
        "does not list": [*kept, (RecordKind.CHUNK, cbor.encode(["strange", [[0, encode([])]]]))],
        "second MANIFEST": [*kept, kept[0]],
        "have root": forged(manifest._replace(root=bytes(16)), kept),
        "is not that of index": forged(manifest._replace(index=index + 1), kept),
        "manifest cannot be read": forged(manifest._replace(roots=[[1, "x"]]), kept),
        "not well-formed": forged(manifest._replace(state={"stock": ("map", "", b"short")}), kept),
        "begin with its manifest": kept[1:],
    }
    for words, case in cases.items():
        ran = run("snapshot", "verify", rewrite(directory, case, index, term))
        assert ran.code == 1, words
        assert words in ran.out
    assert run("snapshot", "verify", rewrite(directory, kept, index, term)).code == 0


def test_what_cannot_be_checked_says_so(directory: Path) -> None:
    """Sums made by an algorithm of another release are unchecked: exit code 3, never a pass, and no restore."""
    path = save().out.partition(":")[0]
    kept = records(path)
    manifest = decode_manifest(kept[0][1])
    state = {
        name: [kind, schema.replace("xxh3-64", "sha3"), sums] for name, (kind, schema, sums) in manifest.state.items()
    }
    file = rewrite(directory, forged(manifest._replace(state=state), kept), manifest.index, manifest.term)
    ran = run("snapshot", "verify", file, "--json")
    report = json.loads(ran.out)
    assert (ran.code, report["ok"], report["findings"]) == (3, False, [])
    assert report["unchecked"] != []
    assert run("snapshot", "restore", file, "copy").code == 3
    assert not (directory / "copy").exists()


def test_a_snapshot_of_another_log_is_found(directory: Path) -> None:
    """A snapshot whose chain is not the log's at its index does not belong there."""
    path = save().out.partition(":")[0]
    kept = records(path)
    manifest = decode_manifest(kept[0][1])
    with SnapshotFiles(DISK, os.path.join("data", "snapshots")).begin(manifest.index, manifest.term) as writer:
        for kind, payload in forged(manifest._replace(chain=bytes(16)), kept):
            writer.add(kind, payload)
        writer.commit()
    ran = run("log", "verify", "data")
    assert ran.code == 1
    assert "the log has chain" in ran.out


def test_a_directory_without_snapshots(directory: Path) -> None:
    """No snapshot where one is asked for is unreadable input, not a pass."""
    for command in ("info", "verify"):
        ran = run("snapshot", command, "data")
        assert (ran.code, ran.err) == (2, "rsm: data: there is no snapshot here\n")
