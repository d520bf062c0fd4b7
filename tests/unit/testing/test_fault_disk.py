"""The simulated disk loses, tears and reorders what was not synced, and nothing else."""

from __future__ import annotations

import contextlib
import os
import random

import pytest

from rsm.errors import DirectoryInUse, StorageError
from rsm.limits import SECTOR_BYTES
from rsm.node.storage.disk import File
from rsm.testing.disk import FaultDisk, PowerCut, Survival

ANY = list(Survival)


def with_file(content: bytes) -> FaultDisk:
    disk = FaultDisk()
    disk.put("file", content)
    return disk


@pytest.mark.parametrize("survival", ANY)
def test_what_was_synced_survives(survival: Survival) -> None:
    """Bytes after fdatasync and names after fsync_directory, whatever else happens to the rest."""
    disk = FaultDisk()
    disk.mkdir("directory")
    disk.fsync_directory(".")
    file = disk.open("directory/file", create=True)
    file.pwrite(b"a" * 2000, 0)
    file.fdatasync()
    disk.fsync_directory("directory")
    file.pwrite(b"b" * 2000, 2048)
    disk.open("directory/other", create=True)
    for seed in range(30):
        found = disk.restart(survival, seed=seed)
        assert found.contents("directory/file")[:2000] == b"a" * 2000
        assert found.restart(Survival.NOTHING).contents("directory/file") == found.contents("directory/file")


def test_nothing_and_everything() -> None:
    """The two plain ways: the disk as of the last sync, and the disk as it was seen."""
    disk = with_file(b"old")
    disk.open("file").pwrite(b"new and longer", 0)
    disk.open("other", create=True)
    assert disk.restart(Survival.NOTHING).paths() == ["file"]
    assert disk.restart(Survival.NOTHING).contents("file") == b"old"
    assert disk.restart(Survival.EVERYTHING).paths() == ["file", "other"]
    assert disk.restart(Survival.EVERYTHING).contents("file") == b"new and longer"


def outcomes(disk: FaultDisk, survival: Survival, seeds: int = 400) -> set[bytes]:
    return {disk.restart(survival, seed=seed).contents("file") for seed in range(seeds)}


def test_a_torn_write_ends_at_a_sector() -> None:
    """A beginning of the write, cut at a sector of the file; every such cut is met."""
    disk = with_file(bytes(2048))
    disk.open("file").pwrite(b"x" * 1500, 100)
    lengths = [0, SECTOR_BYTES - 100, 2 * SECTOR_BYTES - 100, 3 * SECTOR_BYTES - 100]
    assert outcomes(disk, Survival.TORN) == {bytes(100) + b"x" * n + bytes(2048 - 100 - n) for n in lengths}


def test_reordered_sectors_are_old_or_new_each() -> None:
    """Every combination of three overwritten sectors is met, and no other content."""
    disk = with_file(b"a" * 3 * SECTOR_BYTES)
    disk.open("file").pwrite(b"b" * 3 * SECTOR_BYTES, 0)
    sectors = {b"a" * SECTOR_BYTES, b"b" * SECTOR_BYTES}
    assert outcomes(disk, Survival.REORDERED) == {x + y + z for x in sectors for y in sectors for z in sectors}


def test_a_sector_may_hold_any_of_its_versions() -> None:
    """Three writes to one sector: the state before, between or after them; never a mixture."""
    disk = with_file(b"0" * 10)
    file = disk.open("file")
    for version in (b"1", b"2", b"3"):
        file.pwrite(version * 10, 0)
    assert outcomes(disk, Survival.REORDERED) == {version * 10 for version in (b"0", b"1", b"2", b"3")}


def test_an_unsynced_truncation_may_or_may_not_happen() -> None:
    """The file has its old or its new size; each sector behind the cut has its bytes or zeros."""
    disk = with_file(b"a" * 1000)
    disk.open("file").truncate(300)
    for survival in (Survival.TORN, Survival.REORDERED):
        for content in outcomes(disk, survival, 50):
            assert len(content) in (300, 1000)
            assert content[:300] == b"a" * 300
            assert content[300:512].strip(b"a") in (b"", bytes(212))
            assert content[512:].strip(b"a") in (b"", bytes(488))
    assert outcomes(disk, Survival.EVERYTHING, 1) == {b"a" * 300}


