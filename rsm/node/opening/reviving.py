"""A new cluster out of what one node of a lost one has: for the day when a quorum is gone for good.

The new directory holds the node's newest whole snapshot, the log after it, and behind that a configuration with the new
members. It has a new cluster id, so whatever is left of the old cluster is refused at the first hello, and can never
add to what the new one decides. What was acknowledged and had not reached this node is lost; so the last index that was
kept is told, and entries that may never have been committed are kept rather than dropped.
"""

from __future__ import annotations

import os

import msgspec

from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes, CallerError, CorruptFile
from rsm.node.log import logger
from rsm.node.opening.restoring import built_beside
from rsm.node.storage.directory import MachineDirectory, read_identity
from rsm.node.storage.disk import Disk
from rsm.node.storage.files import located
from rsm.node.storage.journal import Journal
from rsm.node.storage.scan import LogScan, scan
from rsm.node.storage.segment import TornTail
from rsm.node.storage.snapshots import SnapshotFiles, read_snapshot, snapshot_position
from rsm.raft.configuration import Configuration
from rsm.replica.contents import ContentsCheck
from rsm.replica.snapshot import Manifest

__all__ = ["Revived", "revive"]


class Revived(msgspec.Struct, frozen=True):
    """What was made. `last_index`: the last entry of the old log that was kept; `snapshot_index` 0: there was none."""

    cluster_id: bytes
    machine: str
    snapshot_index: int
    last_index: int
    last_term: int
    torn: TornTail | None


def revive(disk: Disk, source: str, target: str, configuration: Configuration) -> Revived:
    """Make the directory `target` from a snapshot file or the directory of a node; all of it or nothing.

    Copy it to each of the new members before the first of them starts. `CallerError` unless the target is empty or
    missing and its parent exists; `BadBytes`, `UnknownFormat` for a damaged source; `StorageError`.
    """
    if not configuration.voters:
        raise CallerError("a new cluster needs at least one member that votes")
    with built_beside(disk, target) as building:
        return _build(disk, source, building, configuration)


def _build(disk: Disk, source: str, path: str, configuration: Configuration) -> Revived:
    log = None
    if disk.is_directory(source):
        identity = read_identity(disk, source)
        machine, group_id = identity.machine, identity.group_id
        log = scan(disk, source)
        snapshot, manifest = _newest_snapshot(disk, os.path.join(source, "snapshots"), log)
    else:
        snapshot = source
        manifest = _check(disk, source)
        machine, group_id = manifest.machine, snapshot_position(disk, source)[2]
    with MachineDirectory.create(disk, path, machine=machine, group_id=group_id) as directory:
        if snapshot is not None and manifest is not None:
            _copy_snapshot(disk, snapshot, directory.open_snapshots(), manifest)
        with directory.open_journal() as journal:
            if manifest is not None:
                journal.reset(manifest.index, manifest.term, manifest.chain)
            if log is not None:
                _copy_log(log, journal)
            last_index, last_term = journal.last_index, journal.last_term
            entry = Entry(last_index + 1, max(last_term, 1), RecordKind.CONFIGURATION, configuration.encode())
            journal.append([entry])
            journal.sync()
        with directory.open_term() as terms:
            terms.save(max(terms.term, entry.term), None)
        snapshot_index = 0 if manifest is None else manifest.index
        torn = None if log is None else log.torn
        return Revived(directory.identity.cluster_id, machine, snapshot_index, last_index, last_term, torn)


def _newest_snapshot(disk: Disk, path: str, log: LogScan) -> tuple[str | None, Manifest | None]:
    """The newest whole snapshot that the log continues; none for a log that begins at 1."""
    damage: BadBytes | None = None
    names = disk.listdir(path) if disk.is_directory(path) else []
    for name in sorted((name for name in names if name.endswith(".snapshot")), reverse=True):
        file = os.path.join(path, name)
        try:
            manifest = _check(disk, file)
        except BadBytes as error:
            logger.error("a snapshot cannot be read, trying the one before", path=file, error=str(error))
            damage = damage or error
            continue
        if manifest.index + 1 < log.first_index:
            break
        return file, manifest
    if log.first_index == 1:
        return None, None
    if damage is not None:
        raise damage
    raise CorruptFile(path, 0, f"the log begins at {log.first_index}, but there is no snapshot that it continues")


def _check(disk: Disk, path: str) -> Manifest:
    index, term, _ = snapshot_position(disk, path)
    with located(path, 0):
        check = ContentsCheck(index, term)
        for kind, payload in read_snapshot(disk, path):
            check.add(kind, payload)
        check.finish()
    return check.manifest


def _copy_snapshot(disk: Disk, path: str, target: SnapshotFiles, manifest: Manifest) -> None:
    with target.begin(manifest.index, manifest.term) as writer:
        for kind, payload in read_snapshot(disk, path):
            writer.add(kind, payload)
        writer.commit()


def _copy_log(log: LogScan, journal: Journal) -> None:
    """The entries behind the snapshot; `CorruptFile` if the log does not continue it, or is damaged."""
    start = journal.last_index
    for scanned in log:
        entry = scanned.entry
        if entry.index == start and scanned.chain != journal.last_chain:
            raise CorruptFile(scanned.path, scanned.offset, "the snapshot continues another log")
        if entry.index <= start:
            continue
        journal.append([entry], compress=True)
        if journal.last_chain != scanned.chain:
            raise CorruptFile(scanned.path, scanned.offset, f"entry {entry.index} does not continue the snapshot")
    journal.sync()
