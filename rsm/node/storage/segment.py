"""One segment file of the log: its head, its frames, and the judgement about a damaged end.

A segment is a SEGMENT record and then entry records in index order. Each record is followed by one `END_MARK` byte.
Sealed segments end with the mark of their last record; the last segment may go on with zeros, which are space written
ahead.

The judgement (the design's fourth promise) is needed when the next record is not whole and good:

* everything from its offset to the end of the file is zero: a clean end;
* the file ends inside it, or is zero from a sector boundary inside it to the end of the file: *torn*, the trace of a
  power cut during a write that was never acknowledged; allowed in the last segment only, and cut by whoever owns the
  log;
* anything else: *corrupt*, even the very last record.

The mark decides the case in which the two could be confused. It is not zero, so a record that was written completely
never looks torn, whatever its payload ends with and whichever of its other bits were damaged later. A head is never
torn: a segment gets its name only after its head was synced.

A reader may meet the owner at work. So whatever is not whole and good is read again before it is judged, and only after
the end of what is there was found: a log is written forwards, so whoever saw something behind a record finds it whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from rsm.codec.cbor import decode_canonical, encode
from rsm.codec.chain import CHAIN_BYTES, next_chain
from rsm.codec.record import (
    HEADER_BYTES,
    RECORD_FORMAT,
    Entry,
    Header,
    RecordKind,
    check_format,
    decode_header,
    decode_payload,
    encode_record,
)
from rsm.codec.shapes import make_known
from rsm.errors import BadBytes, CorruptFile, UnknownFormat
from rsm.limits import CONTROL_BYTES_MAX, ENTRY_BYTES_MAX, READ_BYTES, SECTOR_BYTES
from rsm.node.storage.disk import Disk, File
from rsm.node.storage.files import located

__all__ = [
    "END_MARK",
    "Frame",
    "SegmentHead",
    "SegmentReader",
    "TornTail",
    "Window",
    "check_succession",
    "encode_entry",
    "encode_head",
    "is_segment_name",
    "last_reset",
    "read_heads",
    "segment_name",
]

# Follows every record of a segment. Not zero, and no single flipped bit makes it zero.
END_MARK: Final = b"\xa5"

_ENTRY_KINDS: Final = frozenset({RecordKind.BATCH, RecordKind.NOOP, RecordKind.CONFIGURATION})


class SegmentHead(msgspec.Struct, frozen=True):
    """What a segment says about itself. `reset`: the log starts here; older segment files are left-overs of a crash."""

    cluster_id: bytes
    group_id: int
    first_index: int
    previous_term: int
    previous_chain: bytes
    reset: bool


make_known(SegmentHead)


class TornTail(msgspec.Struct, frozen=True):
    """The end of a log that a power cut left unfinished: `bytes` of it, from `offset` in the file at `path`."""

    path: str
    offset: int
    bytes: int


class Frame(msgspec.Struct, frozen=True, gc=False):
    """An entry and where it lies; `chain` is the hash chain after it, `end` the offset behind its mark."""

    entry: Entry
    chain: bytes
    offset: int
    end: int


def segment_name(first_index: int) -> str:
    """The file name of the segment that begins with this index."""
    return f"{first_index:020d}.log"


def is_segment_name(name: str) -> bool:
    """Whether a file name is one that `segment_name` makes."""
    return len(name) == 24 and name.endswith(".log") and name[:20].isascii() and name[:20].isdigit()


def encode_head(head: SegmentHead) -> bytes:
    """The first record of a segment, with its mark."""
    payload = encode({"format": RECORD_FORMAT, **msgspec.structs.asdict(head)})
    record = encode_record(
        RecordKind.SEGMENT,
        payload,
        index=head.first_index,
        term=head.previous_term,
        group_id=head.group_id,
        chain=head.previous_chain,
    )
    return record + END_MARK


def encode_entry(entry: Entry, chain: bytes, group_id: int, *, compress: bool) -> bytes:
    """One entry record with its mark; `chain` is the hash chain after the entry."""
    record = encode_record(
        entry.kind,
        entry.payload,
        index=entry.index,
        term=entry.term,
        group_id=group_id,
        chain=chain,
        compress=compress,
    )
    return record + END_MARK


class Window:
    """Sequential reads from a file through one bounded buffer."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._start = 0
        self._data = b""

    def read(self, count: int, offset: int) -> memoryview:
        """Return `count` bytes from `offset`, fewer only at the end of the file."""
        position = offset - self._start
        if position < 0 or position + count > len(self._data):
            self._data = self._file.pread(max(count, READ_BYTES), offset)
            self._start, position = offset, 0
        return memoryview(self._data)[position : position + count]

    def forget(self) -> None:
        """Read the file again from here on: somebody may be writing it."""
        self._data = b""


