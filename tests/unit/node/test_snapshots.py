"""Snapshot files are whole or not there, and say so."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rsm.codec.record import RecordKind
from rsm.errors import CallerError, CorruptFile, LimitExceeded, StorageError
from rsm.limits import SNAPSHOT_RECORD_BYTES_MAX
from rsm.node.storage.snapshots import SnapshotFiles, read_snapshot, snapshot_position
from rsm.testing.disk import FaultDisk, PowerCut, Survival

RECORDS = [
    (RecordKind.MANIFEST, b"manifest"),
    (RecordKind.CHUNK, b""),
    (RecordKind.CHUNK, b"bucket" * 500),
    (RecordKind.CHUNK, bytes(range(256))),
]


def write(files: SnapshotFiles, index: int, term: int = 4) -> str:
    with files.begin(index, term) as writer:
        for kind, payload in RECORDS:
            writer.add(kind, payload)
        return writer.commit()


def test_what_was_written_is_read() -> None:
    """In order, by index or from any path, with its position."""
    disk = FaultDisk()
    files = SnapshotFiles(disk, "snapshots", group_id=6)
    assert files.indexes() == []
    path = write(files, 64)
    write(files, 128)
    assert files.indexes() == [64, 128]
    assert list(files.read(64)) == RECORDS
    disk.put("exported", disk.contents(path))
    assert list(read_snapshot(disk, "exported")) == RECORDS
    assert snapshot_position(disk, "exported") == (64, 4, 6)
    assert len(disk.contents(path)) < 1200


def test_only_the_newest_are_kept() -> None:
    """`remove_older` keeps as many as it is told, and never none."""
    files = SnapshotFiles(FaultDisk(), "snapshots")
    for index in (10, 20, 30, 40):
        write(files, index)
    assert files.remove_older(2) == [10, 20]
    assert files.remove_older(2) == []
    assert files.remove_older(0) == [30]
    assert files.indexes() == [40]


def test_an_aborted_snapshot_leaves_nothing() -> None:
    """By name, by an error, and by a crashed process that is cleaned up after at the next opening."""
    disk = FaultDisk()
    files = SnapshotFiles(disk, "snapshots")
    writer = files.begin(7, 1)
    writer.add(*RECORDS[0])
    assert files.indexes() == []
    writer.abort()
    assert disk.paths() == []
    with pytest.raises(CallerError, match="already committed or aborted"):
        writer.add(*RECORDS[0])
    with pytest.raises(ZeroDivisionError), files.begin(7, 1):
        _ = 1 // 0
    assert disk.paths() == []
    files.begin(7, 1)
    assert len(disk.paths()) == 1
    SnapshotFiles(disk, "snapshots")
    assert disk.paths() == []


def test_what_has_no_place_is_refused() -> None:
    """Other kinds, and records above the bound."""
    writer = SnapshotFiles(FaultDisk(), "snapshots").begin(7, 1)
    for kind in (RecordKind.END, RecordKind.BATCH, RecordKind.SEGMENT):
        with pytest.raises(CallerError, match="no place"):
            writer.add(kind, b"")
    with pytest.raises(LimitExceeded):
        writer.add(RecordKind.CHUNK, bytes(SNAPSHOT_RECORD_BYTES_MAX + 1))


def test_every_flipped_bit_and_every_cut() -> None:
    """Each is refused with the file and a place not behind it."""
    disk = FaultDisk()
    path = write(SnapshotFiles(disk, "snapshots"), 64)
    content = disk.contents(path)
    for bit in range(len(content) * 8):
        disk.flip_bit(path, bit)
        with pytest.raises(CorruptFile) as caught:
            list(read_snapshot(disk, path))
        assert caught.value.path == path
        assert caught.value.offset <= bit // 8
        disk.flip_bit(path, bit)
    for length in range(len(content)):
        disk.put("cut", content[:length])
        with pytest.raises(CorruptFile):
            list(read_snapshot(disk, "cut"))
    disk.put("long", content + b"\0")
    with pytest.raises(CorruptFile, match="END"):
        list(read_snapshot(disk, "long"))


def test_missing_doubled_and_swapped_records() -> None:
    """Whole records, each with good checksums, in another order than they were written."""
    disk = FaultDisk()
    path = write(SnapshotFiles(disk, "snapshots"), 64)
    content = disk.contents(path)
    starts = [offset for offset in range(len(content)) if content[offset : offset + 3] == b"rm\x01"]
    parts = [content[start:end] for start, end in pairwise([*starts, len(content)])]
    assert len(parts) == len(RECORDS) + 1
    for position in range(len(parts)):
        for changed in (
            parts[:position] + parts[position + 1 :],
            parts[: position + 1] + parts[position:],
            parts[:position] + parts[position + 1 :] + [parts[position]],
            parts[:position] + parts[position : position + 2][::-1] + parts[position + 2 :],
        ):
            if changed != parts:
                disk.put("changed", b"".join(changed))
                with pytest.raises(CorruptFile):
                    list(read_snapshot(disk, "changed"))


def test_another_snapshot_under_this_name() -> None:
    """A file that was renamed, or belongs to another group, is refused."""
    disk = FaultDisk()
    files = SnapshotFiles(disk, "snapshots", group_id=1)
    disk.put(files.path_of(65), disk.contents(write(files, 64)))
    with pytest.raises(CorruptFile, match="index 64"):
        list(files.read(65))
    with pytest.raises(CorruptFile, match="group 1"):
        list(SnapshotFiles(disk, "snapshots", group_id=2).read(64))
    with pytest.raises(StorageError, match="no such file"):
        list(files.read(66))


@pytest.mark.parametrize("survival", Survival)
def test_a_power_cut_at_every_operation(survival: Survival) -> None:
    """The old snapshot is there until the new one is whole; a name that is there leads to a whole snapshot."""
    base = FaultDisk()
    write(SnapshotFiles(base, "snapshots"), 64)
    clean = base.clone()
    writes, syncs = base.writes, base.syncs
    replace(clean)
    for operation, first, last in (("write", writes, clean.writes), ("sync", syncs, clean.syncs)):
        for number in range(first + 1, last + 1):
            disk = base.clone()
            setattr(disk, f"cut_at_{operation}", number)
            with pytest.raises(PowerCut):
                replace(disk)
            for seed in range(8):
                files = SnapshotFiles(disk.restart(survival, seed=seed), "snapshots")
                assert files.indexes()
                for index in files.indexes():
                    assert list(files.read(index)) == RECORDS


def replace(disk: FaultDisk) -> None:
    files = SnapshotFiles(disk, "snapshots")
    write(files, 128)
    files.remove_older(1)


def test_a_full_disk_and_a_failing_sync() -> None:
    """The error is passed on, and nothing of the snapshot stays."""
    disk = FaultDisk()
    files = SnapshotFiles(disk, "snapshots")
    disk.space_bytes = 300
    with pytest.raises(StorageError, match="full"):
        write(files, 64)
    assert disk.paths() == []
    disk.space_bytes = None
    disk.fail_sync_at = disk.syncs + 1
    with pytest.raises(StorageError, match="device failed"):
        write(files, 64)
    assert disk.paths() == []
