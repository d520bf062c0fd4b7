"""Record frames: the one shape in which anything of rsm lies on a disk.

A frame is a 64-byte little-endian header and the stored payload::

    offset size field
         0    2 magic              0x6D72 ("rm")
         2    1 format             1
         3    1 kind               RecordKind
         4    2 flags              bit 0: the payload is one lz4 frame; all others 0
         6    2 reserved           0
         8    4 group_id
        12    4 stored_bytes       length of the payload as stored
        16    4 raw_bytes          length of the payload after decompression
        20    8 index
        28    8 term
        36   16 chain              the hash chain after this record
        52    8 payload_checksum   xxh3_64 of the stored payload
        60    4 header_checksum    low 32 bits of xxh3_64 of bytes 0 to 59

The header has its own checksum so that a damaged length is not taken for a record that was cut short. Nothing is
allocated or decompressed before both lengths were compared with a bound, and decompression stops at the promised
length. Checksums find accidents; they are no defence against somebody who can write the file.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import lz4.frame
import msgspec
from xxhash import xxh3_64_intdigest

from rsm.codec.chain import CHAIN_BYTES, ZERO_CHAIN
from rsm.errors import BadBytes, LimitExceeded, UnknownFormat
from rsm.limits import COMPRESS_BYTES_MIN, ENTRY_BYTES_MAX

__all__ = [
    "HEADER_BYTES",
    "RECORD_FORMAT",
    "Entry",
    "Header",
    "Record",
    "RecordKind",
    "check_format",
    "decode_header",
    "decode_payload",
    "decode_record",
    "decompress",
    "encode_record",
]

MAGIC: Final = 0x6D72
RECORD_FORMAT: Final = 1
HEADER_BYTES: Final = 64
FLAG_LZ4: Final = 1

_FIELDS: Final = struct.Struct(f"<HBBHHIIIQQ{CHAIN_BYTES}sQ")
_HEADER: Final = struct.Struct(f"<HBBHHIIIQQ{CHAIN_BYTES}sQI")
_CHECKSUM: Final = struct.Struct("<I")
_LOW_32_BITS: Final = 0xFFFFFFFF
_FIELDS_BYTES: Final = _FIELDS.size


class RecordKind(IntEnum):
    """What a record holds. Part of the format: numbers are never reused."""

    SEGMENT = 1
    BATCH = 2
    NOOP = 3
    CONFIGURATION = 4
    MANIFEST = 5
    CHUNK = 6
    END = 7
    TERM = 8
    IDENTITY = 9
    ROOT = 10


_KINDS: Final = {int(kind): kind for kind in RecordKind}


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One log entry: what the journal stores and Raft replicates. `payload` is opaque here and never compressed."""

    index: int
    term: int
    kind: RecordKind
    payload: bytes


class Header(msgspec.Struct, frozen=True, gc=False):
    """The header of a frame, checked by itself; the payload has not been looked at."""

    kind: RecordKind
    flags: int
    group_id: int
    stored_bytes: int
    raw_bytes: int
    index: int
    term: int
    chain: bytes
    payload_checksum: int

    @property
    def record_bytes(self) -> int:
        """Length of the whole frame."""
        return HEADER_BYTES + self.stored_bytes


class Record(msgspec.Struct, frozen=True, gc=False):
    """One whole, verified frame with its payload decompressed."""

    kind: RecordKind
    payload: bytes
    index: int = 0
    term: int = 0
    group_id: int = 0
    chain: bytes = ZERO_CHAIN


def encode_record(
    kind: RecordKind,
    payload: bytes,
    *,
    index: int = 0,
    term: int = 0,
    group_id: int = 0,
    chain: bytes = ZERO_CHAIN,
    compress: bool = False,
    bytes_max: int = ENTRY_BYTES_MAX,
) -> bytes:
    """Return the frame. With `compress`, a payload of at least `COMPRESS_BYTES_MIN` bytes is stored as lz4 if that is
    smaller.

    Raises `LimitExceeded` for a payload of more than `bytes_max` bytes.
    """
    raw_bytes = len(payload)
    if raw_bytes > bytes_max:
        raise LimitExceeded(f"a {kind.name} payload of {raw_bytes} bytes exceeds the bound of {bytes_max}")
    flags = 0
    stored = payload
    if compress and raw_bytes >= COMPRESS_BYTES_MIN:
        packed: bytes = lz4.frame.compress(payload, store_size=False)
        if len(packed) < raw_bytes:
            flags = FLAG_LZ4
            stored = packed
    fields = _FIELDS.pack(
        MAGIC,
        RECORD_FORMAT,
        kind,
        flags,
        0,
        group_id,
        len(stored),
        raw_bytes,
        index,
        term,
        chain,
        xxh3_64_intdigest(stored),
    )
    return fields + _CHECKSUM.pack(xxh3_64_intdigest(fields) & _LOW_32_BITS) + stored


