"""The book of roots: every state root that this replica computed, so that somebody else can compare them later.

The log holds what a quorum confirmed; what one replica had is in memory, and in the manifests of its last snapshots.
The book keeps the rest: `roots` in a machine's directory, a ring of `ROOT_BOOK_RECORDS_MAX` records of 64 bytes. It is
evidence and no part of the state: it is written without syncs, and if the disk takes none of it, the replica goes on.

A replica that replays its log after a restart comes by the same indexes again. Equal roots are written once; a root
that differs from the one of the first time is written too, and both stay: that is a finding.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from rsm.codec.record import HEADER_BYTES, RecordKind, decode_header, encode_record
from rsm.errors import BadBytes, RsmError, StorageError
from rsm.limits import READ_BYTES, ROOT_BOOK_PART_RECORDS, ROOT_BOOK_RECORDS_MAX
from rsm.node.log import logger
from rsm.node.storage.disk import Disk, File
from rsm.node.storage.files import located, new_file

__all__ = [
    *("BOOK_NAME", "ROOTS_SUFFIX", "RootBook", "RootRecord"),
    *("book_path", "copy_roots", "read_roots", "write_roots"),
]

BOOK_NAME: Final = "roots"
# The roots that belong to an exported piece of a log lie in a file beside it, named like it.
ROOTS_SUFFIX: Final = ".roots"


class RootRecord(NamedTuple):
    """A root that was computed after the entry at an index. `number` counts the records of a book, from 1."""

    number: int
    index: int  # type: ignore[assignment]  # hides the method of tuples, which nobody calls
    root: bytes


def read_roots(
    disk: Disk, path: str, start: int = 0, stop: int = ROOT_BOOK_RECORDS_MAX
) -> tuple[list[RootRecord], list[int]]:
    """The records of a book, oldest first, and the offsets of those that are damaged; of the places from `start` to
    before `stop`.

    Only zeros is a place that was never written. `UnknownFormat` for the book of a newer release, `StorageError`.
    """
    found: list[RootRecord] = []
    damaged: list[int] = []
    file = disk.open(path, writable=False)
    try:
        end = min(file.size(), stop * HEADER_BYTES)
        for begin in range(start * HEADER_BYTES, end, READ_BYTES):
            data = file.pread(min(READ_BYTES, end - begin), begin)
            for offset in range(0, len(data), HEADER_BYTES):
                try:
                    with located(path, begin + offset):
                        found.append(_decode(data, offset))
                except BadBytes:
                    if any(data[offset : offset + HEADER_BYTES]):
                        damaged.append(begin + offset)
    finally:
        file.close()
    return sorted(found), damaged


def _decode(data: bytes, offset: int) -> RootRecord:
    header = decode_header(data, offset)
    if header.kind is not RecordKind.ROOT or header.stored_bytes or not header.index or not header.term:
        raise BadBytes("not the record of a root")
    return RootRecord(header.term, header.index, header.chain)


def _encode(record: RootRecord, group_id: int) -> bytes:
    # A header is all of it: the root lies where other records have their chain, the number where they have their term.
    return encode_record(
        RecordKind.ROOT, b"", index=record.index, term=record.number, group_id=group_id, chain=record.root
    )


def book_path(disk: Disk, path: str) -> str:
    """Where the book that belongs to a log lies, if there is one: in the directory of the machine, or beside a file.

    `path` is a machine's directory, its log directory, or a file.
    """
    if not disk.is_directory(path):
        return path + ROOTS_SUFFIX
    if os.path.basename(os.path.abspath(path)) == "log":
        path = os.path.dirname(os.path.abspath(path))
    return os.path.join(path, BOOK_NAME)


def copy_roots(disk: Disk, source: str, target: str, first: int, last: int) -> int:
    """Write the roots of the indexes from `first` to `last` into a book of its own, durable; return how many.

    Without any there is no file. `CallerError` if the target exists.
    """
    if not disk.exists(source):
        return 0
    records = read_roots(disk, source)[0]
    return write_roots(disk, target, ((one.index, one.root) for one in records if first <= one.index <= last))


def write_roots(disk: Disk, target: str, roots: Iterable[tuple[int, bytes]]) -> int:
    """Write indexes and roots into a book of its own, numbered from 1, durable; return how many.

    Without any there is no file. `CallerError` if the target exists.
    """
    records = [_encode(RootRecord(number, *one), 0) for number, one in enumerate(roots, 1)]
    if records:
        with new_file(disk, target) as file:
            file.pwrite(b"".join(records), 0)
    return len(records)


class RootBook:
    """Writes the book of one directory. Nothing here raises because of the disk: it is said once, and left."""

    def __init__(self, disk: Disk, directory: str, *, group_id: int = 0) -> None:
        self.path = os.path.join(directory, BOOK_NAME)
        self._disk = disk
        self._group_id = group_id
        self._file: File | None = None
        self._is_closed = False
        self._has_failed = False
        self._count = 0
        # What earlier runs wrote, until the replica has come by all of it.
        self._known: dict[int, bytes] = {}
        self._known_last = 0
        try:
            if disk.exists(self.path):
                records, _ = read_roots(disk, self.path)
                self._count = max((record.number for record in records), default=0)
                self._known = {record.index: record.root for record in records}
                self._known_last = max(self._known, default=0)
        except RsmError as error:  # of a newer release, or the disk said no: not ours to write over
            self._is_closed = True
            logger.warning("no roots are noted", error=str(error))

    def note(self, index: int, root: bytes) -> None:
        """Write down a root, unless it was the last word for its index already."""
        if self._is_closed or self._known.get(index) == root:
            return
        if self._known:
            if index > self._known_last:
                self._known = {}
            else:
                self._known[index] = root
        record = RootRecord(self._count + 1, index, root)
        try:
            if self._file is None:
                self._file = self._disk.open(self.path, create=not self._disk.exists(self.path))
            offset = self._count % ROOT_BOOK_RECORDS_MAX * HEADER_BYTES
            self._file.pwrite(_encode(record, self._group_id), offset)
            self._count += 1
            self._has_failed = False
        except StorageError as error:
            if not self._has_failed:
                self._has_failed = True
                logger.warning("a root was not noted", index=index, error=str(error))

    def read(self, first: int, last: int) -> Iterator[list[tuple[int, bytes]]]:
        """Its roots of the indexes from `first` to `last`, oldest note first, in parts, of which some may be empty; it
        may be written between them. Nothing more once it cannot be read.
        """
        count = min(self._count, ROOT_BOOK_RECORDS_MAX)
        oldest = self._count % count if count else 0
        for begin, end in ((oldest, count), (0, oldest)):
            for start in range(begin, end, ROOT_BOOK_PART_RECORDS):
                try:
                    found, _ = read_roots(self._disk, self.path, start, min(start + ROOT_BOOK_PART_RECORDS, end))
                except RsmError as error:
                    logger.warning("the noted roots cannot be read", error=str(error))
                    return
                yield [(record.index, record.root) for record in found if first <= record.index <= last]

    def amend(self, roots: dict[int, bytes], from_index: int) -> None:
        """The replica was made anew: from this index on its roots are these, where they are known. What it had before
        is in its evidence; here it would tell against a state that is gone.
        """
        if self._is_closed or self._file is None:
            return
        try:
            for record in read_roots(self._disk, self.path)[0]:
                if record.index >= from_index and record.root != (root := roots.get(record.index)):
                    data = bytes(HEADER_BYTES) if root is None else _encode(record._replace(root=root), self._group_id)
                    self._file.pwrite(data, (record.number - 1) % ROOT_BOOK_RECORDS_MAX * HEADER_BYTES)
        except RsmError as error:
            logger.warning("the noted roots could not be mended", error=str(error))

    def close(self) -> None:
        """Close the file."""
        self._is_closed = True
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(StorageError):
                file.close()
