"""Making a machine's directory from a snapshot: all of it, or nothing.

The directory is built beside its place under another name and moved there when everything in it is durable, so a crash
or a damaged snapshot leaves no half machine that would open as an empty one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator

from rsm.codec.record import RecordKind
from rsm.errors import CallerError, StorageError
from rsm.node.storage.directory import Identity, MachineDirectory
from rsm.node.storage.disk import Disk
from rsm.replica.contents import ContentsCheck

__all__ = ["built_beside", "restore_directory"]


def restore_directory(
    disk: Disk, records: Iterable[tuple[RecordKind, bytes]], target: str, *, index: int, term: int, group_id: int = 0
) -> tuple[Identity, ContentsCheck]:
    """Make the directory `target` from a snapshot's records: the snapshot and an empty log after it, a new cluster.

    Returns whose it is and what the snapshot holds; every record was checked on its way. `CallerError` unless the
    target is empty or missing and its parent exists, `BadBytes` for a damaged snapshot, `StorageError`.
    """
    with built_beside(disk, target) as building:
        return _build(disk, records, building, index, term, group_id)


@contextlib.contextmanager
def built_beside(disk: Disk, target: str) -> Iterator[str]:
    """A directory to build in, which is `target` when the block ends, and gone if the block raises.

    `CallerError` unless the target is empty or missing and its parent exists, `StorageError`.
    """
    if disk.exists(target) and (not disk.is_directory(target) or disk.listdir(target)):
        raise CallerError(f"{target}: exists and is not an empty directory: choose another")
    parent, name = os.path.split(os.path.abspath(target))
    if not disk.is_directory(parent):
        raise CallerError(f"{parent}: no such directory: make it first")
    try:
        building = tempfile.mkdtemp(prefix=f".{name}.", dir=parent)
    except OSError as error:
        raise StorageError(f"{parent}: cannot make a directory here: {error.strerror}") from error
    try:
        yield building
        os.chmod(building, 0o750)
        disk.rename(building, target)
        disk.fsync_directory(parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def _build(
    disk: Disk, records: Iterable[tuple[RecordKind, bytes]], path: str, index: int, term: int, group_id: int
) -> tuple[Identity, ContentsCheck]:
    check = ContentsCheck(index, term)
    stream = iter(records)
    first = next(stream, (RecordKind.END, b""))
    check.add(*first)
    with MachineDirectory.create(disk, path, machine=check.manifest.machine, group_id=group_id) as directory:
        with directory.open_snapshots().begin(index, term) as writer:
            writer.add(*first)
            for kind, payload in stream:
                check.add(kind, payload)
                writer.add(kind, payload)
            check.finish()
            writer.commit()
        with directory.open_journal() as journal:
            journal.reset(index, term, check.manifest.chain)
        return directory.identity, check
