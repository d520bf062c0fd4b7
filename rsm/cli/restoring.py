"""Making a machine's directory from a snapshot file: all of it, or nothing.

The directory is built beside its place under another name and moved there when everything in it is durable, so a crash
or a damaged snapshot leaves no half machine that would open as an empty one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import Any

from rsm.cli.contents import ContentsCheck
from rsm.cli.errors import Unchecked, Unreadable
from rsm.cli.output import progress
from rsm.cli.target import DISK, file_bytes
from rsm.errors import BadBytes, CallerError, CorruptFile, StorageError
from rsm.limits import READ_BYTES
from rsm.machine.machine import StateMachine
from rsm.node.directory import MachineDirectory
from rsm.node.snapshots import read_snapshot, snapshot_position
from rsm.replica.replica import Replica
from rsm.replica.snapshot import Manifest, restore

__all__ = ["copy_snapshot", "restore_directory"]


def copy_snapshot(source: str, target: str) -> None:
    """Copy a file, durable on return; `CallerError` if the target exists."""
    if DISK.exists(target):
        raise CallerError(f"{target}: it exists already: remove it or choose another path")
    temporary = target + ".tmp"
    if DISK.exists(temporary):
        DISK.unlink(temporary)
    read = DISK.open(source, writable=False)
    try:
        write = DISK.open(temporary, create=True)
        try:
            offset = 0
            while data := read.pread(READ_BYTES, offset):
                write.pwrite(data, offset)
                offset += len(data)
            write.fdatasync()
        except BaseException:
            with contextlib.suppress(StorageError):
                DISK.unlink(temporary)
            raise
        finally:
            write.close()
    finally:
        read.close()
    DISK.rename(temporary, target)
    DISK.fsync_directory(os.path.dirname(target) or ".")


def restore_directory(source: str, target: str, machine: type[StateMachine] | None) -> dict[str, Any]:
    """Make the directory `target` from the snapshot file `source`; returns what it holds.

    `Unreadable` unless the target is empty or missing, `CorruptFile` for a damaged snapshot, `WrongMachine` for one
    that does not fit the class.
    """
    if DISK.exists(target) and (not DISK.is_directory(target) or DISK.listdir(target)):
        raise Unreadable(f"{target}: exists and is not an empty directory: choose another")
    if machine is not None:
        restore(Replica(machine), read_snapshot(DISK, source))
    index, term, group_id = snapshot_position(DISK, source)
    parent = os.path.dirname(os.path.abspath(target))
    if not DISK.is_directory(parent):
        raise Unreadable(f"{parent}: no such directory: make it first")
    try:
        building = tempfile.mkdtemp(prefix=f".{os.path.basename(os.path.abspath(target))}.", dir=parent)
    except OSError as error:
        raise StorageError(f"{parent}: cannot make a directory here: {error.strerror}") from error
    try:
        check, cluster_id = _build(source, building, index, term, group_id)
        os.chmod(building, 0o750)
        DISK.rename(building, target)
        DISK.fsync_directory(parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    manifest = _manifest(check)
    return {
        "machine": manifest.machine,
        "version": manifest.version,
        "index": index,
        "term": term,
        "root": manifest.root.hex(),
        "cluster_id": cluster_id.hex(),
        "leaves": check.leaves,
    }


def _manifest(check: ContentsCheck) -> Manifest:
    if check.manifest is None:
        raise BadBytes("the snapshot has no manifest")
    return check.manifest


def _build(source: str, path: str, index: int, term: int, group_id: int) -> tuple[ContentsCheck, bytes]:
    """Fill a directory with the snapshot and an empty log after it; every record is checked on its way."""
    check = ContentsCheck()
    records = read_snapshot(DISK, source)
    try:
        first = next(records)
        check.add(*first)
        manifest = _manifest(check)
        with MachineDirectory.create(DISK, path, machine=manifest.machine, group_id=group_id) as directory:
            files = directory.open_snapshots()
            bytes_total, bytes_done = file_bytes([source]), 0
            with files.begin(index, term) as writer, progress("restoring", bytes_total) as advance:
                writer.add(*first)
                for kind, payload in records:
                    check.add(kind, payload)
                    writer.add(kind, payload)
                    bytes_done += len(payload)
                    advance(min(bytes_done, bytes_total))
                if unchecked := check.finish():
                    raise Unchecked(f"{source}: {unchecked[0]}")
                if (manifest.index, manifest.term) != (index, term):
                    raise BadBytes(f"the manifest is of index {manifest.index}, the file of index {index}")
                writer.commit()
            with directory.open_journal() as journal:
                journal.reset(index, term, manifest.chain)
            return check, directory.identity.cluster_id
    except CorruptFile:
        raise
    except BadBytes as error:
        raise CorruptFile(source, 0, str(error)) from error