def check_format(what: str, found: object, known: int) -> None:
    """Raise unless a format number is the one known here: `UnknownFormat` for a higher one, else `BadBytes`."""
    if type(found) is int and found > known:
        raise UnknownFormat(f"a newer release wrote this ({what} {found}, this release knows {known})")
    if type(found) is not int or found != known:
        raise BadBytes(f"{what} {found!r} is unknown; this release knows {known}")


def decode_header(data: bytes | memoryview, offset: int = 0, *, bytes_max: int = ENTRY_BYTES_MAX) -> Header:
    """Decode and check the header at `offset`. Raises `BadBytes`; also where either length exceeds `bytes_max`.

    `UnknownFormat` for the header of a newer release: whole, but of a format or kind, or with bits, not known here.
    """
    if len(data) - offset < HEADER_BYTES:
        raise BadBytes(f"a record header needs {HEADER_BYTES} bytes, {max(0, len(data) - offset)} are left")
    (
        magic,
        record_format,
        kind,
        flags,
        reserved,
        group_id,
        stored_bytes,
        raw_bytes,
        index,
        term,
        chain,
        payload_checksum,
        header_checksum,
    ) = _HEADER.unpack_from(data, offset)
    if xxh3_64_intdigest(data[offset : offset + _FIELDS_BYTES]) & _LOW_32_BITS != header_checksum:
        raise BadBytes("the record header does not match its checksum")
    # From here on the header is what somebody wrote; it may still be another program's, a later version's or an
    # enemy's.
    if magic != MAGIC:
        raise BadBytes(f"not an rsm record (magic {magic:#06x})")
    check_format("record format", record_format, RECORD_FORMAT)
    if kind not in _KINDS:
        check_format("record kind", kind, max(_KINDS))
    if flags & ~FLAG_LZ4 or reserved:
        raise UnknownFormat(f"a newer release wrote this record (flags {flags:#06x}, reserved {reserved:#06x})")
    if stored_bytes > bytes_max or raw_bytes > bytes_max:
        raise BadBytes(f"a payload of {max(stored_bytes, raw_bytes)} bytes exceeds the bound of {bytes_max}")
    if not flags and stored_bytes != raw_bytes:
        raise BadBytes(f"lengths differ ({stored_bytes} stored, {raw_bytes} raw) but nothing is compressed")
    return Header(_KINDS[kind], flags, group_id, stored_bytes, raw_bytes, index, term, chain, payload_checksum)


def decode_payload(header: Header, stored: bytes | memoryview) -> bytes:
    """Check `stored` (exactly `header.stored_bytes` long) against the header and return the raw payload; raises
    `BadBytes`.
    """
    if len(stored) != header.stored_bytes:
        raise BadBytes(f"the payload is short: {len(stored)} of {header.stored_bytes} bytes")
    if xxh3_64_intdigest(stored) != header.payload_checksum:
        raise BadBytes("the record payload does not match its checksum")
    if not header.flags & FLAG_LZ4:
        return bytes(stored)
    return decompress(stored, header.raw_bytes)


def decompress(stored: bytes | memoryview, raw_bytes: int) -> bytes:
    """The content of one lz4 frame that must inflate to exactly `raw_bytes`; `BadBytes`."""
    decompressor = lz4.frame.LZ4FrameDecompressor()
    try:
        # One byte more than promised, so that a frame that holds more is seen as such and nothing larger is ever
        # allocated.
        payload: bytes = decompressor.decompress(bytes(stored), max_length=raw_bytes + 1)
    except (RuntimeError, EOFError, ValueError) as error:
        raise BadBytes(f"bad lz4 frame: {' '.join(str(error).split())}") from error
    if len(payload) != raw_bytes:
        more = "more" if len(payload) > raw_bytes else f"{len(payload)}"
        raise BadBytes(f"the lz4 frame inflates to {more} bytes, the header says {raw_bytes}")
    if not decompressor.eof:
        raise BadBytes("the lz4 frame does not end")
    if decompressor.unused_data:
        raise BadBytes(f"{len(decompressor.unused_data)} bytes after the lz4 frame")
    return payload


def decode_record(data: bytes | memoryview, offset: int = 0, *, bytes_max: int = ENTRY_BYTES_MAX) -> tuple[Record, int]:
    """Decode the frame at `offset`; return it and the offset after it. Raises `BadBytes`."""
    header = decode_header(data, offset, bytes_max=bytes_max)
    start = offset + HEADER_BYTES
    payload = decode_payload(header, data[start : start + header.stored_bytes])
    record = Record(header.kind, payload, header.index, header.term, header.group_id, header.chain)
    return record, start + header.stored_bytes
