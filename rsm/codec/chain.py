"""The command chain: each log entry is bound to everything before it by a 16-byte BLAKE2b hash.

Two logs whose chains agree at an index hold the same entries up to that index, whatever a checksum collision or a
mixed-up file may have done. The hash covers the uncompressed payload, so that compression (which may differ between
nodes and library versions) does not change it. The algorithm belongs to record format 1.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

__all__ = ["CHAIN_BYTES", "ZERO_CHAIN", "next_chain"]

CHAIN_BYTES: Final = 16
# The chain before the first entry of a log.
ZERO_CHAIN: Final = bytes(CHAIN_BYTES)

_POSITION: Final = struct.Struct("<QQB")


def next_chain(previous: bytes, index: int, term: int, kind: int, payload: bytes) -> bytes:
    """Return the chain after the entry: BLAKE2b-128 of previous (16 bytes), index and term (u64), kind (u8), payload.

    All integers are little-endian. `payload` is the uncompressed payload as received.
    """
    # The fields before the payload have a fixed size, so no two different entries share a pre-image.
    state = blake2b(previous + _POSITION.pack(index, term, kind), digest_size=CHAIN_BYTES)
    state.update(payload)
    return state.digest()
