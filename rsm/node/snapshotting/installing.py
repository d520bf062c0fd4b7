"""A snapshot on its way from the leader to a member whose log ends before the leader's begins.

The leader offers the manifest; the member answers which buckets it holds already (their sums are equal); the leader
sends the others, a few parts ahead of the acknowledgements and no faster than a bound, while both go about their
business. The member loads each part into a fresh replica and writes it to a file of its own; what it held already it
copies from its old replica. When the sums and the root are those of the manifest, the file is made durable, the journal
starts anew behind it, and the fresh replica takes the place of the old one. A crash before that leaves everything as it
was; a connection that broke goes on where it was, with the same leader.

Neither side holds more than a few parts in memory, besides the state itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rsm.codec.record import RecordKind
from rsm.errors import BadBytes, RsmError
from rsm.limits import (
    SNAPSHOT_BYTES_PER_SECOND,
    SNAPSHOT_PART_BYTES,
    SNAPSHOT_PARTS_IN_FLIGHT_MAX,
    SNAPSHOT_STALL_SECONDS_MAX,
)
from rsm.machine.machine import StateMachine
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.raft.configuration import Configuration, decode_configuration
from rsm.raft.messages import SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotWant
from rsm.replica.replica import Replica
from rsm.replica.snapshot import (
    Restoring,
    decode_chunk,
    decode_manifest,
    encode_chunk,
    equal_buckets,
    has_bucket,
    without_buckets,
)

__all__ = ["SnapshotReceiver", "SnapshotSender"]


class SnapshotSender:
    """The leader's side, for one member: `advance` gives the next message, `want` and `acknowledged` take answers."""

    def __init__(self, files: SnapshotFiles, index: int, term: int, index_term: int, now: float) -> None:
        self.index = index
        self._files = files
        self._term = term
        records = files.read(index)
        kind, self._manifest = next(records)
        if kind is not RecordKind.MANIFEST:
            raise BadBytes("the snapshot does not begin with its manifest")
        self._index_term = index_term
        self._parts: Iterator[tuple[bytes, ...]] | None = None
        self._held: tuple[bytes, ...] | None = None
        self._to_skip = 0  # parts that the member has, and that are read again to come to those that it has not
        self._next_number = 0
        self._acknowledged = 0
        self._is_offered = False
        self._heard_at = now
        self._may_send_from = now

    def is_stalled(self, now: float) -> bool:
        """Whether the member has not answered for so long that it should be asked anew."""
        return now - self._heard_at > SNAPSHOT_STALL_SECONDS_MAX

    def want(self, message: SnapshotWant, now: float) -> None:
        """The member says which buckets it has, and from which part on it wants the rest."""
        self._heard_at = now
        self._parts = self._read(message.have)
        self._held = None
        self._to_skip = message.next_number + 1  # the first to be held is among them
        self._next_number = self._acknowledged = message.next_number

    def _read(self, have: dict[str, bytes]) -> Iterator[tuple[bytes, ...]]:
        part: list[bytes] = []
        size = 0
        for kind, payload in self._files.read(self.index):
            if kind is not RecordKind.CHUNK:
                continue
            for piece in without_buckets(payload, have, SNAPSHOT_PART_BYTES):
                if part and size + len(piece) > SNAPSHOT_PART_BYTES:
                    yield tuple(part)
                    part, size = [], 0
                part.append(piece)
                size += len(piece)
        yield tuple(part)

    def acknowledged(self, message: SnapshotAck, now: float) -> None:
        """The member has taken in parts before a number."""
        self._heard_at = now
        self._acknowledged = max(self._acknowledged, message.next_number)

    def advance(self, now: float) -> SnapshotOffer | SnapshotChunk | None:
        """The next message to send now, if there is one."""
        if not self._is_offered:
            self._is_offered = True
            return SnapshotOffer(self._term, self.index, self._index_term, self._manifest)
        if self._parts is not None and self._to_skip:
            self._skip(self._parts, now)
        if self._parts is None or self._to_skip or self._held is None or now < self._may_send_from:
            return None
        if self._next_number - self._acknowledged >= SNAPSHOT_PARTS_IN_FLIGHT_MAX:
            return None
        part, self._held = self._held, next(self._parts, None)
        size = sum(map(len, part))
        self._may_send_from = max(now, self._may_send_from) + size / SNAPSHOT_BYTES_PER_SECOND
        message = SnapshotChunk(self._term, self.index, self._next_number, part, self._held is None)
        self._next_number += 1
        return message

    def _skip(self, parts: Iterator[tuple[bytes, ...]], now: float) -> None:
        """A little at a time: there may be gigabytes to read, and commands to look after."""
        self._heard_at = now
        for _ in range(min(self._to_skip, SNAPSHOT_PARTS_IN_FLIGHT_MAX)):
            self._held = next(parts, None)
            self._to_skip = 0 if self._held is None else self._to_skip - 1

    def next_at(self) -> float | None:
        """When the bound on speed lets the next part go; None while it waits for the member."""
        if self._to_skip:
            return 0.0
        if self._held is None or self._next_number - self._acknowledged >= SNAPSHOT_PARTS_IN_FLIGHT_MAX:
            return None
        return self._may_send_from


