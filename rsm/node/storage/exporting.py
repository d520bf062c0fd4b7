"""What a running node exports of its log, written into one segment file, and the roots that it noted, beside it.

It comes in parts, each what an EXPORT answer carries: `[head or None, [[index, term, kind, payload, chain], ...]]`, the
head with the first part only. The hash chain is computed anew on the way, so a file that was written is whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final

import msgspec

from rsm.codec.chain import next_chain
from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes
from rsm.limits import ROOT_BOOK_RECORDS_MAX
from rsm.node.storage.disk import Disk, File
from rsm.node.storage.files import new_file
from rsm.node.storage.segment import SegmentHead, encode_entry, encode_head

__all__ = ["ExportHead", "ExportRow", "read_part", "read_roots_parts", "write_parts"]

Root = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
ENTRY_KINDS: Final = frozenset({RecordKind.BATCH, RecordKind.NOOP, RecordKind.CONFIGURATION})


class ExportHead(msgspec.Struct):
    """Where a piece of a log begins: what lies before its first entry."""

    cluster_id: bytes
    group_id: int
    first_index: int
    previous_term: int
    previous_chain: bytes

    def segment_head(self) -> SegmentHead:
        """The head of the file: the log starts here."""
        return SegmentHead(
            self.cluster_id, self.group_id, self.first_index, self.previous_term, self.previous_chain, True
        )


class ExportRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One entry, and the hash chain up to and with it."""

    index: int
    term: int
    kind: RecordKind
    payload: bytes
    chain: bytes


def read_part(part: Any) -> tuple[ExportHead | None, list[ExportRow]]:
    """Head and entries of what one answer carries. `BadBytes` if it is not that."""
    try:
        head, packed = part
        rows = msgspec.convert(packed, list[ExportRow], strict=True)
        return None if head is None else msgspec.convert(head, ExportHead, strict=True), rows
    except (TypeError, ValueError, msgspec.ValidationError) as error:
        raise BadBytes(f"a part of a log cannot be read: {error}") from error


def write_parts(disk: Disk, target: str, parts: Iterable[Any]) -> tuple[int, int]:
    """Write what a node exports into one segment file, durable; first and last index.

    `BadBytes` if it is not a whole piece of a log, and then there is no file; `CallerError` if the target exists.
    """
    with new_file(disk, target) as file:
        writer = None
        for part in parts:
            head, rows = read_part(part)
            if writer is None:
                if head is None:
                    raise BadBytes("a part of a log cannot be read: the first one has no head")
                writer = _Writer(file, head.segment_head())
            for row in rows:
                writer.add(Entry(row.index, row.term, row.kind, row.payload), row.chain)
        if writer is None:
            raise BadBytes("the node sent no part of its log")
        return writer.head.first_index, writer.index


def read_roots_parts(parts: Iterable[Any], first: int, last: int) -> Iterator[tuple[int, bytes]]:
    """Index and root of what ROOTS answers carry, of these indexes. `BadBytes` if they carry something else, or more
    than a node can have noted.
    """
    count = 0
    for part in parts:
        try:
            (found,) = msgspec.convert(part, tuple[list[tuple[int, Root]]], strict=True)
        except msgspec.ValidationError as error:
            raise BadBytes(f"a part of a node's roots cannot be read: {error}") from error
        count += len(found)
        if count > ROOT_BOOK_RECORDS_MAX:
            raise BadBytes(f"the node sent more than {ROOT_BOOK_RECORDS_MAX} roots")
        yield from (one for one in found if first <= one[0] <= last)


class _Writer:
    """Appends entries to a segment file, checking that they follow each other."""

    def __init__(self, file: File, head: SegmentHead) -> None:
        self.head = head
        self.index = head.first_index - 1
        self._term = head.previous_term
        self._chain = head.previous_chain
        self._file = file
        data = encode_head(head)
        file.pwrite(data, 0)
        self._offset = len(data)

    def add(self, entry: Entry, chain: bytes) -> None:
        """Write the next entry; `BadBytes` if it is not that."""
        if entry.kind not in ENTRY_KINDS:
            raise BadBytes(f"a {entry.kind.name} record has no place in a log")
        expected = next_chain(self._chain, entry.index, entry.term, entry.kind, entry.payload)
        if entry.index != self.index + 1 or entry.term < self._term or chain != expected:
            raise BadBytes(f"entry {entry.index} does not follow entry {self.index}")
        record = encode_entry(entry, chain, self.head.group_id, compress=True)
        self._file.pwrite(record, self._offset)
        self._offset += len(record)
        self.index, self._term, self._chain = entry.index, entry.term, chain
