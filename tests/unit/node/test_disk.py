"""The operating system's disk: what it promises, and the one-line errors that say what to do."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from rsm.errors import StorageError
from rsm.node.storage.disk import Disk, OsDisk
from rsm.testing.disk import FaultDisk


def exercise(disk: Disk, base: str) -> None:
    """One story that both disks must tell alike."""
    directory = os.path.join(base, "directory")
    disk.mkdir(directory)
    disk.fsync_directory(base)
    path = os.path.join(directory, "file")
    file = disk.open(path, create=True)
    file.pwrite(b"hello", 3)
    assert (file.size(), file.pread(100, 0), file.pread(2, 4)) == (8, b"\0\0\0hello", b"el")
    file.pwrite(memoryview(b"J"), 3)
    file.truncate(6)
    file.truncate(8)
    file.fdatasync()
    assert file.pread(8, 0) == b"\0\0\0Jel\0\0"
    assert file.pread(8, 8) == b""
    assert file.path == path
    file.close()
    file.close()
    assert disk.exists(path)
    assert not disk.exists(path + "/below")
    assert disk.is_directory(directory)
    assert not disk.is_directory(path)
    other = os.path.join(directory, "other")
    disk.open(other, create=True).close()
    assert disk.listdir(directory) == ["file", "other"]
    disk.rename(path, other)
    disk.fsync_directory(directory)
    assert disk.listdir(directory) == ["other"]
    reader = disk.open(other, writable=False)
    assert reader.size() == 8
    with pytest.raises(StorageError, match="cannot write"):
        reader.pwrite(b"x", 0)
    reader.close()
    for use in (lambda: reader.pread(1, 0), reader.size):
        with pytest.raises(StorageError):
            use()
    for use in (
        lambda: disk.open(path),
        lambda: disk.unlink(path),
        lambda: disk.rename(path, other),
        lambda: disk.listdir(path),
        lambda: disk.fsync_directory(path),
    ):
        with pytest.raises(StorageError, match="no such file or directory: check the path"):
            use()
    for use in (lambda: disk.open(other, create=True), lambda: disk.mkdir(directory)):
        with pytest.raises(StorageError, match="exists already"):
            use()
    with pytest.raises(StorageError, match="this is a directory"):
        disk.open(directory)
    disk.unlink(other)
    assert disk.listdir(directory) == []


def test_the_real_and_the_simulated_disk_agree(tmp_path: Path) -> None:
    """The same operations, results and errors on both."""
    exercise(OsDisk(), str(tmp_path))
    exercise(FaultDisk(), "/")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_how_much_is_free(tmp_path: Path) -> None:
    """Of the real disk something, of the simulated one what its bound leaves; a path that is not there is named."""
    assert OsDisk().free_bytes(str(tmp_path)) > 0
    with pytest.raises(StorageError, match="nothing: cannot look at the disk: no such file"):
        OsDisk().free_bytes(str(tmp_path / "nothing"))
    disk = FaultDisk()
    disk.space_bytes = 100
    disk.open("/file", create=True).pwrite(b"x" * 30, 0)
    assert disk.free_bytes("/") == 70


def test_a_full_disk_is_named() -> None:
    """Path, operation and remedy, on one line."""
    file = OsDisk().open("/dev/full")
    with pytest.raises(StorageError) as caught:
        file.pwrite(b"x", 0)
    file.close()
    assert str(caught.value) == "/dev/full: cannot write: the disk is full: free some space"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_a_missing_permission_is_named(tmp_path: Path) -> None:
    """A directory that may not be written or read."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    disk = OsDisk()
    for use in (lambda: disk.open(str(closed / "file"), create=True), lambda: disk.listdir(str(closed))):
        with pytest.raises(StorageError, match="permission denied"):
            use()


def test_a_file_size_limit_is_named(tmp_path: Path) -> None:
    """The part that fitted is written, the rest is an error, as on a full disk."""
    path = str(tmp_path / "file")
    file = OsDisk().open(path, create=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match="larger than"):
            file.pwrite(bytes(1500), 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.size() == 1000
    file.close()


def test_files_are_not_open_to_others(tmp_path: Path) -> None:
    """A log holds what users did: no access for the world, whatever the umask."""
    disk = OsDisk()
    old = os.umask(0)
    try:
        disk.mkdir(str(tmp_path / "directory"))
        disk.open(str(tmp_path / "file"), create=True).close()
        disk.lock(str(tmp_path / "lock")).release()
    finally:
        os.umask(old)
    for name in ("directory", "file", "lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) & 0o007 == 0