class SnapshotReceiver:
    """The member's side: `replica` is the fresh one, complete once `is_complete`. `old` is the one in service."""

    def __init__(
        self, machine: type[StateMachine], old: Replica, files: SnapshotFiles, leader: int, offer: SnapshotOffer
    ) -> None:
        self.leader = leader
        self.offer = offer
        self.manifest = decode_manifest(offer.manifest)
        if (self.manifest.index, self.manifest.term) != (offer.index, offer.index_term):
            raise BadBytes(f"the snapshot offered for index {offer.index} is of index {self.manifest.index}")
        self.replica = Replica(machine)
        self._restoring = Restoring(self.replica, self.manifest)
        self._have = equal_buckets(old, self.manifest)
        self._cut = old.store.cut()
        self._own = self._own_chunks()
        self._own_left = True
        self._next_number = 0
        self._is_last_in = False
        self._writer = files.begin(offer.index, offer.index_term)
        try:
            self._writer.add(RecordKind.MANIFEST, offer.manifest)
        except BaseException:
            self.abort()
            raise

    def _own_chunks(self) -> Iterator[tuple[str, int, bytes]]:
        for name, bucket, _, leaves in self._cut.chunks():
            if has_bucket(self._have, name, bucket):
                yield name, bucket, leaves

    def is_for(self, leader: int, offer: SnapshotOffer) -> bool:
        """Whether this offer is the one under way: its parts go on where they stopped."""
        return (leader, offer.index, offer.manifest) == (self.leader, self.offer.index, self.offer.manifest)

    def want(self, term: int) -> SnapshotWant:
        """What to ask the leader for."""
        return SnapshotWant(term, self.offer.index, self._have, self._next_number)

    def add(self, message: SnapshotChunk) -> bool:
        """Take in the next part; False for one that is not (an old or early one)."""
        if message.index != self.offer.index or message.number != self._next_number or self._is_last_in:
            return False
        for payload in message.payloads:
            name, buckets = decode_chunk(payload)
            if any(has_bucket(self._have, name, bucket) for bucket, _ in buckets):
                raise BadBytes(f"the leader sent a bucket of {name!r} that was not asked for")
            self._restoring.add(RecordKind.CHUNK, payload)
            self._writer.add(RecordKind.CHUNK, payload)
        self._next_number += 1
        self._is_last_in = message.is_last
        return True

    def acknowledgement(self, term: int) -> SnapshotAck:
        """How far it has got."""
        return SnapshotAck(term, self.offer.index, self._next_number)

    def advance(self) -> bool:
        """Copy one of the buckets that were here already; whether more is to be done without the leader."""
        if self._own_left:
            own = next(self._own, None)
            if own is None:
                self._own_left = False
                self._cut.close()
            else:
                name, bucket, leaves = own
                payload = encode_chunk(name, bucket, leaves)
                self._restoring.add(RecordKind.CHUNK, payload)
                self._writer.add(RecordKind.CHUNK, payload)
        return self._own_left

    @property
    def configuration(self) -> Configuration:
        """The cluster's members as of the snapshot; there once it is finished."""
        payload = self.replica.system.configuration
        return decode_configuration(payload) if payload else Configuration()

    @property
    def is_complete(self) -> bool:
        """Whether everything is in."""
        return self._is_last_in and not self._own_left

    def finish(self) -> None:
        """Compare sums and root, and make the file durable."""
        self._restoring.finish()
        self._writer.commit()

    def abort(self) -> None:
        """Give up; nothing is left of it."""
        self._cut.close()
        with contextlib.suppress(RsmError):
            self._writer.abort()
