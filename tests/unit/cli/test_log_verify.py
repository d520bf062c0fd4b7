"""`rsm log verify` finds every damage, says where, and finds none where there is none."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from rsm.codec import cbor
from rsm.codec.record import Entry, RecordKind
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.snapshots import SnapshotFiles
from tests.unit.cli.samples import DISK, call, entry, offsets, run, sample_entries, segments, write_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The sample log."""
    return write_log(tmp_path / "shop", sample_entries())


def verify(path: Path) -> tuple[int, dict[str, Any]]:
    """Exit code and document of a `log verify --json`, which must print one document and nothing else."""
    ran = run("log", "verify", path, "--json")
    assert ran.err == ""
    return ran.code, json.loads(ran.out)


def test_a_whole_log_is_fine(log: Path) -> None:
    """Nothing is found in a whole log; the document says what was read."""
    code, document = verify(log)
    assert code == 0
    assert document["ok"] is True
    assert document["findings"] == []
    assert document["log"]["last_index"] == 8
    ran = run("log", "verify", log)
    assert (ran.code, ran.out) == (0, f"{log}: fine: 8 entries (1 to 8) in 1 segment checked\n")


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """One flipped bit anywhere in a segment, its first bytes included, gives exit code 1 and names the record."""
    log = write_log(tmp_path / "shop", [Entry(1, 1, RecordKind.NOOP, b""), entry(2)])
    segment = segments(log)[0]
    whole = segment.read_bytes()
    starts = offsets(segment)
    copy = tmp_path / "piece"
    for position in range(starts[-1]):
        data = bytearray(whole)
        data[position] ^= 1 << (position % 8)
        record = max(start for start in starts[:-1] if start <= position)
        for path in (segment, copy):
            path.write_bytes(data)
        code, document = verify(log)
        assert (code, document["findings"][0]["offset"]) == (1, record), position
        ran = run("log", "verify", copy)
        assert ran.code == 1, (position, ran)
    segment.write_bytes(whole)
    assert verify(log)[0] == 0


def test_every_cut_is_torn_or_a_clean_end(log: Path) -> None:
    """A log cut inside a record is torn there; cut between two records it is a shorter log."""
    segment = segments(log)[0]
    whole = segment.read_bytes()
    starts = offsets(segment)
    for length in range(starts[1], len(whole), 7):
        segment.write_bytes(whole[:length])
        code, document = verify(log)
        if length in starts:
            assert (code, document["findings"]) == (0, [])
            continue
        finding = document["findings"][0]
        start = max(start for start in starts if start < length)
        assert (code, finding["kind"], finding["offset"]) == (1, "torn", start)
        assert document["log"]["last_index"] == starts.index(start) - 1


def test_a_damaged_middle_ends_the_reading_there(log: Path) -> None:
    """Bytes changed in the middle of a log are corrupt, not torn, with file and offset for people too."""
    segment = segments(log)[0]
    place = offsets(segment)[3]
    data = bytearray(segment.read_bytes())
    data[place + 70] ^= 0xFF
    segment.write_bytes(data)
    code, document = verify(log)
    finding = document["findings"][0]
    assert (code, finding["kind"], finding["file"], finding["offset"]) == (1, "corrupt", str(segment), place)
    assert document["log"]["last_index"] == 2
    ran = run("log", "verify", log)
    assert ran.code == 1
    assert f"corrupt: {segment}: offset {place}: " in ran.out
    assert f"{log}: damaged: " in ran.out


def test_a_record_that_is_whole_and_no_batch_is_found(tmp_path: Path) -> None:
    """Checksums and chain can be right around a payload that is no batch."""
    log = write_log(tmp_path / "shop", [entry(1), Entry(2, 1, RecordKind.BATCH, b"\x01")])
    code, document = verify(log)
    assert code == 1
    assert "entry 2: a batch must be an array of five" in document["findings"][0]["what"]