def test_names_are_volatile_and_a_rename_is_atomic() -> None:
    """Under any survival the target is the old file or the new one, and a synced rename is done."""
    disk = with_file(b"old")
    file = disk.open("temporary", create=True)
    file.pwrite(b"new", 0)
    file.fdatasync()
    disk.rename("temporary", "file")
    seen = {disk.restart(survival, seed=seed).contents("file") for survival in ANY for seed in range(40)}
    assert seen == {b"old", b"new"}
    disk.fsync_directory(".")
    for survival in ANY:
        assert disk.restart(survival).contents("file") == b"new"
        assert disk.restart(survival).paths() == ["file"]


def test_a_directory_that_is_lost_takes_its_files_along() -> None:
    """Syncing a file does not make the directories above it durable."""
    disk = FaultDisk()
    disk.mkdir("directory")
    file = disk.open("directory/file", create=True)
    file.pwrite(b"x", 0)
    file.fdatasync()
    disk.fsync_directory("directory")
    assert disk.restart(Survival.NOTHING).paths() == []
    assert not disk.restart(Survival.NOTHING).exists("directory")


def write_until_cut(file: File) -> int:
    """How many bytes could be written and synced, one by one, before the power went."""
    done = 0
    with contextlib.suppress(PowerCut):
        while True:
            file.pwrite(b"x", done)
            file.fdatasync()
            done += 1
    return done


def test_the_power_goes_where_it_is_planned() -> None:
    """In the middle of the n-th change or sync; from then on everything fails until the restart."""
    for attribute, operations in (("cut_at_write", 2), ("cut_at_sync", 2)):
        disk = with_file(b"")
        setattr(disk, attribute, operations)
        file = disk.open("file")
        done = write_until_cut(file)
        assert done == operations - 1
        for use in (lambda file=file: file.pread(1, 0), lambda disk=disk: disk.exists("file"), file.fdatasync):
            with pytest.raises(PowerCut):
                use()
        found = disk.restart()
        assert found.contents("file") == b"x" * done
        assert (found.writes, found.syncs) == (0, 0)


def test_a_failed_sync_loses_the_bytes_behind_a_clean_face() -> None:
    """They read back, a repeated sync succeeds, and a power cut still takes them: the reason why it must be fatal."""
    disk = with_file(b"old")
    disk.fail_sync_at = 1
    file = disk.open("file")
    file.pwrite(b"new", 0)
    with pytest.raises(StorageError, match="device failed"):
        file.fdatasync()
    file.fdatasync()
    assert file.pread(3, 0) == b"new"
    assert disk.restart(Survival.EVERYTHING).contents("file") == b"old"


def test_space_runs_out_in_the_middle_of_a_write() -> None:
    """What fits is written; overwriting needs no space; removing a file gives some back."""
    disk = with_file(b"a" * 90)
    disk.space_bytes = 100
    file = disk.open("file")
    with pytest.raises(StorageError, match="full"):
        file.pwrite(b"b" * 20, 85)
    assert disk.contents("file") == b"a" * 85 + b"b" * 15
    file.pwrite(b"c" * 100, 0)
    other = disk.open("other", create=True)
    with pytest.raises(StorageError, match="full"):
        other.pwrite(b"d", 0)
    disk.unlink("file")
    other.pwrite(b"d" * 100, 0)


def test_the_same_seed_finds_the_same_disk() -> None:
    """Chance comes from the seed alone; the disk that lost power can be asked again."""
    disk = with_file(random.Random(1).randbytes(5000))
    file = disk.open("file")
    for number in range(20):
        file.pwrite(bytes([number]) * 700, number * 211)
    for survival in ANY:
        for seed in range(5):
            assert disk.restart(survival, seed=seed).contents("file") == disk.restart(survival, seed=seed).contents(
                "file"
            )
    assert len(outcomes(disk, Survival.REORDERED, 20)) > 15


def test_a_flipped_bit_is_on_the_platter() -> None:
    """It is seen at once, survives a power cut, and flipping again restores it."""
    disk = with_file(bytes(4))
    disk.flip_bit("file", 9)
    assert disk.contents("file") == disk.restart(Survival.NOTHING).contents("file") == b"\0\2\0\0"
    disk.flip_bit("file", 9)
    assert disk.contents("file") == bytes(4)


def test_a_lock_ends_with_the_process() -> None:
    """It excludes a second holder, and is gone after release or a power cut."""
    disk = FaultDisk()
    lock = disk.lock("lock")
    with pytest.raises(DirectoryInUse, match=str(os.getpid())):
        disk.lock("lock")
    disk.restart().lock("lock")
    lock.release()
    disk.lock("lock")
