"""From a directory to a running replica: lock, term, snapshot, the tail of the log, and proof that it replays.

Every `rsm.confirmed` entry of the tail is compared with the replica's own root at that index, so a directory that opens
has replayed to the roots it recorded. A snapshot that cannot be read is reported and the one before it is used, with
the longer tail that is kept for it.
"""

from __future__ import annotations

from typing import NamedTuple

from rsm.errors import BadBytes, CorruptFile
from rsm.machine.machine import StateMachine
from rsm.node.directory import MachineDirectory
from rsm.node.disk import Disk
from rsm.node.journal import Journal
from rsm.node.log import logger
from rsm.node.snapshots import SnapshotFiles
from rsm.replica.replica import Replica
from rsm.replica.snapshot import restore


class Recovered(NamedTuple):
    """An open directory. `term` is new: one more than any term in it."""

    directory: MachineDirectory
    journal: Journal
    snapshots: SnapshotFiles
    replica: Replica
    term: int


def recover(machine: type[StateMachine], path: str, disk: Disk) -> Recovered:
    """Open a machine's directory, creating it if there is none; see `rsm.open` for what it raises."""
    directory = MachineDirectory.open_or_create(disk, path, machine=machine.definition.name)
    try:
        snapshots = directory.open_snapshots()
        journal = directory.open_journal()
        try:
            for torn in journal.recovery.torn:
                logger.warning("cut a torn tail", path=torn.path, offset=torn.offset, bytes=torn.bytes)
            replica = load_snapshot(machine, snapshots, journal)
            replay(replica, journal)
            term = _next_term(directory, journal)
        except BaseException:
            journal.close()
            raise
    except BaseException:
        directory.close()
        raise
    return Recovered(directory, journal, snapshots, replica, term)


def load_snapshot(machine: type[StateMachine], snapshots: SnapshotFiles, journal: Journal) -> Replica:
    """A replica from the newest readable snapshot that the log continues, or an empty one for a log that begins at 1.

    A log that ends before the snapshot (a power cut under `durability="os"`) starts anew behind it.
    """
    failure: BadBytes | None = None
    first_index = journal.first_index
    for index in reversed(snapshots.indexes()):
        if index + 1 < first_index:
            break
        replica = Replica(machine)
        try:
            manifest = restore(replica, snapshots.read(index))
        except BadBytes as error:
            failure = failure or error
            logger.error("a snapshot cannot be read, trying the one before", index=index, error=str(error))
            continue
        if journal.last_index < index:
            logger.warning("the log ends before the snapshot", last_index=journal.last_index, snapshot_index=index)
            journal.reset(index, manifest.term, manifest.chain)
        return replica
    if first_index > 1:
        if failure is not None:
            raise failure
        raise CorruptFile(
            snapshots.path, 0, f"the log begins at {first_index}, but there is no snapshot that it continues"
        )
    return Replica(machine)


def replay(replica: Replica, journal: Journal) -> None:
    """Apply what the log has beyond the replica; every recorded root is compared on the way."""
    if journal.last_index <= replica.index:
        return
    for entry in journal.read(replica.index + 1):
        for failure in replica.apply(entry).failures:
            logger.debug("handler_failed", index=failure.index, position=failure.position, name=failure.name)


def _next_term(directory: MachineDirectory, journal: Journal) -> int:
    with directory.open_term() as terms:
        term = max(terms.term, journal.last_term) + 1
        terms.save(term, None)
    return term
