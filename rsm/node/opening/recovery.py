"""From a directory to a running replica: lock, term, snapshot, the tail of the log, and proof that it replays.

Every `rsm.confirmed` entry of the tail is compared with the replica's own root at that index, so a directory that opens
has replayed to the roots it recorded. A snapshot that cannot be read is reported and set aside, and the one before it
is used, with the longer tail that is kept for it.

The directory of a cluster's node is refused before a byte of it changes: what a lone machine would write, or cut off,
the other nodes would not know of.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import NamedTuple

from rsm.codec.record import HEADER_BYTES, Entry, RecordKind
from rsm.errors import BadBytes, Closed, CorruptFile, DivergenceError, RsmError, StorageError, WrongMachine
from rsm.limits import SEGMENT_BYTES
from rsm.machine.machine import StateMachine
from rsm.node.log import describe, logger
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.disk import Disk
from rsm.node.storage.journal import Journal
from rsm.node.storage.segment import TornTail
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.replica.replica import Replica
from rsm.replica.snapshot import restore


class Recovered(NamedTuple):
    """An open directory. `term` is new: one more than any term in it. `tail_bytes`: the log after the snapshot."""

    directory: MachineDirectory
    journal: Journal
    snapshots: SnapshotFiles
    replica: Replica
    term: int
    tail_bytes: int


def recover(
    machine: type[StateMachine],
    path: str,
    disk: Disk,
    is_cancelled: Callable[[], bool] = lambda: False,
    *,
    segment_bytes: int = SEGMENT_BYTES,
) -> Recovered:
    """Open a machine's directory, creating it if there is none; see `rsm.open` for what it raises.

    `is_cancelled` is asked between entries; when it says so, `Closed` is raised.
    """
    directory = MachineDirectory.open_or_create(disk, path, machine=machine.definition.name)
    try:
        snapshots = directory.open_snapshots()
        lone = _LoneMachine(machine, path, snapshots)
        if directory.is_recovering:
            raise lone.refusal
        journal = directory.open_journal(segment_bytes=segment_bytes, observe=lone.observe, before_cut=lone.before_cut)
        try:
            for torn in journal.recovery.torn:
                logger.warning("cut a torn tail", path=torn.path, offset=torn.offset, bytes=torn.bytes)
            try:
                replica = load_snapshot(machine, snapshots, journal, lone.check)
                tail_bytes = replay(replica, journal, is_cancelled)
            except (WrongMachine, DivergenceError) as error:
                if error is lone.refusal:
                    raise
                kind = DivergenceError if isinstance(error, DivergenceError) else WrongMachine
                raise kind(f"{path}: {error}") from error
            term = _next_term(directory, journal)
        except BaseException:
            journal.close()
            raise
    except BaseException:
        directory.close()
        raise
    return Recovered(directory, journal, snapshots, replica, term, tail_bytes)


class _LoneMachine:
    """Refuses the directory of a cluster's node, by whichever of its parts tells first."""

    def __init__(self, machine: type[StateMachine], path: str, snapshots: SnapshotFiles) -> None:
        self.refusal = WrongMachine(
            f"{path}: belongs to a node of a cluster: start it with `rsm node`, and connect to it"
        )
        self._machine = machine
        self._snapshots = snapshots

    def observe(self, entry: Entry) -> None:
        """An entry of the log."""
        if entry.kind is RecordKind.CONFIGURATION:
            raise self.refusal

    def check(self, replica: Replica) -> None:
        """What a snapshot holds."""
        if replica.system.configuration:
            raise self.refusal

    def before_cut(self, _: TornTail) -> None:
        """The log is about to be cut; the entry that names the members may be in the snapshots only."""
        for index in reversed(self._snapshots.indexes()):
            replica = Replica(self._machine)
            with contextlib.suppress(BadBytes):
                restore(replica, self._snapshots.read(index))
                self.check(replica)
                return


def load_snapshot(
    machine: type[StateMachine],
    snapshots: SnapshotFiles,
    journal: Journal,
    check: Callable[[Replica], None] = lambda _: None,
) -> Replica:
    """A replica from the newest readable snapshot that the log continues, or an empty one for a log that begins at 1.

    A log that ends before the snapshot (a power cut under `durability="os"`) starts anew behind it. `check` sees the
    replica before anything is changed.
    """
    unreadable: dict[int, BadBytes] = {}
    loaded: Replica | None = None
    for index in reversed(snapshots.indexes()):
        if index + 1 < journal.first_index:
            break
        try:
            loaded = _load(machine, snapshots, journal, index, check)
            break
        except BadBytes as error:
            unreadable[index] = error
            logger.error("a snapshot cannot be read, trying the one before", index=index, error=str(error))
    if loaded is None and journal.first_index > 1:
        for newest in unreadable.values():
            raise newest
        raise CorruptFile(
            snapshots.path, 0, f"the log begins at {journal.first_index}, but there is no snapshot that it continues"
        )
    for index in unreadable:
        # Only now, and not if the disk minds: what is left is enough without it, and it must not count as a snapshot
        # that old ones and the log may be dropped for.
        with contextlib.suppress(StorageError):
            logger.warning("set aside", path=snapshots.set_aside(index))
    return Replica(machine) if loaded is None else loaded


def _load(
    machine: type[StateMachine],
    snapshots: SnapshotFiles,
    journal: Journal,
    index: int,
    check: Callable[[Replica], None],
) -> Replica:
    replica = Replica(machine)
    manifest = restore(replica, snapshots.read(index))
    check(replica)
    path = snapshots.path_of(index)
    if manifest.index != index:
        raise CorruptFile(path, 0, f"its manifest is of index {manifest.index}")
    if journal.last_index < index:
        logger.warning("the log ends before the snapshot", last_index=journal.last_index, snapshot_index=index)
        journal.reset(index, manifest.term, manifest.chain)
    elif journal.chain_at(index) != manifest.chain:
        raise CorruptFile(path, 0, f"it continues another log: the chains at index {index} differ")
    return replica


def replay(replica: Replica, journal: Journal, is_cancelled: Callable[[], bool] = lambda: False) -> int:
    """Apply what the log has beyond the replica, in bytes; every recorded root is compared on the way.

    An entry that cannot be applied at all is a `DivergenceError` too: this state is not the one that the log says.
    """
    size = 0
    if journal.last_index <= replica.index:
        return size
    for entry in journal.read(replica.index + 1):
        if is_cancelled():
            raise Closed("opening was interrupted")
        size += HEADER_BYTES + len(entry.payload)
        try:
            applied = replica.apply(entry)
        except RsmError:
            raise
        except Exception as error:
            raise DivergenceError(f"entry {entry.index} cannot be applied: {describe(error)}") from error
        for failure in applied.failures:
            logger.debug("handler_failed", index=failure.index, position=failure.position, name=failure.name)
    return size


def _next_term(directory: MachineDirectory, journal: Journal) -> int:
    with directory.open_term() as terms:
        term = max(terms.term, journal.last_term) + 1
        terms.save(term, None)
    return term
