"""Snapshots: a manifest, then the state bucket by bucket, then whatever else a restart needs.

A snapshot is taken right after a hash point, so its root is one that other replicas can confirm. `parts` yields records
for a shell to store; between two of them the replica may go on applying entries, since the cut underneath keeps the old
values. Nothing waits for a copy of the whole state. `restore` loads such records and trusts nothing: every bucket is
hashed again from its values, and the sums and the root must be those of the manifest.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from rsm.codec import cbor
from rsm.codec.chain import CHAIN_BYTES
from rsm.codec.record import RecordKind, check_format
from rsm.codec.shapes import make_known
from rsm.errors import BadBytes, WrongMachine
from rsm.limits import BUCKETS, MANIFEST_BYTES_MAX, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_RECORD_BYTES_MAX
from rsm.replica.compatibility import check_schema
from rsm.replica.events import RawEvent
from rsm.replica.replica import Replica
from rsm.state.leaf import encode
from rsm.state.store import Cut

SNAPSHOT_FORMAT = 1
EVENTS = "rsm.events"
AGREEMENT = "rsm.agreement"
# What a snapshot holds beside containers: covered by the file's own chain of checksums, and by no root.
BESIDE = (EVENTS, AGREEMENT)
EVENTS_PER_CHUNK = 1024

_raw_leaves = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
decode_events = msgspec.msgpack.Decoder(list[RawEvent]).decode


class Manifest(NamedTuple):
    """What a snapshot says of itself before its contents. `state`: container -> [kind, schema, 1024 bucket sums]."""

    machine: str
    version: int
    index: int  # type: ignore[assignment]  # hides the method of tuples, which nobody calls
    term: int
    chain: bytes
    root: bytes
    roots: list[tuple[int, bytes]]
    schema: dict[str, Any]
    state: dict[str, tuple[str, str, bytes]]
    events_newest: int

    def encode(self) -> bytes:
        """Canonical CBOR."""
        return cbor.encode({"format": SNAPSHOT_FORMAT, **self._asdict()})


make_known(Manifest)


def decode_manifest(payload: bytes) -> Manifest:
    """The manifest in a record's payload; `BadBytes` if it is not one, `UnknownFormat`."""
    fields = cbor.decode_canonical(payload, bytes_max=MANIFEST_BYTES_MAX)
    if type(fields) is not dict:
        raise BadBytes("a snapshot's manifest must be a map")
    check_format("snapshot format", fields.pop("format", None), SNAPSHOT_FORMAT)
    if set(fields) != set(Manifest._fields):
        raise BadBytes("a snapshot's manifest has the wrong fields")
    try:
        manifest = msgspec.convert([fields[name] for name in Manifest._fields], Manifest)
    except msgspec.ValidationError as error:
        raise BadBytes(f"a snapshot's manifest cannot be read: {error}") from error
    if len(manifest.chain) != CHAIN_BYTES or any(len(sums) != 8 * BUCKETS for _, _, sums in manifest.state.values()):
        raise BadBytes("the manifest is not well-formed: a hash has the wrong length")
    return manifest


def read_manifest(record: tuple[RecordKind, bytes] | None) -> Manifest:
    """The manifest in the first record of a snapshot, None if it has none; `BadBytes` if it is not one."""
    if record is None or record[0] != RecordKind.MANIFEST:
        raise BadBytes("a snapshot must begin with its manifest")
    return decode_manifest(record[1])


def parts(replica: Replica, chain: bytes) -> Generator[tuple[RecordKind, bytes], None, None]:
    """The records of a snapshot of the replica as it is now; call it right after a hash point, start it at once.

    The replica may apply entries between two records. `chain` is the log's chain at the replica's index.
    """
    root = replica.roots.get(replica.index)
    if root is None:
        raise ValueError(f"index {replica.index} is not a hash point")
    cut = replica.store.cut()
    manifest = Manifest(
        machine=replica.definition.name,
        version=replica.definition.version,
        index=replica.index,
        term=replica.term,
        chain=chain,
        root=root,
        roots=sorted(replica.roots.items()),
        schema=replica.schema or {},
        state={name: (kind, schema, cut.sums[name]) for name, kind, schema, _ in cut.digests},
        events_newest=replica.ring.newest,
    )
    events = list(replica.ring)
    cases = replica.agreement.encode() if replica.agreement.cases else b""
    return _parts(cut, manifest, events, cases)


