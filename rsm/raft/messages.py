"""What members say to each other: one frozen record a message, canonical CBOR on the wire.

A message is `[kind, field, ...]`. Every reply carries the term in which it was written, so that a late one is never
counted for a later term (fault E2 of PySyncObj). Entries travel as `[term, kind, payload]`; their indexes follow from
`previous_index`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rsm.codec import cbor
from rsm.codec.record import Entry, RecordKind
from rsm.codec.shapes import make_known
from rsm.errors import BadBytes, InvalidCommand, UnknownFormat
from rsm.limits import PEER_MESSAGE_BYTES_MAX

__all__ = [
    "AppendEntries",
    "AppendReply",
    "Attest",
    "Message",
    "PreVote",
    "RequestVote",
    "SnapshotAck",
    "SnapshotChunk",
    "SnapshotOffer",
    "SnapshotResult",
    "SnapshotWant",
    "TimeoutNow",
    "VoteReply",
    "decode_message",
    "encode_message",
]


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Base of all messages. `term`: the sender's when it was written."""

    term: int


class PreVote(Message, frozen=True, array_like=True):
    """Would you vote for me in `term`, which I have not entered yet? (Raft dissertation, section 9.6)"""

    last_index: int
    last_term: int


class RequestVote(Message, frozen=True, array_like=True):
    """Vote for me in `term`. `is_transfer`: the leader itself asked for this election."""

    last_index: int
    last_term: int
    is_transfer: bool


class VoteReply(Message, frozen=True, array_like=True):
    """Answer to both. `is_weak`: from a recovering member, whose vote counts only if every voter gives one.
    `wall_clock` in nanoseconds since 1970.
    """

    is_pre: bool
    granted: bool
    is_weak: bool
    wall_clock: int


class AppendEntries(Message, frozen=True, array_like=True):
    """Entries behind `previous_index`, whose term is `previous_term`; none of them is a heartbeat.

    `round` is the read barrier, echoed by the reply. `start_index`: the leader's log ended here when it was elected,
    so whoever holds it up to there holds every committed entry.
    """

    previous_index: int
    previous_term: int
    commit_index: int
    round: int
    start_index: int
    entries: tuple[Entry, ...]


class AppendReply(Message, frozen=True, array_like=True):
    """`match_index`: durable here, and equal to the leader's log up to here. When not `accepted`, the entry at
    `previous_index` was not the leader's, and the leader is to go on from `hint_index`: the first index of the
    conflicting term, or the one behind the log. `root`: the state root at `root_index`, the last hash point applied,
    for the leader to confirm. `releases`: the oldest and newest machine version that this member ships.
    """

    accepted: bool
    previous_index: int
    match_index: int
    hint_index: int
    round: int
    is_recovering: bool
    root_index: int
    root: bytes
    applied_index: int
    releases: tuple[int, int] = (0, 0)


class TimeoutNow(Message, frozen=True, array_like=True):
    """Take over: hold an election at once. (section 3.10)"""


class SnapshotOffer(Message, frozen=True, array_like=True):
    """The log that you need is gone; here is the manifest of a snapshot at `index` instead."""

    index: int
    index_term: int
    manifest: bytes


class SnapshotWant(Message, frozen=True, array_like=True):
    """Send it from part `next_number` on, but not the buckets that I have: a bit for each bucket of each container,
    lowest bit first. The same request gives the same parts, so one that was interrupted goes on where it was.
    """

    index: int
    have: dict[str, bytes]
    next_number: int


class SnapshotChunk(Message, frozen=True, array_like=True):
    """Part `number` (from 0) of the snapshot: payloads of its CHUNK records. `is_last` ends it."""

    index: int
    number: int
    payloads: tuple[bytes, ...]
    is_last: bool


class SnapshotAck(Message, frozen=True, array_like=True):
    """Parts before `next_number` have been taken in."""

    index: int
    next_number: int


class SnapshotResult(Message, frozen=True, array_like=True):
    """How it ended: installed and durable, or why not."""

    index: int
    installed: bool
    reason: str


class Attest(Message, frozen=True, array_like=True):
    """A member's word on a disputed hash point, for the leader to log; see `rsm.replica.agreement.Word`."""

    index: int
    root: bytes
    rerun: bytes
    version: int
    schema: bytes
    code: str
    fault: str


_KINDS: Final[tuple[type[Message], ...]] = (
    PreVote,
    RequestVote,
    VoteReply,
    AppendEntries,
    AppendReply,
    TimeoutNow,
    SnapshotOffer,
    SnapshotWant,
    SnapshotChunk,
    SnapshotAck,
    SnapshotResult,
    Attest,
)
make_known(*_KINDS)
# Numbers are part of the protocol: never reused.
_NUMBER_OF: Final = {kind: number for number, kind in enumerate(_KINDS, 1)}
_APPEND: Final = _NUMBER_OF[AppendEntries]
# Entries a log may hold; others are records of other files.
_ENTRY_KINDS: Final = {int(kind): kind for kind in (RecordKind.BATCH, RecordKind.NOOP, RecordKind.CONFIGURATION)}


def encode_message(message: Message) -> bytes:
    """Canonical CBOR of a message."""
    fields: list[Any] = [_NUMBER_OF[type(message)], *msgspec.structs.astuple(message)]
    if type(message) is AppendEntries:
        fields[-1] = [[entry.term, int(entry.kind), entry.payload] for entry in message.entries]
        return cbor.encode_plain(fields)
    return cbor.encode(fields)


def decode_message(data: bytes | memoryview) -> Message:
    """The message in these bytes; `BadBytes` if there is none, `UnknownFormat` for a kind of a newer release."""
    fields = cbor.decode(data, bytes_max=PEER_MESSAGE_BYTES_MAX)
    if type(fields) is not list or not fields or type(fields[0]) is not int or fields[0] < 1:
        raise BadBytes("a message must be [kind, field, ...]")
    number = fields.pop(0)
    if number > len(_KINDS):
        raise UnknownFormat(f"message kind {number} is not known to this release")
    if number == _APPEND:
        return _decode_append(fields)
    try:
        cbor.check_encodable(fields)  # what no member could have sent would stop whoever passes it on
        message: Message = msgspec.convert(fields, _KINDS[number - 1], strict=True)
        return message
    except (msgspec.ValidationError, InvalidCommand) as error:
        raise BadBytes(f"{_KINDS[number - 1].__name__}: {error}") from error


def _decode_append(fields: list[Any]) -> AppendEntries:
    if (
        len(fields) != 7
        or type(fields[6]) is not list
        or any(type(field) is not int or not 0 <= field <= cbor.INTEGER_MAX for field in fields[:6])
    ):
        raise BadBytes("AppendEntries must be six integers and a list of entries")
    term, previous_index, previous_term, commit_index, round_number, start_index, packed = fields
    index = previous_index
    entries = []
    for item in packed:
        if type(item) is not list or len(item) != 3 or type(item[0]) is not int or type(item[2]) is not bytes:
            raise BadBytes("an entry must be [term, kind, payload]")
        kind = _ENTRY_KINDS.get(item[1]) if type(item[1]) is int else None
        if kind is None or not 0 <= item[0] <= cbor.INTEGER_MAX:
            raise BadBytes(f"an entry of kind {item[1]!r} and term {item[0]} has no place in a log")
        index += 1
        entries.append(Entry(index, item[0], kind, item[2]))
    return AppendEntries(term, previous_index, previous_term, commit_index, round_number, start_index, tuple(entries))
