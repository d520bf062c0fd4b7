"""What a node sends to its observers: payloads of frames of kind FEED, canonical CBOR.

A payload is `[kind, field, ...]` and names no request: one encoded frame serves every observer. The kinds, and what
follows from what (a HEAD begins a subscription; a SKIP says that something is left out), are in `rsm.node.feed.feed`.

Entries are the hot kind, and are joined from the bytes that the log holds; nothing in them is encoded anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, Final

import msgspec

from rsm.codec import cbor
from rsm.codec.record import Entry, RecordKind
from rsm.codec.shapes import make_known
from rsm.errors import BadBytes, UnknownFormat
from rsm.limits import ANSWER_FRAME_BYTES_MAX
from rsm.replica.batch import encode_head, encode_uint
from rsm.replica.events import RawEvent

__all__ = [
    "Alive",
    "FeedEntries",
    "FeedEntry",
    "FeedEvent",
    "FeedEvents",
    "FeedFrame",
    "FeedHead",
    "FeedKind",
    "FeedSnapshot",
    "Skip",
    "decode_feed",
    "encode_entries",
    "encode_events",
    "encode_feed",
]


class FeedKind(IntEnum):
    """What a frame of the feed holds. Part of the protocol: numbers are never reused."""

    HEAD = 0
    SNAPSHOT = 1
    ENTRIES = 2
    EVENTS = 3
    SKIP = 4
    ALIVE = 5


class Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of all of them."""


class FeedHead(msgspec.Struct, frozen=True):
    """The first frame of a subscription: where the node stands. `version` of the machine is the one in force, `applied`
    the last index applied, `first` the first index in the node's log, `events` the number of the newest event.
    """

    cluster_id: bytes
    group_id: int
    machine: str
    version: int
    applied: int
    first: int
    events: int
    hash_milliseconds: int


class Head(Frame, frozen=True, array_like=True):
    """How a head travels: as a map, to which later releases may add."""

    fields: FeedHead


class FeedSnapshot(Frame, frozen=True, array_like=True):
    """A part of a snapshot's file: `data` belongs at `offset` of `total_bytes`. Parts come in order, from 0."""

    index: int
    total_bytes: int
    offset: int
    data: bytes


class FeedEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One entry of the log; its index follows from its place."""

    term: int
    kind: RecordKind
    payload: bytes


class FeedEntries(Frame, frozen=True, array_like=True):
    """Entries from `first_index` on, the node's roots at hash points among them, and the command chain behind them."""

    first_index: int
    entries: list[FeedEntry]
    roots: list[tuple[int, bytes]]
    chain: bytes


class FeedEvent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One event: its number in the log, its identity, MessagePack of its value."""

    number: int
    index: int
    position: int
    step: int
    n: int
    packed: bytes


class FeedEvents(Frame, frozen=True, array_like=True):
    """The events with the numbers from `first_number` to `last_number` that a subscription asks for."""

    first_number: int
    last_number: int
    applied_index: int
    events: list[FeedEvent]


class Skip(Frame, frozen=True, array_like=True):
    """What comes next does not follow from what came before, and why."""

    reason: str


class Alive(Frame, frozen=True, array_like=True):
    """Nothing has happened; the node stands here."""

    applied_index: int


FeedFrame = FeedHead | FeedSnapshot | FeedEntries | FeedEvents | Skip | Alive
_KINDS: Final[dict[int, type[Frame]]] = {
    FeedKind.HEAD: Head,
    FeedKind.SNAPSHOT: FeedSnapshot,
    FeedKind.ENTRIES: FeedEntries,
    FeedKind.EVENTS: FeedEvents,
    FeedKind.SKIP: Skip,
    FeedKind.ALIVE: Alive,
}
make_known(*_KINDS.values())
_NUMBER_OF: Final = {kind: int(number) for number, kind in _KINDS.items()}
_ENTRIES_HEAD: Final = encode_head(4, 5) + encode_uint(FeedKind.ENTRIES)


def encode_feed(frame: FeedHead | FeedSnapshot | Skip | Alive) -> bytes:
    """The payload of a frame, other than one of entries or events."""
    if isinstance(frame, FeedHead):
        return cbor.encode([int(FeedKind.HEAD), msgspec.structs.asdict(frame)])
    return cbor.encode([_NUMBER_OF[type(frame)], *msgspec.structs.astuple(frame)])


def encode_entries(entries: Sequence[Entry], roots: Sequence[tuple[int, bytes]], chain: bytes) -> bytes:
    """The payload of a frame of entries that follow each other; there is at least one."""
    parts = [_ENTRIES_HEAD, encode_uint(entries[0].index), encode_head(4, len(entries))]
    for entry in entries:
        parts += (
            b"\x83",
            encode_uint(entry.term),
            encode_uint(entry.kind),
            encode_head(2, len(entry.payload)),
            entry.payload,
        )
    parts += (cbor.encode([list(root) for root in roots]), encode_head(2, len(chain)), chain)
    return b"".join(parts)


def encode_events(first: int, last: int, applied_index: int, events: Iterable[tuple[int, RawEvent]]) -> bytes:
    """The payload of a frame of numbered events."""
    rows = [[number, raw.index, raw.position, raw.step, raw.number, raw.packed] for number, raw in events]
    return cbor.encode_plain([int(FeedKind.EVENTS), first, last, applied_index, rows])


def decode_feed(payload: bytes) -> FeedFrame:
    """What a frame holds. `BadBytes`; `UnknownFormat` for a kind of a later release."""
    fields: Any = cbor.decode(payload, bytes_max=ANSWER_FRAME_BYTES_MAX)
    if type(fields) is not list or not fields or type(fields[0]) is not int:
        raise BadBytes("a frame of the feed must be [kind, ...]")
    kind = _KINDS.get(fields[0])
    if kind is None:
        raise UnknownFormat(f"feed kind {fields[0]} is not known to this release")
    try:
        frame: Any = msgspec.convert(fields[1:], kind, strict=True)
    except msgspec.ValidationError as error:
        raise BadBytes(f"{kind.__name__}: {error}") from error
    found: FeedFrame = frame.fields if isinstance(frame, Head) else frame
    return found