def _parts(
    cut: Cut, manifest: Manifest, events: list[RawEvent], cases: bytes
) -> Generator[tuple[RecordKind, bytes], None, None]:
    try:
        yield RecordKind.MANIFEST, manifest.encode()
        name, size = "", 0
        group: list[list[Any]] = []
        for container, bucket, _, leaves in cut.chunks():
            if group and (container != name or size + len(leaves) > SNAPSHOT_CHUNK_BYTES):
                yield RecordKind.CHUNK, cbor.encode([name, group])
                group, size = [], 0
            name = container
            group.append([bucket, leaves])
            size += len(leaves)
        if group:
            yield RecordKind.CHUNK, cbor.encode([name, group])
        for first in range(0, len(events), EVENTS_PER_CHUNK):
            yield RecordKind.CHUNK, cbor.encode([EVENTS, [[0, encode(events[first : first + EVENTS_PER_CHUNK])]]])
        if cases:
            yield RecordKind.CHUNK, cbor.encode([AGREEMENT, [[0, cases]]])
    finally:
        cut.close()


def encode_chunk(name: str, bucket: int, leaves: bytes) -> bytes:
    """The payload of a CHUNK record with one bucket, or a piece of one."""
    return cbor.encode([name, [[bucket, leaves]]])


def decode_chunk(payload: bytes) -> tuple[str, list[list[Any]]]:
    """(container, [[bucket, leaves], ...]) of a chunk; `BadBytes` if it is not one."""
    chunk = cbor.decode(payload, bytes_max=SNAPSHOT_RECORD_BYTES_MAX)
    if type(chunk) is not list or len(chunk) != 2 or type(chunk[0]) is not str or type(chunk[1]) is not list:
        raise BadBytes("a snapshot chunk must be [container, [[bucket, leaves], ...]]")
    for pair in chunk[1]:
        if type(pair) is not list or len(pair) != 2 or type(pair[1]) is not bytes:
            raise BadBytes("a snapshot chunk must be [container, [[bucket, leaves], ...]]")
    return chunk[0], chunk[1]


class Restoring:
    """A snapshot being loaded into a replica, whatever that held: `add` its chunks in any order, then `finish`.

    `WrongMachine` or `BadBytes`, and then the replica is unusable.
    """

    def __init__(self, replica: Replica, manifest: Manifest) -> None:
        _check_machine(replica, manifest)
        self.replica = replica
        self.manifest = manifest
        self._events: list[RawEvent] = []
        self._cases = encode(())
        replica.store.clear()

    def add(self, kind: RecordKind, payload: bytes) -> None:
        """Load one CHUNK record."""
        if kind != RecordKind.CHUNK:
            raise BadBytes(f"a snapshot holds a record of kind {kind}")
        name, buckets = decode_chunk(payload)
        for _, leaves in buckets:
            if name == EVENTS:
                self._events.extend(_events(leaves))
            elif name == AGREEMENT:
                self._cases = leaves
            else:
                self.replica.store.load(name, leaves)

    def finish(self) -> None:
        """Everything is there: compare sums and root, and take over the rest."""
        replica, manifest = self.replica, self.manifest
        replica.ring.restore(manifest.events_newest, self._events)
        replica.index, replica.term, replica.schema = manifest.index, manifest.term, manifest.schema
        replica.roots = dict(manifest.roots)
        _check_sums(replica, manifest)
        replica.agreement.restore(self._cases, replica.system.clock)


