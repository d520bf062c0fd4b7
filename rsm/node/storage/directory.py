"""The directory of one machine: who it belongs to, who has it open, and where everything in it lies::

    identity                    IDENTITY record: cluster id, group id, machine name, format
    lock                        an flock, held while the directory is open; the file names the holder's process
    term                        term and vote (rsm.node.storage.term_file)
    log/<first index>.log       segments (rsm.node.storage.journal)
    snapshots/<index>.snapshot  snapshots (rsm.node.storage.snapshots)
    recovering                  there while a cluster's node lacks part of what it may have acknowledged
    roots                       every state root that the replica computed (rsm.node.storage.root_book)
    damaged/                    what a cluster's node set aside, to fetch it from another one
    evidence/                   what a cluster's node kept of a state that differed (rsm.node.storage.bundles)

The identity is written last when a directory is made, so a directory that has one has everything; a crash before that
leaves a directory that is made again. It is never made again over a log that holds entries: an identity that was lost
is damage, not a fresh start.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import msgspec

from rsm.codec.cbor import decode_canonical, encode
from rsm.codec.record import RECORD_FORMAT, Entry, RecordKind, check_format, decode_record, encode_record
from rsm.codec.shapes import make_known
from rsm.errors import BadBytes, CallerError, CorruptFile, StorageError, WrongMachine
from rsm.limits import CONTROL_BYTES_MAX, SEGMENT_BYTES
from rsm.node.storage.disk import Disk, Lock
from rsm.node.storage.files import located, new_file
from rsm.node.storage.journal import Journal
from rsm.node.storage.root_book import RootBook
from rsm.node.storage.scan import scan
from rsm.node.storage.segment import TornTail, is_segment_name
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.node.storage.term_file import TermFile

__all__ = ["Identity", "MachineDirectory", "new_cluster_id", "read_identity"]

_OWN_NAMES = frozenset(
    {
        "identity",
        "identity.tmp",
        "lock",
        "term",
        "term.tmp",
        "log",
        "snapshots",
        "recovering",
        "recovering.tmp",
        "damaged",
        "evidence",
        "roots",
    }
)


class Identity(msgspec.Struct, frozen=True):
    """Whose directory it is. `cluster_id` is 16 random bytes, chosen when the first directory of a cluster is made."""

    cluster_id: bytes
    group_id: int
    machine: str


make_known(Identity)


def new_cluster_id() -> bytes:
    """A fresh random cluster id."""
    return os.urandom(16)


def read_identity(disk: Disk, path: str) -> Identity:
    """Read a machine's directory without opening it. `StorageError` if it is none, `CorruptFile` if it is damaged."""
    identity_path = os.path.join(path, "identity")
    if not disk.exists(identity_path):
        raise StorageError(f"{path}: not the directory of a machine (it has no identity): check the path")
    file = disk.open(identity_path, writable=False)
    try:
        data = file.pread(CONTROL_BYTES_MAX + 1, 0)
    finally:
        file.close()
    with located(identity_path, 0):
        record, end = decode_record(data, bytes_max=CONTROL_BYTES_MAX)
        if record.kind is not RecordKind.IDENTITY or end != len(data):
            raise BadBytes("not one IDENTITY record")
        fields: Any = decode_canonical(record.payload, bytes_max=CONTROL_BYTES_MAX)
        if type(fields) is not dict:
            raise BadBytes("the identity is not a map")
        check_format("identity format", fields.pop("format", None), RECORD_FORMAT)
        try:
            identity = msgspec.convert(fields, Identity, strict=True)
        except msgspec.ValidationError as error:
            raise BadBytes(str(error)) from error
        if len(identity.cluster_id) != 16 or identity.group_id != record.group_id:
            raise BadBytes("the identity is not well-formed")
    return identity