class SegmentReader:
    """Reads and verifies one segment from its head to its end, in bounded memory; never changes it.

    Making one reads the head. Iteration yields `Frame`s in index order and checks checksums, group, index, term and
    chain. Afterwards `end` is the offset behind the last whole record and `torn` the torn tail, if there was one (only
    with `last`). Everything else that is not right raises `CorruptFile` at its place, what a newer release wrote
    `UnknownFormat`. Iterating once more goes on
    behind `end`: the segment may have grown.
    """

    def __init__(self, file: File, *, last: bool) -> None:
        self.path = file.path
        self.torn: TornTail | None = None
        self._file = file
        self._last = last
        self._window = Window(file)
        self.head, self.end = self._read_head()
        self._position = self.head.first_index - 1, self.head.previous_term, self.head.previous_chain

    def _corrupt(self, offset: int, what: object) -> CorruptFile:
        return CorruptFile(self.path, offset, str(what))

    def _read_head(self) -> tuple[SegmentHead, int]:
        with located(self.path, 0, "segment head: "):
            header = decode_header(self._window.read(HEADER_BYTES, 0), bytes_max=CONTROL_BYTES_MAX)
            if header.kind is not RecordKind.SEGMENT:
                raise BadBytes(f"a segment starts with a SEGMENT record, not {header.kind.name}")
            payload = self._payload(header, 0)
            fields = decode_canonical(payload, bytes_max=CONTROL_BYTES_MAX)
            if type(fields) is not dict:
                raise BadBytes("not a map")
            check_format("segment format", fields.pop("format", None), RECORD_FORMAT)
            try:
                head = msgspec.convert(fields, SegmentHead, strict=True)
            except msgspec.ValidationError as error:
                raise BadBytes(str(error)) from error
            if len(head.cluster_id) != 16 or len(head.previous_chain) != CHAIN_BYTES or head.first_index < 1:
                raise BadBytes("the segment head is not well-formed")
            if encode_head(head)[: HEADER_BYTES + len(payload)] != bytes(self._window.read(header.record_bytes, 0)):
                raise BadBytes("the segment head contradicts its own header")
        return head, header.record_bytes + len(END_MARK)

    def _header(self, offset: int) -> Header:
        try:
            return decode_header(self._window.read(HEADER_BYTES, offset), bytes_max=ENTRY_BYTES_MAX)
        except UnknownFormat as error:
            raise UnknownFormat(f"{self.path}: offset {offset}: {error}") from error

    def _payload(self, header: Header, offset: int) -> bytes:
        # Copied out of the window once; a memoryview would keep the whole window alive with every entry.
        data = self._window.read(header.stored_bytes + len(END_MARK), offset + HEADER_BYTES)
        payload = decode_payload(header, data[: header.stored_bytes])
        if bytes(data[header.stored_bytes :]) != END_MARK:
            raise BadBytes("the record is not followed by its end mark")
        return payload

    def __iter__(self) -> Iterator[Frame]:
        self.torn = None
        offset, size = self.end, self._file.size()
        index, term, chain = self._position
        while offset < size:
            try:
                header = self._header(offset)
                payload = self._payload(header, offset)
            except BadBytes:
                found = self._look_again(offset)
                if found is None:
                    return
                header, payload = found
            self._check_order(offset, header, index, term)
            index, term = header.index, header.term
            chain = next_chain(chain, index, term, header.kind, payload)
            if chain != header.chain:
                raise self._corrupt(offset, f"entry {index} breaks the hash chain")
            entry = Entry(index, term, header.kind, payload)
            self.end = offset + header.record_bytes + len(END_MARK)
            self._position = index, term, chain
            frame = Frame(entry, chain, offset, self.end)
            offset = self.end
            yield frame

    def resume(self, end: int, index: int, term: int, chain: bytes) -> None:
        """Go on at offset `end`, behind a record of this index, term and chain that somebody else has verified."""
        self.end, self._position = end, (index, term, chain)

    def _check_order(self, offset: int, header: Header, index: int, term: int) -> None:
        if header.kind not in _ENTRY_KINDS:
            raise self._corrupt(offset, f"a {header.kind.name} record has no place in a log")
        if header.group_id != self.head.group_id:
            raise self._corrupt(offset, f"a record of group {header.group_id} in a log of group {self.head.group_id}")
        if header.index != index + 1:
            raise self._corrupt(offset, f"index {header.index} follows index {index}")
        if header.term < term:
            raise self._corrupt(offset, f"index {header.index} has term {header.term} after term {term}")

    def _look_again(self, offset: int) -> tuple[Header, bytes] | None:
        """The record at `offset` if it is whole after all; else the judgement, and None."""
        self._window.forget()
        size = self._file.size()
        data_end = self._data_end(offset, size)
        self._window.forget()
        end = offset + HEADER_BYTES
        try:
            header = self._header(offset)
            end = offset + header.record_bytes + len(END_MARK)
            return header, self._payload(header, offset)
        except BadBytes as error:
            self._judge(offset, end, data_end, size, error)
            return None

    def _judge(self, offset: int, end: int, data_end: int, size: int, error: BadBytes) -> None:
        """Decide what a record from `offset` to `end` (as far as known) is that is not whole and good."""
        if not self._last:
            raise self._corrupt(offset, f"{error} (in a sealed segment)")
        if data_end == offset:
            return
        first_zero_sector = -(-data_end // SECTOR_BYTES) * SECTOR_BYTES
        if end <= size and first_zero_sector >= end:
            raise self._corrupt(offset, error)
        self.torn = TornTail(self.path, offset, data_end - offset)

    def _data_end(self, offset: int, size: int) -> int:
        """The offset behind the last byte that is not zero, at least `offset`."""
        end = offset
        position = offset
        while position < size:
            data = bytes(self._window.read(min(READ_BYTES, size - position), position))
            stripped = data.rstrip(b"\0")
            if stripped:
                end = position + len(stripped)
            if not data:
                break
            position += len(data)
        return end


def read_heads(disk: Disk, paths: Sequence[str]) -> list[SegmentHead]:
    """The verified heads of segment files, named as the journal names them."""
    heads = []
    for path in paths:
        file = disk.open(path, writable=False)
        try:
            heads.append(SegmentReader(file, last=True).head)
        finally:
            file.close()
        if os.path.basename(path) != segment_name(heads[-1].first_index):
            raise CorruptFile(path, 0, f"the head says that it begins at index {heads[-1].first_index}")
    return heads


def last_reset(heads: Sequence[SegmentHead]) -> int:
    """Where the log starts: segments before the last one with `reset` are left-overs of a crash."""
    return max((position for position, head in enumerate(heads) if head.reset), default=0)


def check_succession(path: str, head: SegmentHead, index: int, term: int, chain: bytes) -> None:
    """Raise `CorruptFile` unless the segment goes on where the one before it ended."""
    if head.first_index != index + 1:
        raise CorruptFile(path, 0, f"begins at index {head.first_index}, but the segment before it ends at {index}")
    if head.previous_term != term or head.previous_chain != chain:
        raise CorruptFile(path, 0, f"does not continue the segment before it (index {index})")
