"""Frames on a connection: a fixed head, then canonical CBOR, compressed where that helps.

::

    offset size field              (little-endian)
         0    2 magic              0x7772 ("rw")
         2    1 protocol           the version agreed on in the handshake; 1 in the handshake itself
         3    1 kind               FrameKind
         4    2 flags              bit 0: the payload is one lz4 frame; all others 0
         6    2 reserved           0
         8    4 group_id
        12    4 stored_bytes       length of what follows the head
        16    4 raw_bytes          the same after decompression
        20    4 checksum           low 32 bits of xxh3_64 of the stored payload

Both lengths are compared with a bound before anything is allocated. The checksum finds accidents, such as a proxy's;
who may speak at all is the business of TLS.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import lz4.frame
import msgspec
from xxhash import xxh3_64_intdigest

from rsm.codec.record import decompress
from rsm.errors import BadBytes, UnknownFormat
from rsm.limits import COMPRESS_BYTES_MIN

__all__ = [
    "HEAD_BYTES",
    "PROTOCOL_MAX",
    "PROTOCOL_MIN",
    "FrameHead",
    "FrameKind",
    "decode_head",
    "encode_frame",
    "payload_of",
]

MAGIC: Final = 0x7772
# The versions of the protocol that this release speaks.
PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1
HEAD_BYTES: Final = 24
FLAG_LZ4: Final = 1
HTTP_ANSWER: Final = (
    "it answers in HTTP, as a gateway does, or the status port of a node (`web_listen`): give the address that clients "
    "connect to (`client_listen`)"
)
_HEAD: Final = struct.Struct("<HBBHHIIII")
_LOW_32_BITS: Final = 0xFFFFFFFF


class FrameKind(IntEnum):
    """What a frame holds. Part of the protocol: numbers are never reused."""

    HELLO = 1  # the first frame of either side: who I am
    REFUSAL = 2  # the last one of a server that will not talk: [reason]
    MESSAGE = 3  # between members: rsm.raft.messages
    REQUEST = 4  # from a client
    ANSWER = 5  # to a client
    FEED = 6  # to an observer: rsm.node.feed.frames


_KINDS: Final = {int(kind): kind for kind in FrameKind}


class FrameHead(msgspec.Struct, frozen=True, gc=False):
    """The head of a frame."""

    kind: FrameKind
    flags: int
    group_id: int
    stored_bytes: int
    raw_bytes: int
    checksum: int


def encode_frame(kind: FrameKind, payload: bytes, *, group_id: int = 0, compress: bool = False) -> bytes:
    """One frame. With `compress`, a payload from `COMPRESS_BYTES_MIN` bytes on travels as lz4 if that is smaller."""
    flags, stored = 0, payload
    if compress and len(payload) >= COMPRESS_BYTES_MIN:
        packed: bytes = lz4.frame.compress(payload, store_size=False)
        if len(packed) < len(payload):
            flags, stored = FLAG_LZ4, packed
    checksum = xxh3_64_intdigest(stored) & _LOW_32_BITS
    return _HEAD.pack(MAGIC, PROTOCOL_MAX, kind, flags, 0, group_id, len(stored), len(payload), checksum) + stored


def decode_head(data: bytes | memoryview, *, bytes_max: int, may_be_compressed: bool = True) -> FrameHead:
    """The head in the first `HEAD_BYTES` bytes; `BadBytes` for what no peer of ours sends, `UnknownFormat`."""
    if len(data) < HEAD_BYTES:
        raise BadBytes("the frame's head is short")
    magic, protocol, kind, flags, reserved, group_id, stored, raw, checksum = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise BadBytes(HTTP_ANSWER if bytes(data[:5]) == b"HTTP/" else f"not an rsm frame (magic {magic:#06x})")
    if not PROTOCOL_MIN <= protocol <= PROTOCOL_MAX:
        raise UnknownFormat(f"protocol {protocol}; this release speaks {PROTOCOL_MIN} to {PROTOCOL_MAX}")
    if kind not in _KINDS or flags & ~FLAG_LZ4 or reserved:
        raise UnknownFormat(f"a frame of kind {kind}, flags {flags:#x}: not known to this release")
    if flags & FLAG_LZ4 and not may_be_compressed:
        raise BadBytes("a compressed frame, where none may be")
    if max(stored, raw) > bytes_max:
        raise BadBytes(f"a frame of {max(stored, raw)} bytes exceeds the bound of {bytes_max}")
    if not flags and stored != raw:
        raise BadBytes("the frame's lengths differ, but nothing is compressed")
    return FrameHead(_KINDS[kind], flags, group_id, stored, raw, checksum)


def payload_of(head: FrameHead, stored: bytes | memoryview) -> bytes:
    """Check the stored bytes against the head and return the payload; `BadBytes`."""
    if len(stored) != head.stored_bytes:
        raise BadBytes(f"the frame is short: {len(stored)} of {head.stored_bytes} bytes")
    if xxh3_64_intdigest(stored) & _LOW_32_BITS != head.checksum:
        raise BadBytes("the frame does not match its checksum")
    return decompress(stored, head.raw_bytes) if head.flags else bytes(stored)
