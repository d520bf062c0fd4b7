"""Reading logs to compare them: every byte is verified, and equal bytes only once.

A *run* is what one read of a segment holds: whole records, about a mebibyte. The first log to come by a run checks each
record of it (header, payload, order, chain, mark). Another log that stands at the same index with the same chain only
has its bytes compared, by a hash of 128 bits. Two logs of a million entries cost little more than one.

What does not look like the next record is left to `SegmentReader`, which knows the end of a log, a torn tail and
damage from each other.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from rsm.codec.chain import CHAIN_BYTES
from rsm.codec.record import FLAG_LZ4, HEADER_BYTES, Entry, RecordKind, decode_record, decompress
from rsm.errors import BadBytes, CorruptFile
from rsm.limits import ENTRY_BYTES_MAX, READ_BYTES
from rsm.node.storage.disk import File
from rsm.node.storage.files import located
from rsm.node.storage.segment import END_MARK, Frame
from rsm.replica.batch import ACTIVATE, CONFIRMED, decode_batch

__all__ = ["Note", "Place", "Run", "Runs", "entry_in", "read_run", "run_of"]

# The frame of docs/formats.md, taken apart in one step; `rsm.codec.record` is the judge of everything else.
_HEADER: Final = struct.Struct(f"<8sIIIQQ{CHAIN_BYTES}sQI")
_POSITION: Final = struct.Struct("<QQB")
_FIELDS_BYTES: Final = 60
_LOW_32_BITS: Final = 0xFFFFFFFF
_MARK: Final = END_MARK[0]
# Magic, format, kind, flags and reserved of an entry's record, and what they say: its kind, and whether it is packed.
_STARTS: Final = {
    bytes((0x72, 0x6D, 1, kind, flags, 0, 0, 0)): (int(kind), flags)
    for kind in (RecordKind.BATCH, RecordKind.NOOP, RecordKind.CONFIGURATION)
    for flags in (0, FLAG_LZ4)
}
_NAMES: Final = (CONFIRMED.encode(), ACTIVATE.encode())


class Place(NamedTuple):
    """Behind an entry: its index, term and chain."""

    index: int  # type: ignore[assignment]  # hides the method of tuples, which nobody calls
    term: int
    chain: bytes


class Note(NamedTuple):
    """What the log says about itself in an entry: a confirmed root (`values` is index and root), or an activation."""

    index: int  # type: ignore[assignment]
    name: str
    values: list[Any]


class Run(msgspec.Struct, frozen=True):
    """Verified records one behind the other: their size in bytes, their digest, the places before and behind them."""

    before: Place
    behind: Place
    size: int
    digest: bytes
    notes: tuple[Note, ...]


class Runs:
    """The runs that were verified, by where they begin."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, Place], Run] = {}
        self.starts: set[int] = set()  # indexes behind which a run begins

    def known(self, group_id: int, before: Place) -> Run | None:
        """The run that some log has at this place."""
        return self._known.get((group_id, before))

    def add(self, group_id: int, run: Run) -> None:
        """Another one. If there is one already, that stays."""
        self._known.setdefault((group_id, run.before), run)
        self.starts.add(run.before.index)


def read_run(file: File, offset: int, before: Place, group_id: int, runs: Runs) -> Run | None:
    """The run at an offset of a segment; None if there is no whole good record, whatever the reason."""
    known = runs.known(group_id, before)
    if known is not None:
        data = file.pread(known.size, offset)
        if len(data) == known.size and xxh3_128_digest(data) == known.digest:
            return known
    else:
        data = file.pread(READ_BYTES, offset)
    behind, end, notes = _verify(data, before, group_id, runs.starts)
    if not end:
        # Perhaps the first record is larger than one read.
        data = file.pread(HEADER_BYTES + ENTRY_BYTES_MAX + 1, offset)
        behind, end, notes = _verify(data, before, group_id, runs.starts, records_max=1)
        if not end:
            return None
    run = Run(before, behind, end, xxh3_128_digest(memoryview(data)[:end]), notes)
    runs.add(group_id, run)
    return run


def run_of(file: File, frame: Frame, before: Place) -> Run:
    """A run of one record that `SegmentReader` has verified."""
    entry = frame.entry
    data = file.pread(frame.end - frame.offset, frame.offset)
    notes = tuple(_notes(entry.index, entry.payload)) if entry.kind is RecordKind.BATCH else ()
    behind = Place(entry.index, entry.term, frame.chain)
    return Run(before, behind, len(data), xxh3_128_digest(data), notes)


def _verify(
    data: bytes, before: Place, group_id: int, stops: set[int], records_max: int = 2**63
) -> tuple[Place, int, tuple[Note, ...]]:
    """Check whole records at the beginning of `data`: the place behind them, where they end, what they say."""
    # One loop without calls into our own code: a log may have a million entries of one command each.
    index, term, chain = before
    notes: list[Note] = []
    unpack, position, starts, size = _HEADER.unpack_from, _POSITION.pack, _STARTS, len(data)
    checksum_of, chain_of = xxh3_64_intdigest, blake2b
    offset = count = 0
    last = size - HEADER_BYTES
    while offset < last and count < records_max:
        start, group, stored, raw, next_index, next_term, next_chain, payload_checksum, checksum = unpack(data, offset)
        known = starts.get(start)
        body = offset + HEADER_BYTES
        end = body + stored
        if (
            known is None
            or end >= size
            or next_index != index + 1
            or next_term < term
            or group != group_id
            or raw > ENTRY_BYTES_MAX
            or data[end] != _MARK
            or checksum_of(data[offset : offset + _FIELDS_BYTES]) & _LOW_32_BITS != checksum
        ):
            break
        payload = data[body:end]
        kind, flags = known
        if flags:
            # The chain covers what is in the frame, and not the frame.
            if checksum_of(payload) != payload_checksum:
                break
            try:
                payload = decompress(payload, raw)
            except BadBytes:
                break
        elif stored != raw:
            break
        if chain_of(chain + position(next_index, next_term, kind) + payload, digest_size=16).digest() != next_chain:
            break
        index, term, chain = next_index, next_term, next_chain
        if b"rsm." in payload and kind == RecordKind.BATCH:
            notes += _notes(index, payload)
        offset = end + 1
        count += 1
        if index in stops:
            break  # another log has a run that begins here: from here on, bytes can be compared
    return Place(index, term, chain), offset, tuple(notes)


def _notes(index: int, payload: bytes) -> Iterator[Note]:
    if not any(name in payload for name in _NAMES):
        return
    try:
        items = decode_batch(payload).items
    except BadBytes:
        return  # whoever compares it will say so
    for item in items:
        if type(item) is list and len(item) in (6, 7) and type(item[5]) is list:
            name, values = item[3], item[5]
            if name == CONFIRMED and [type(value) for value in values] == [int, bytes]:
                yield Note(index, CONFIRMED, values)
            elif name == ACTIVATE and len(values) >= 3 and type(values[0]) is str:
                yield Note(index, ACTIVATE, values)


def entry_in(file: File, offset: int, run: Run, index: int) -> tuple[Entry, bytes]:
    """One entry of a run that lies at `offset`, and the chain behind it. `CorruptFile` if it is there no longer."""
    data = file.pread(run.size, offset)
    position = 0
    for _ in range(index - run.before.index):
        with located(file.path, offset + position):
            record, end = decode_record(data, position)
            if record.index == index:
                return Entry(index, record.term, record.kind, record.payload), record.chain
        position = end + len(END_MARK)
    raise CorruptFile(file.path, offset, f"not the records up to index {index} that were read here before")
