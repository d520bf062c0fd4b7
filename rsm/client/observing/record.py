"""The record of an observer: a machine's directory that nobody serves from, for the detector and for the next start.

It holds the entries as they came, the roots that the observer itself computed, also those that turned out wrong, and
snapshots: where the log begins, where a difference was healed, and wherever the log has grown much since the last one.
The log is never compacted. What is in it may be a second behind when the power fails; it is received again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from rsm.client.observing.observed import Desync, DesyncCommand
from rsm.codec.record import Entry
from rsm.errors import BadBytes, CallerError, StorageError
from rsm.limits import EVIDENCE_KEPT, RECORD_SYNC_SECONDS, SNAPSHOT_LOG_BYTES
from rsm.node.log import describe, logger
from rsm.node.storage.bundles import HEAD, BundleHead, created_by, environment, write_bundle
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.snapshots import copy_snapshot
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts, read_manifest, restore

__all__ = ["Record"]

EVIDENCE = "evidence"


class Record:
    """Open from the start to `close`. Belongs to the thread that applies."""

    def __init__(self, directory: MachineDirectory) -> None:
        self.directory = directory
        self._disk = OsDisk()
        try:
            self.snapshots = directory.open_snapshots()
            self.journal = directory.open_journal()
            self._book = directory.open_roots()
        except BaseException:
            directory.close()
            raise
        self._synced_at = time.monotonic()
        for torn in self.journal.recovery.torn:
            logger.warning("cut a torn tail", path=torn.path, offset=torn.offset, bytes=torn.bytes)

    @classmethod
    def open(cls, path: str, machine: str) -> Record | None:
        """The record that is there, None if there is none yet. `DirectoryInUse`, `WrongMachine`, `CorruptFile`,
        `CallerError` if a machine has run in the directory.
        """
        disk = OsDisk()
        if not disk.exists(os.path.join(path, "identity")):
            return None
        directory = MachineDirectory.open(disk, path, machine=machine)
        try:
            with directory.open_term() as terms:
                if terms.term:  # nobody who only observes ever has a term of his own
                    raise CallerError(f"{path}: is the directory of a machine, and not the record of an observer")
        except BaseException:
            directory.close()
            raise
        return cls(directory)

    @classmethod
    def create(cls, path: str, machine: str, cluster_id: bytes, group_id: int) -> Record:
        """A new one. `CallerError` if the directory holds other files."""
        directory = MachineDirectory.create(OsDisk(), path, machine=machine, cluster_id=cluster_id, group_id=group_id)
        return cls(directory)

    # --- going on -----------------------------------------------------------------------------------------------------

    def load(self, make: Callable[[], Replica], index: int | None) -> Replica:
        """The state at an index, or at the end (None); of an empty record, that of a new machine.

        `CallerError` for an index that the record does not reach, in either direction.
        """
        journal = self.journal
        self._begin_behind_snapshot()
        last = journal.last_index if index is None else index
        if last > journal.last_index:
            raise CallerError(f"{self.directory.path}: ends at index {journal.last_index}, not at {last}")
        replica = self._newest(make, last)
        for entry in journal.read(replica.index + 1, last):
            replica.apply(entry)
        return replica

    def _begin_behind_snapshot(self) -> None:
        """A crash may have come between a snapshot that leaves entries out and the log that begins behind it."""
        newest = max(self.snapshots.indexes(), default=0)
        if newest > self.journal.last_index:
            manifest = read_manifest(next(self.snapshots.read(newest), None))
            self.journal.reset(manifest.index, manifest.term, manifest.chain)

    def _newest(self, make: Callable[[], Replica], last: int) -> Replica:
        for index in reversed(self.snapshots.indexes()):
            if self.journal.first_index - 1 <= index <= last:
                try:
                    replica = make()
                    restore(replica, self.snapshots.read(index))
                    return replica
                except BadBytes as error:
                    logger.error("a snapshot cannot be read, trying the one before", index=index, error=str(error))
        if self.journal.first_index > 1:
            first = self.journal.first_index
            raise CallerError(f"{self.directory.path}: holds no state at index {last}: its log begins at {first}")
        return make()

    def entries(self, after: int) -> Iterator[Entry]:
        """What follows an index."""
        return self.journal.read(after + 1)

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """Entries that follow those that are here; those that are here already are passed over."""
        self.journal.append([entry for entry in entries if entry.index > self.journal.last_index], compress=True)
        if time.monotonic() - self._synced_at > RECORD_SYNC_SECONDS:
            self.journal.sync()
            self._synced_at = time.monotonic()

    def note(self, index: int, root: bytes) -> None:
        """A root that the observer has computed."""
        self._book.note(index, root)

    def add_snapshot(self, path: str, index: int) -> None:
        """The file of a snapshot. If the log ends before it, the log begins anew behind it."""
        target = self.snapshots.path_of(index)
        if self._disk.exists(target):
            self._disk.unlink(target)
        copy_snapshot(self._disk, path, target)
        self._begin_behind_snapshot()
        self.snapshots.remove([old for old in self.snapshots.indexes() if old + 1 < self.journal.first_index])

    def at_good_root(self, replica: Replica) -> None:
        """The replica stands at a root that a node has, too: time for a snapshot, if much was logged since the last."""
        last = max(self.snapshots.indexes(), default=0)
        if self.journal.bytes_after(max(last, self.journal.first_index - 1)) < SNAPSHOT_LOG_BYTES:
            return
        with self.snapshots.begin(replica.index, replica.term) as writer:
            for kind, payload in parts(replica, self.journal.chain_at(replica.index)):
                writer.add(kind, payload)
            writer.commit()

    def write_evidence(self, desync: Desync, replica: Replica) -> str:
        """A bundle of a difference, with the state of `replica`, which is the one that differs; its path, or ""."""
        above = os.path.join(self.directory.path, EVIDENCE)
        path = os.path.join(above, f"{desync.index}-{desync.root.hex()[:8]}")
        kept = self._disk.listdir(above) if self._disk.exists(above) else []
        # Not those that a crash left unfinished.
        kept = [name for name in kept if self._disk.exists(os.path.join(above, name, HEAD))]
        if self._disk.exists(os.path.join(path, HEAD)):
            return path
        good = [index for index in self.snapshots.indexes() if index <= desync.good_index]
        first = max((index for index in good if index + 1 >= self.journal.first_index), default=0)
        if len(kept) >= EVIDENCE_KEPT or (not first and self.journal.first_index > 1):
            logger.error("no evidence is written", reason="there is no snapshot to begin from, or enough evidence")
            return ""
        try:
            for _ in self._write(path, desync, replica, first):
                pass
        except Exception as error:  # what differs may be of any kind; without evidence it is still better healed
            logger.error("no evidence is written", error=describe(error))
            return ""
        return path

    def _write(self, path: str, desync: Desync, replica: Replica, first: int) -> Iterator[None]:
        machine, journal = type(replica.machine), self.journal
        head = BundleHead(
            machine=replica.definition.name,
            version=replica.definition.version,
            reference=f"{machine.__module__}:{machine.__qualname__}",
            from_index=first,
            to_index=replica.index,
            good_index=desync.good_index,
            state_index=replica.index,
            expected={desync.index: desync.expected.hex()} if desync.expected else {},
            found={at: root.hex() for at, root in sorted(replica.roots.items()) if at > desync.good_index},
            environment=environment(),
            verdict=_plain(desync),
            created_by=created_by(),
        )
        entries: Iterable[Entry] = journal.read(first + 1, replica.index)
        replica.roots.setdefault(replica.index, replica.root())
        return write_bundle(
            self._disk,
            path,
            head,
            snapshot=self.snapshots.read(first) if first else None,
            entries=entries,
            state=parts(replica, journal.chain_at(replica.index)),
            cluster_id=self.directory.identity.cluster_id,
        )

    def close(self) -> None:
        """Make all of it durable and let go of the directory. May be called twice."""
        self._book.close()
        with contextlib.suppress(StorageError):
            self.journal.close()
        self.directory.close()


def _plain(desync: Desync) -> dict[str, Any]:
    """What was found, as the head of a bundle holds it."""
    return {
        "index": desync.index,
        "source": desync.source,
        "reason": desync.reason,
        "paths": [[found.path, repr(found.mine), repr(found.theirs)] for found in desync.paths],
        "lines": [[found.file, found.line, found.text, found.what] for found in desync.lines],
        "command": None if desync.command is None else _command(desync.command),
    }


def _command(command: DesyncCommand) -> dict[str, Any]:
    plain = msgspec.structs.asdict(command)
    try:
        msgspec.json.encode(plain)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):  # a number that JSON readers would not take
        plain["values"] = {name: repr(value) for name, value in command.values.items()}
    return plain
