"""What a snapshot holds, checked without the code of its machine.

A leaf's hash covers its MessagePack bytes as they lie in the snapshot, so nothing has to be decoded into the machine's
types: the bucket sums are recomputed from the bytes and compared with the manifest's, and the root from the sums.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rsm.codec.record import RecordKind
from rsm.errors import BadBytes, UnknownFormat
from rsm.limits import BUCKETS
from rsm.replica.snapshot import EVENTS, Manifest, decode_chunk, decode_events, read_manifest
from rsm.state.leaf import ALGORITHM, BUCKET_MASK, SUM_MASK, container_seed, digest128, encode, hash64

# What lies in the chunks of a container whose kind is this has keys (key, position), and its bucket goes by the key.
NESTED_KIND: Final = "table"

_split: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_split_pair: Final = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw]).decode


class ContentsCheck:
    """Takes the records of one snapshot in order; `finish` compares. Memory: 8 KiB a container.

    The manifest must be of the index and term given, which are those in the header of every record. `leaves` counts the
    leaves of each container, `events` the events kept. `add`, `manifest` and `finish` raise `BadBytes`.
    """

    def __init__(self, index: int, term: int) -> None:
        self._position = index, term
        self._manifest: Manifest | None = None
        self.leaves: dict[str, int] = {}
        self.events = 0
        self._sums: dict[str, list[int]] = {}
        self._seeds: dict[str, int] = {}

    def add(self, kind: RecordKind, payload: bytes) -> None:
        """Take the next record."""
        if self._manifest is None:
            self._manifest = read_manifest((kind, payload))
            for name, (state_kind, schema, _) in self._manifest.state.items():
                self._seeds[name] = container_seed(name, state_kind, schema)
                self._sums[name] = [0] * BUCKETS
                self.leaves[name] = 0
            return
        if kind != RecordKind.CHUNK:
            raise BadBytes(f"a snapshot holds a second {kind.name} record")
        name, buckets = decode_chunk(payload)
        try:
            for bucket, leaves in buckets:
                if name == EVENTS:
                    self.events += len(decode_events(leaves))
                elif name in self._sums:
                    self._add_leaves(self._manifest, name, bucket, leaves)
                else:
                    raise BadBytes(f"leaves of {name!r}, which the manifest does not list")
        except (msgspec.MsgspecError, RecursionError) as error:
            raise BadBytes(f"the leaves of {name!r} cannot be read: {error}") from error

    def _add_leaves(self, manifest: Manifest, name: str, bucket: int, leaves: bytes) -> None:
        seed, sums = self._seeds[name], self._sums[name]
        is_nested = manifest.state[name][0] == NESTED_KIND
        for leaf in _split(leaves):
            key = _split_pair(leaf)[0]
            if is_nested:
                key = _split_pair(key)[0]
            if hash64(key) & BUCKET_MASK != bucket:
                raise BadBytes(f"{name}: a leaf of bucket {hash64(key) & BUCKET_MASK} lies in bucket {bucket}")
            sums[bucket] = (sums[bucket] + hash64(leaf, seed)) & SUM_MASK
            self.leaves[name] += 1

    @property
    def manifest(self) -> Manifest:
        """What the snapshot says of itself; `BadBytes` before its first record."""
        if self._manifest is None:
            raise BadBytes("the snapshot has no manifest")
        return self._manifest

    def finish(self) -> None:
        """Compare with the manifest, after the last record. `UnknownFormat` for sums made in a way not known here."""
        manifest = self.manifest
        if (manifest.index, manifest.term) != self._position:
            raise BadBytes("the manifest is not that of index {} and term {}".format(*self._position))
        for name, (_, schema, _) in sorted(manifest.state.items()):
            if not schema.startswith(ALGORITHM):
                raise UnknownFormat(f"a newer release made the sums of {name!r}: check it with that release")
        for name, (_, _, sums) in sorted(manifest.state.items()):
            for bucket, found in enumerate(self._sums[name]):
                expected = int.from_bytes(sums[8 * bucket : 8 * bucket + 8], "little")
                if found != expected:
                    raise BadBytes(f"{name}: bucket {bucket} has sum {found:#018x}, the manifest says {expected:#018x}")
        if self.events > manifest.events_newest:
            raise BadBytes(f"{self.events} events, but the newest is number {manifest.events_newest}")
        digests = [
            (name, kind, schema, digest128(sums)) for name, (kind, schema, sums) in sorted(manifest.state.items())
        ]
        root = digest128(encode((manifest.machine, manifest.version, digests)))
        if root != manifest.root:
            raise BadBytes(f"the contents have root {root.hex()}, the manifest says {manifest.root.hex()}")
