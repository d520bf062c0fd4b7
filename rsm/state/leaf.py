"""How state is hashed: the bytes of one leaf, the bucket it lies in, and the sums over them.

A *leaf* is one (leaf key, value) pair of a container: a map entry, a set member, an item of a queue at its position.
Its pre-image is MessagePack `[leaf key, value]`, hashed by xxh3-64 under a seed that stands for the container's name,
kind and schema. A bucket's sum is the sum of its leaf hashes modulo 2**64: adding, changing or removing a leaf costs
one or two hashes, whatever the size of the state. These sums find accidents, not adversaries; `ALGORITHM` names them in
every schema, so that another can follow.
"""

from __future__ import annotations

from typing import Final

import msgspec
import xxhash

from rsm.limits import BUCKETS

ALGORITHM: Final = "xxh3-64 sums over msgpack leaves, 1024 buckets"

# The one encoder of values and keys. C level, no per-call set-up; golden vectors pin its bytes.
encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode
hash64: Final = xxhash.xxh3_64_intdigest
digest128: Final = xxhash.xxh3_128_digest

BUCKET_MASK: Final = BUCKETS - 1
SUM_MASK: Final = 2**64 - 1


class Absent:
    """The old value of a key that was not there."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


def bucket_of(key: object) -> int:
    """The bucket of a key: the low bits of the hash of its encoding."""
    return hash64(encode(key)) & BUCKET_MASK


def leaf_hash(leaf_key: object, value: object, seed: int) -> int:
    """The 64-bit hash of one leaf under its container's seed."""
    return hash64(encode((leaf_key, value)), seed)


def container_seed(name: str, kind: str, schema: str) -> int:
    """The seed that makes equal leaves of different containers hash differently."""
    return hash64(encode((name, kind, schema)))
