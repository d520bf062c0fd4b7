"""Snapshot files: records in a fixed order, streamed out and in, complete or not there at all.

A snapshot is written under a temporary name and gets its own, `<index>.snapshot`, only after its last byte was synced;
so a crash leaves the old snapshots or the new one, never half of it. Every record carries the hash chain of all before
it, and the END record their number: a record that is missing, doubled, out of order or damaged is found at its place.
What the records mean (manifest, buckets) is the replica's business.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

from rsm.codec.cbor import decode_canonical, encode
from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import HEADER_BYTES, Header, RecordKind, decode_header, decode_payload, encode_record
from rsm.errors import BadBytes, CallerError, CorruptFile, StorageError
from rsm.limits import READ_BYTES, SNAPSHOT_RECORD_BYTES_MAX, SNAPSHOT_SYNC_BYTES
from rsm.node.storage.disk import Disk, File
from rsm.node.storage.files import located, new_file
from rsm.node.storage.segment import Window

__all__ = ["SnapshotFiles", "SnapshotWriter", "copy_snapshot", "read_snapshot", "snapshot_position"]

SUFFIX: Final = ".snapshot"
TEMPORARY_SUFFIX: Final = ".tmp"
UNREADABLE_SUFFIX: Final = ".unreadable"
_CONTENT_KINDS: Final = frozenset({RecordKind.MANIFEST, RecordKind.CHUNK})


def snapshot_name(index: int) -> str:
    """The file name of the snapshot taken after this log index."""
    return f"{index:020d}{SUFFIX}"


class SnapshotWriter:
    """Writes one snapshot. `add` records in order, then `commit`; or `abort`. As a context manager it aborts on an
    error.
    """

    def __init__(self, disk: Disk, path: str, index: int, term: int, group_id: int) -> None:
        self.path = path
        self.index = index
        self.term = term
        self._disk = disk
        self._group_id = group_id
        self._temporary = path + TEMPORARY_SUFFIX
        if disk.exists(self._temporary):
            disk.unlink(self._temporary)
        self._file: File | None = disk.open(self._temporary, create=True)
        self._offset = 0
        self._synced = 0
        self._count = 0
        self._chain = ZERO_CHAIN

    def add(self, kind: RecordKind, payload: bytes) -> None:
        """Write one MANIFEST or CHUNK record of at most `SNAPSHOT_RECORD_BYTES_MAX` bytes (else `LimitExceeded`)."""
        if kind not in _CONTENT_KINDS:
            raise CallerError(f"a {kind.name} record has no place in a snapshot")
        self._write(kind, payload)

    def _write(self, kind: RecordKind, payload: bytes) -> None:
        file = self._open_file()
        chain = next_chain(self._chain, self._count, self.term, kind, payload)
        record = encode_record(
            kind,
            payload,
            index=self.index,
            term=self.term,
            group_id=self._group_id,
            chain=chain,
            compress=True,
            bytes_max=SNAPSHOT_RECORD_BYTES_MAX,
        )
        file.pwrite(record, self._offset)
        self._offset += len(record)
        if self._offset - self._synced >= SNAPSHOT_SYNC_BYTES:
            file.fdatasync()
            self._synced = self._offset
        self._count += 1
        self._chain = chain

    def _open_file(self) -> File:
        if self._file is None:
            raise CallerError(f"{self.path}: the snapshot is already committed or aborted")
        return self._file

    def commit(self) -> str:
        """Finish: END record, sync, rename, sync of the directory. Return the path. The snapshot is durable."""
        self._write(RecordKind.END, encode({"records": self._count}))
        file = self._open_file()
        file.fdatasync()
        self._file = None
        file.close()
        self._disk.rename(self._temporary, self.path)
        self._disk.fsync_directory(os.path.dirname(self.path) or ".")
        return self.path

    def abort(self) -> None:
        """Give up and remove what was written. A no-op after `commit` or `abort`."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
            # What cannot be removed now is removed when the directory is opened next.
            with contextlib.suppress(StorageError):
                self._disk.unlink(self._temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()


class SnapshotFiles:
    """The snapshots of one machine, in a directory of their own. Opening removes what crashed writers left."""

    def __init__(self, disk: Disk, path: str, *, group_id: int = 0) -> None:
        self.path = path
        self._disk = disk
        self._group_id = group_id
        if not disk.exists(path):
            disk.mkdir(path)
        # Names that an earlier process of ours made or removed may not be on the disk yet.
        disk.fsync_directory(os.path.dirname(path) or ".")
        for name in disk.listdir(path):
            if name.endswith(SUFFIX + TEMPORARY_SUFFIX):
                disk.unlink(os.path.join(path, name))
        disk.fsync_directory(path)

    def indexes(self) -> list[int]:
        """The log indexes of the snapshots there are, ascending."""
        names = self._disk.listdir(self.path)
        stems = [name[: -len(SUFFIX)] for name in names if name.endswith(SUFFIX)]
        return sorted(int(stem) for stem in stems if len(stem) == 20 and stem.isascii() and stem.isdigit())

    def path_of(self, index: int) -> str:
        """The path of the snapshot taken after this log index."""
        return os.path.join(self.path, snapshot_name(index))

    def begin(self, index: int, term: int) -> SnapshotWriter:
        """Start a snapshot of the state after `index`, whose entry has `term`. It replaces one of the same index."""
        return SnapshotWriter(self._disk, self.path_of(index), index, term, self._group_id)

    def read(self, index: int) -> Iterator[tuple[RecordKind, bytes]]:
        """Stream the records of a snapshot; see `read_snapshot`."""
        return read_snapshot(self._disk, self.path_of(index), index=index, group_id=self._group_id)

    def set_aside(self, index: int) -> str:
        """Give a snapshot that cannot be read another name, so that it counts no longer; return its new path."""
        target = self.path_of(index) + UNREADABLE_SUFFIX
        self._disk.rename(self.path_of(index), target)
        self._disk.fsync_directory(self.path)
        return target

    def remove_older(self, keep: int) -> list[int]:
        """Remove all but the newest `keep` snapshots (at least one is kept); return the removed indexes."""
        removed = self.indexes()[: -max(1, keep)]
        self.remove(removed)
        return removed

    def remove(self, indexes: list[int]) -> None:
        """Remove the snapshots taken after these log indexes."""
        for index in indexes:
            self._disk.unlink(self.path_of(index))
        if indexes:
            self._disk.fsync_directory(self.path)


def copy_snapshot(disk: Disk, source: str, target: str) -> None:
    """Copy a snapshot file as it is, durable on return; `CallerError` if the target exists."""
    read = disk.open(source, writable=False)
    try:
        with new_file(disk, target) as write:
            offset = 0
            while data := read.pread(READ_BYTES, offset):
                write.pwrite(data, offset)
                offset += len(data)
    finally:
        read.close()


def snapshot_position(disk: Disk, path: str) -> tuple[int, int, int]:
    """Index, term and group of a snapshot file, from its first record. `CorruptFile`, `StorageError`."""
    file = disk.open(path, writable=False)
    try:
        header = _decode_header(path, Window(file), 0)
    finally:
        file.close()
    return header.index, header.term, header.group_id


def _decode_header(path: str, window: Window, offset: int) -> Header:
    with located(path, offset):
        return decode_header(window.read(HEADER_BYTES, offset), bytes_max=SNAPSHOT_RECORD_BYTES_MAX)


def read_snapshot(
    disk: Disk, path: str, *, index: int | None = None, group_id: int | None = None
) -> Iterator[tuple[RecordKind, bytes]]:
    """Stream (kind, payload) of every MANIFEST and CHUNK record, one in memory at a time.

    Raises `CorruptFile` at the place of the damage; a snapshot is only known to be whole when the iteration has ended.
    With `index` and `group_id`, also if the file holds another snapshot.
    """
    file = disk.open(path, writable=False)
    try:
        yield from _read(path, file, index, group_id)
    finally:
        file.close()


def _read(path: str, file: File, index: int | None, group_id: int | None) -> Iterator[tuple[RecordKind, bytes]]:
    size = file.size()
    window = Window(file)
    offset = 0
    count = 0
    chain = ZERO_CHAIN
    first: Header | None = None
    while offset < size:
        header = _decode_header(path, window, offset)
        first = first or header
        with located(path, offset):
            payload = decode_payload(header, window.read(header.stored_bytes, offset + HEADER_BYTES))
            if (header.index, header.term, header.group_id) != (first.index, first.term, first.group_id):
                raise BadBytes("the record belongs to another snapshot")
            if index not in (None, header.index) or group_id not in (None, header.group_id):
                raise BadBytes(f"this is the snapshot of index {header.index} of group {header.group_id}")
            chain = next_chain(chain, count, header.term, header.kind, payload)
            if chain != header.chain:
                raise BadBytes("the record breaks the chain: one is missing, doubled or out of order")
            if header.kind is RecordKind.END:
                fields: Any = decode_canonical(payload, bytes_max=64)
                if fields != {"records": count} or offset + header.record_bytes != size:
                    raise BadBytes("the END record does not fit the snapshot")
                return
            if header.kind not in _CONTENT_KINDS:
                raise BadBytes(f"a {header.kind.name} record has no place in a snapshot")
        yield header.kind, payload
        count += 1
        offset += header.record_bytes
    raise CorruptFile(path, offset, "the snapshot has no END record")