class MachineDirectory:
    """A machine's directory, locked by this process until `close`. A context manager; made by `create` or `open`."""

    def __init__(self, disk: Disk, path: str, identity: Identity, lock: Lock) -> None:
        self.path = path
        self.identity = identity
        self._disk = disk
        self._lock: Lock | None = lock

    @classmethod
    def create(cls, disk: Disk, path: str, *, machine: str, cluster_id: bytes | None = None, group_id: int = 0) -> Self:
        """Make the directory (and its parents) with an empty log, and open it. Durable on return.

        `CallerError` if it is a machine's already or holds other files, `DirectoryInUse`, `CorruptFile` if its identity
        was lost.
        """
        _make_directories(disk, path)
        strange = set(disk.listdir(path)) - _OWN_NAMES
        if strange:
            raise CallerError(f"{path}: holds other files ({min(strange)}): choose an empty or a new directory")
        lock = disk.lock(os.path.join(path, "lock"))
        try:
            if disk.exists(os.path.join(path, "identity")):
                raise CallerError(f"{path}: is the directory of a machine already: open it, or choose another")
            _clear_unfinished(disk, path)
            identity = Identity(new_cluster_id() if cluster_id is None else cluster_id, group_id, machine)
            made = cls(disk, path, identity, lock)
            Journal.open(disk, made.log_path, group_id=group_id, cluster_id=identity.cluster_id).close()
            TermFile.open(disk, made.term_path, group_id=group_id).close()
            made.open_snapshots()
            made._write_identity()
        except BaseException:
            lock.release()
            raise
        return made

    @classmethod
    def open(
        cls,
        disk: Disk,
        path: str,
        *,
        machine: str | None = None,
        cluster_id: bytes | None = None,
        group_id: int | None = None,
    ) -> Self:
        """Lock an existing directory and check whose it is; what is given must match (`WrongMachine`).

        `DirectoryInUse` names the process that has it; `StorageError` if it is no machine's; `CorruptFile`.
        """
        identity = read_identity(disk, path)
        lock = disk.lock(os.path.join(path, "lock"))
        try:
            _check_identity(path, identity, machine, cluster_id, group_id)
            # The process that made the directory may have died before its names were on the disk.
            disk.fsync_directory(path)
            _sync_parent(disk, path)
            return cls(disk, path, identity, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open_or_create(cls, disk: Disk, path: str, *, machine: str) -> Self:
        """`open` if the directory is a machine's, else `create`."""
        if disk.exists(os.path.join(path, "identity")):
            return cls.open(disk, path, machine=machine)
        return cls.create(disk, path, machine=machine)

    @property
    def log_path(self) -> str:
        """The directory of the log."""
        return os.path.join(self.path, "log")

    @property
    def snapshots_path(self) -> str:
        """The directory of the snapshots."""
        return os.path.join(self.path, "snapshots")

    @property
    def recovering_path(self) -> str:
        """The mark of a node whose word does not count yet."""
        return os.path.join(self.path, "recovering")

    @property
    def is_recovering(self) -> bool:
        """Whether the mark is there."""
        return self._disk.exists(self.recovering_path)

    def mark_recovering(self) -> None:
        """Set the mark; durable on return."""
        if not self.is_recovering:
            with new_file(self._disk, self.recovering_path):
                pass

    def clear_recovering(self) -> None:
        """Take the mark away; durable on return."""
        if self.is_recovering:
            self._disk.unlink(self.recovering_path)
            self._disk.fsync_directory(self.path)

    @property
    def term_path(self) -> str:
        """The file of term and vote."""
        return os.path.join(self.path, "term")

    def open_journal(
        self,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        create: bool = False,
        observe: Callable[[Entry], None] | None = None,
        before_cut: Callable[[TornTail], None] | None = None,
    ) -> Journal:
        """Open the log, see `Journal.open`; `CorruptFile` if it is gone."""
        return Journal.open(
            self._disk,
            self.log_path,
            group_id=self.identity.group_id,
            cluster_id=self.identity.cluster_id,
            segment_bytes=segment_bytes,
            create=create,
            observe=observe,
            before_cut=before_cut,
        )

    def open_term(self) -> TermFile:
        """Open term and vote; `StorageError` if the file is gone, `CorruptFile` if it is damaged."""
        return TermFile.open(self._disk, self.term_path, group_id=self.identity.group_id, create=False)

    def open_snapshots(self) -> SnapshotFiles:
        """Open the snapshots, removing what crashed writers left."""
        return SnapshotFiles(self._disk, self.snapshots_path, group_id=self.identity.group_id)

    def open_roots(self) -> RootBook:
        """Open the book of roots; it is made when the first one is noted."""
        return RootBook(self._disk, self.path, group_id=self.identity.group_id)

    def _write_identity(self) -> None:
        path = os.path.join(self.path, "identity")
        payload = encode({"format": RECORD_FORMAT, **msgspec.structs.asdict(self.identity)})
        record = encode_record(
            RecordKind.IDENTITY, payload, group_id=self.identity.group_id, bytes_max=CONTROL_BYTES_MAX
        )
        # The other names are durable since log, term and snapshots were opened: what an identity promises is there.
        with new_file(self._disk, path) as file:
            file.pwrite(record, 0)

    def close(self) -> None:
        """Release the lock. Close what was opened from the directory before."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_identity(
    path: str, identity: Identity, machine: str | None, cluster_id: bytes | None, group_id: int | None
) -> None:
    if machine is not None and identity.machine != machine:
        raise WrongMachine(f"{path}: belongs to machine {identity.machine!r}, not to {machine!r}")
    if cluster_id is not None and identity.cluster_id != cluster_id:
        raise WrongMachine(f"{path}: belongs to cluster {identity.cluster_id.hex()}, not to {cluster_id.hex()}")
    if group_id is not None and identity.group_id != group_id:
        raise WrongMachine(f"{path}: belongs to group {identity.group_id}, not to group {group_id}")


def _make_directories(disk: Disk, path: str) -> None:
    parent = os.path.dirname(path) or "."
    if disk.exists(path):
        _sync_parent(disk, path)
        return
    _make_directories(disk, parent)
    disk.mkdir(path)
    disk.fsync_directory(parent)


def _sync_parent(disk: Disk, path: str) -> None:
    # The parent may be somebody else's and closed to reading; then its owner made our name, and it is not ours to sync.
    with contextlib.suppress(StorageError):
        disk.fsync_directory(os.path.dirname(path) or ".")


def _clear_unfinished(disk: Disk, path: str) -> None:
    """Remove what a crash inside `create` left, after making sure that it is nothing more than that."""
    log_path = os.path.join(path, "log")
    snapshots_path = os.path.join(path, "snapshots")
    segments = []
    if disk.exists(log_path):
        segments = [os.path.join(log_path, name) for name in disk.listdir(log_path)]
        logs = [segment for segment in segments if is_segment_name(os.path.basename(segment))]
        if len(logs) > 1 or any(entry for log in logs for entry in scan(disk, log)):
            raise CorruptFile(os.path.join(path, "identity"), 0, "the identity is missing, but the log holds entries")
    if disk.exists(snapshots_path) and disk.listdir(snapshots_path):
        raise CorruptFile(os.path.join(path, "identity"), 0, "the identity is missing, but there are snapshots")
    for name in [
        *segments,
        os.path.join(path, "term"),
        os.path.join(path, "term.tmp"),
        os.path.join(path, "identity.tmp"),
    ]:
        if disk.exists(name):
            disk.unlink(name)