def test_segments_must_follow_each_other(tmp_path: Path) -> None:
    """A segment that is gone, or that belongs to another log, is found at the one after it."""
    entries = [entry(index, call("order", 2, "x" * 900, index)) for index in range(1, 9)]
    log = write_log(tmp_path / "shop", entries, segment_bytes=2500)
    other = write_log(tmp_path / "other", [*entries[:-1], entry(8)], segment_bytes=2500)
    files = segments(log)
    shutil.copyfile(segments(other)[-1], files[-1])
    assert verify(log)[0] == 0  # the same beginning, another end: a log as good as the first
    shutil.copyfile(segments(write_log(tmp_path / "third", [entry(i) for i in range(1, 8)]))[0], files[0])
    code, document = verify(log)
    assert code == 1
    assert document["findings"][0]["file"] == str(files[1])
    files[1].unlink()
    code, document = verify(log)
    assert (code, document["findings"][0]["file"]) == (1, str(files[2]))


def test_the_directory_is_checked_as_a_whole(log: Path, tmp_path: Path) -> None:
    """Identity, term file and the log's owner are looked at too; each damage is named with its file."""
    identity, term = (log / "identity").read_bytes(), (log / "term").read_bytes()
    (log / "identity").write_bytes(identity[:-1] + b"\x00")
    code, document = verify(log)
    assert (code, [finding["file"] for finding in document["findings"]]) == (1, [str(log / "identity")])
    (log / "identity").write_bytes(identity)

    (log / "term").write_bytes(bytes(4096) + term[4096:])
    assert verify(log)[0] == 0  # one slot suffices
    (log / "term").write_bytes(bytes(8192))
    code, document = verify(log)
    assert (code, [finding["file"] for finding in document["findings"]]) == (1, [str(log / "term")])
    (log / "term").unlink()
    assert verify(log)[0] == 1
    (log / "term").write_bytes(term)

    stranger = tmp_path / "stranger"
    MachineDirectory.create(DISK, str(stranger), machine="shop").close()
    (log / "identity").write_bytes((stranger / "identity").read_bytes())
    code, document = verify(log)
    assert code == 1
    assert "belongs to group 0 of cluster" in document["findings"][0]["what"]


def test_a_machine_without_its_log_is_damaged(log: Path) -> None:
    """The log of a machine that has an identity cannot be missing in order."""
    shutil.rmtree(log / "log")
    code, document = verify(log)
    assert (code, document["findings"][0]["file"]) == (1, str(log / "log"))


def test_a_log_that_begins_late_needs_a_snapshot(log: Path) -> None:
    """A log that begins after index 1 with no snapshot to go before it cannot be replayed."""
    piece = log / "piece"
    assert run("log", "export", log, piece, "--from", 3).code == 0
    segments(log)[0].unlink()
    piece.rename(log / "log" / f"{3:020d}.log")
    code, document = verify(log)
    assert code == 1
    assert "no whole snapshot" in document["findings"][0]["what"]
    with SnapshotFiles(DISK, str(log / "snapshots")).begin(2, 1) as writer:
        writer.add(RecordKind.MANIFEST, cbor.encode({"format": 2}))
        writer.commit()
    code, document = verify(log)
    assert (code, document["findings"], len(document["unchecked"])) == (3, [], 1)


def test_a_write_under_way_is_no_damage(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks torn while a process has the log open is looked at again, and read if it is whole by then."""
    segment = segments(log)[0]
    whole = segment.read_bytes()
    segment.write_bytes(whole[: offsets(segment)[6] + 20])
    (log / "lock").write_text(f"{os.getpid()}\n")
    looks = []

    def finish_the_write(_: float) -> None:
        looks.append(1)
        if len(looks) == 2:
            segment.write_bytes(whole)

    monkeypatch.setattr("time.sleep", finish_the_write)
    code, document = verify(log)
    assert (code, document["log"]["last_index"], len(looks)) == (0, 8, 2)
    segment.write_bytes(whole[:-5])
    code, document = verify(log)
    assert (code, document["findings"][0]["kind"]) == (1, "torn")
    (log / "lock").write_text("0\n")
    looks.clear()
    assert verify(log)[0] == 1
    assert looks == []  # nobody has it open, so nothing is waited for
