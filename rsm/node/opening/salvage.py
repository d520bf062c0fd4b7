"""Opening the directory of a cluster's node, whatever its disk has lost: other nodes have it.

A lone machine refuses a damaged log, since nobody else has what is missing. A node of a cluster sets the damage aside
(`damaged/` keeps it), goes on with what is whole, and fetches the rest. Until it has caught up with a leader it is
*recovering*: its votes and acknowledgements do not count, since it may have forgotten some. The mark of that is on the
disk before anything is cut, so a crash in between changes nothing.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes, CorruptFile
from rsm.limits import READ_BYTES, SEGMENT_BYTES
from rsm.machine.machine import StateMachine
from rsm.node.log import logger
from rsm.node.opening.recovery import load_snapshot
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.disk import Disk
from rsm.node.storage.files import new_file
from rsm.node.storage.journal import Journal
from rsm.node.storage.segment import TornTail, is_segment_name
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.node.storage.term_file import TermFile
from rsm.raft.configuration import Configuration, decode_configuration
from rsm.replica.replica import Replica

__all__ = ["Salvaged", "salvage"]


class Salvaged(NamedTuple):
    """An open directory of a node. `replica` stands at its newest snapshot; `configurations` are those known, with
    the index of each, rising.
    """

    directory: MachineDirectory
    journal: Journal
    snapshots: SnapshotFiles
    terms: TermFile
    replica: Replica
    configurations: list[tuple[int, Configuration]]


def salvage(machine: type[StateMachine], path: str, disk: Disk, *, segment_bytes: int = SEGMENT_BYTES) -> Salvaged:
    """Open a node's directory. `CorruptFile` only if its identity is damaged; `DirectoryInUse`, `WrongMachine`,
    `StorageError`.
    """
    directory = MachineDirectory.open(disk, path, machine=machine.definition.name)
    try:
        snapshots = directory.open_snapshots()
        journal, entries = _open_journal(directory, disk, segment_bytes)
        try:
            replica = _load(machine, directory, disk, snapshots, journal)
            if journal.last_index < replica.index:
                raise CorruptFile(path, 0, "the log ends before the snapshot")
            configurations = _configurations(replica, journal, entries)
            if not configurations:
                directory.mark_recovering()  # new, or made anew by somebody who crashed before he could mark it
            terms = _open_terms(directory, disk, journal.last_term)
        except BaseException:
            journal.close()
            raise
    except BaseException:
        directory.close()
        raise
    return Salvaged(directory, journal, snapshots, terms, replica, configurations)


def _configurations(replica: Replica, journal: Journal, entries: list[Entry]) -> list[tuple[int, Configuration]]:
    configurations = []
    if replica.system.configuration:
        configurations.append((replica.index, decode_configuration(replica.system.configuration)))
    configurations += [
        (entry.index, decode_configuration(entry.payload))
        for entry in entries
        if replica.index < entry.index <= journal.last_index
    ]
    return configurations


def _open_journal(directory: MachineDirectory, disk: Disk, segment_bytes: int) -> tuple[Journal, list[Entry]]:
    """The log, cut before the first damage, and its CONFIGURATION entries."""
    while True:
        found: list[Entry] = []

        def observe(entry: Entry, found: list[Entry] = found) -> None:
            if entry.kind is RecordKind.CONFIGURATION:
                found.append(entry)

        def before_cut(torn: TornTail) -> None:
            logger.warning("cutting a torn tail", path=torn.path, offset=torn.offset, bytes=torn.bytes)
            directory.mark_recovering()

        try:
            journal = directory.open_journal(
                segment_bytes=segment_bytes, create=True, observe=observe, before_cut=before_cut
            )
        except CorruptFile as error:
            logger.error("the log is damaged; the rest will be fetched from another node", error=str(error))
            directory.mark_recovering()
            if not _cut_damage(directory, disk, error):
                raise
            continue
        return journal, found


def _cut_damage(directory: MachineDirectory, disk: Disk, error: CorruptFile) -> bool:
    """Set the damaged segment and all after it aside, keeping what is before the damage; whether there was any."""
    names = (
        [name for name in disk.listdir(directory.log_path) if is_segment_name(name)]
        if disk.exists(directory.log_path)
        else []
    )
    damaged = os.path.basename(error.path)
    if damaged not in names:
        # The directory itself is at fault, and not a segment of it: nothing in it can be trusted.
        damaged = names[0] if names else ""
    if not damaged:
        return False
    for name in reversed([name for name in names if name >= damaged]):
        path = os.path.join(directory.log_path, name)
        _keep(directory, disk, path)
        if name == damaged and error.offset > 0 and error.path.endswith(damaged):
            file = disk.open(path)
            try:
                file.truncate(error.offset)
                file.fdatasync()
            finally:
                file.close()
        else:
            disk.unlink(path)
        disk.fsync_directory(directory.log_path)
    return True


def _keep(directory: MachineDirectory, disk: Disk, path: str) -> None:
    """Copy a damaged file to where an operator may look at it."""
    kept = os.path.join(directory.path, "damaged")
    if not disk.exists(kept):
        disk.mkdir(kept)
        disk.fsync_directory(directory.path)
    target = os.path.join(kept, os.path.basename(path))
    if disk.exists(target):
        return  # of an earlier time; the first evidence is the best
    read = disk.open(path, writable=False)
    try:
        with new_file(disk, target) as write:
            offset = 0
            while data := read.pread(READ_BYTES, offset):
                write.pwrite(data, offset)
                offset += len(data)
    finally:
        read.close()


def _load(
    machine: type[StateMachine], directory: MachineDirectory, disk: Disk, snapshots: SnapshotFiles, journal: Journal
) -> Replica:
    """The newest readable snapshot that the log continues; without one, an empty replica, and the log begins anew."""
    if snapshots.indexes() and journal.last_index < max(snapshots.indexes()):
        directory.mark_recovering()  # `load_snapshot` starts the log anew behind it
    try:
        return load_snapshot(machine, snapshots, journal)
    except BadBytes as error:
        logger.error("no snapshot can be read; all will be fetched from another node", error=str(error))
        directory.mark_recovering()
        for index in snapshots.indexes():
            snapshots.set_aside(index)
        for name in disk.listdir(directory.log_path):
            if is_segment_name(name):
                _keep(directory, disk, os.path.join(directory.log_path, name))
        journal.clear()
        return Replica(machine)


def _open_terms(directory: MachineDirectory, disk: Disk, last_term: int) -> TermFile:
    try:
        if not disk.exists(directory.term_path):  # a crash below may have left it like that
            raise CorruptFile(directory.term_path, 0, "term and vote are gone")
        terms = directory.open_term()
    except BadBytes as error:
        logger.error("term and vote are damaged; this node will not vote until it has caught up", error=str(error))
        directory.mark_recovering()
        if disk.exists(directory.term_path):
            _keep(directory, disk, directory.term_path)
            disk.unlink(directory.term_path)
        terms = TermFile.open(disk, directory.term_path, group_id=directory.identity.group_id)
    if terms.term < last_term:
        terms.save(last_term, None)
    return terms