def equal_buckets(replica: Replica, manifest: Manifest) -> dict[str, bytes]:
    """Which buckets of a snapshot the replica holds already: a bit for each bucket of each container, lowest first."""
    replica.store.digests()  # settles the sums
    have = {}
    for name, (kind, schema, sums) in manifest.state.items():
        ledger = replica.store.ledgers.get(name)
        if ledger is not None and (ledger.kind, ledger.schema) == (kind, schema):
            ours = ledger.sum_bytes()
            bits = sum(1 << at for at in range(BUCKETS) if ours[8 * at : 8 * at + 8] == sums[8 * at : 8 * at + 8])
            have[name] = bits.to_bytes(BUCKETS // 8, "little")
    return have


def has_bucket(have: dict[str, bytes], name: str, bucket: int) -> bool:
    """Whether `equal_buckets` found this one."""
    bits = have.get(name, b"")
    return bucket // 8 < len(bits) and bool(bits[bucket // 8] >> bucket % 8 & 1)


def without_buckets(payload: bytes, have: dict[str, bytes], bytes_max: int) -> Iterator[bytes]:
    """A CHUNK record's payload without the buckets that somebody has, in pieces of about `bytes_max`; maybe nothing.

    Events and verdicts are always among it. A leaf is never split: a piece is larger if one leaf is.
    """
    name, buckets = decode_chunk(payload)
    left = [pair for pair in buckets if name in BESIDE or not has_bucket(have, name, pair[0])]
    if len(left) == len(buckets) and (len(payload) <= bytes_max or name in BESIDE):
        yield payload
    elif left:
        for bucket, leaves in left:
            yield from _split_leaves(name, bucket, _raw_leaves(leaves), bytes_max)


def _split_leaves(name: str, bucket: int, leaves: list[msgspec.Raw], bytes_max: int) -> Iterator[bytes]:
    packed = encode(leaves)
    if len(packed) <= bytes_max or len(leaves) < 2:
        yield encode_chunk(name, bucket, packed)
        return
    middle = len(leaves) // 2
    yield from _split_leaves(name, bucket, leaves[:middle], bytes_max)
    yield from _split_leaves(name, bucket, leaves[middle:], bytes_max)


def restore(replica: Replica, records: Iterable[tuple[RecordKind, bytes]]) -> Manifest:
    """Load a snapshot into a replica, whatever it held.

    `WrongMachine` or `BadBytes`, and then the replica is unusable.
    """
    stream = iter(records)
    restoring = Restoring(replica, read_manifest(next(stream, None)))
    for kind, payload in stream:
        restoring.add(kind, payload)
    restoring.finish()
    return restoring.manifest


def _events(packed: bytes) -> list[RawEvent]:
    try:
        return decode_events(packed)
    except msgspec.MsgspecError as error:
        raise BadBytes(f"the snapshot's events cannot be read: {error}") from error


def _check_machine(replica: Replica, manifest: Manifest) -> None:
    if manifest.machine == replica.newest.name and manifest.version != replica.definition.version:
        replica.adopt(replica.release(manifest.version, f"the snapshot of index {manifest.index} is").owner())
    ours = replica.definition
    check_schema(ours, manifest.machine, manifest.version, manifest.schema)
    for name, kind, schema, _ in replica.store.digests():
        theirs = manifest.state.get(name)
        if theirs is None or theirs[:2] != (kind, schema):
            raise WrongMachine(f"the snapshot's state schema of {name!r} is not that of this release")
    extra = set(manifest.state) - set(replica.store.ledgers)
    if extra:
        raise WrongMachine(f"the snapshot has state that the class does not declare: {', '.join(sorted(extra))}")


def _check_sums(replica: Replica, manifest: Manifest) -> None:
    root = replica.root()
    for name, ledger in replica.store.ledgers.items():
        if ledger.sum_bytes() != manifest.state[name][2]:
            raise BadBytes(f"the snapshot's contents of {name!r} do not have the hashes of its manifest")
    if root != manifest.root:
        raise BadBytes(f"the snapshot's root is {root.hex()}, its manifest says {manifest.root.hex()}")
    # Last, since it reads state that may not have been there at all.
    if manifest.events_newest != replica.system.event_count or replica.ring.oldest < 1:
        raise BadBytes(f"the snapshot's events do not end at number {replica.system.event_count}")
