"""What clients and servers say to each other: requests and answers, canonical CBOR in `rsm.node.network.wire` frames.

A request is `[kind, request id, field, ...]`, an answer `[request id, status, field, ...]`. Ids are the client's,
rising within a connection. A request is answered once; those that stream are answered by parts (`MORE`), one for each
slice that the client has asked for, and an `OK` in the end.

A client may be hostile, and one byte of CBOR can become a hundred bytes of objects: kind and id are read from their
heads before anything is decoded, and a large frame is measured first (`rsm.codec.skim`).

Commands are the hot path and have their own way through this module: the server decodes a frame once, and finds the
bytes of its items behind the heads, which therefore must be in their shortest form; answers are joined from parts.
Everything else goes through one table of typed records.

What an error is crosses the wire as the name of its class, its text, and what else the class carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Annotated, Any, Final

import msgspec

from rsm import errors
from rsm.codec import cbor, skim
from rsm.codec.shapes import make_known
from rsm.errors import BadBytes, Busy, CallerError, LimitExceeded, RsmError, UnknownFormat
from rsm.limits import (
    ANSWER_FRAME_BYTES_MAX,
    BATCH_COMMANDS_MAX,
    BATCH_DEPTH_MAX,
    CLIENT_FRAME_BYTES_MAX,
    CLIENT_FRAME_ITEMS_MAX,
    COMMAND_BYTES_MAX,
    ERROR_TEXT_CHARACTERS_MAX,
    EVENTS_PER_ANSWER_MAX,
    EVENTS_WAIT_SECONDS_MAX,
    KEY_LENGTH_MAX,
    SESSION_TTL_SECONDS_MAX,
    TOPICS_MAX,
)
from rsm.replica.answer import Answer
from rsm.replica.batch import encode_head, encode_uint

__all__ = [
    "AnswerStatus",
    "Cancel",
    "Change",
    "CloseSession",
    "Commands",
    "Consistency",
    "Cursor",
    "Events",
    "Export",
    "Next",
    "Observe",
    "OpenSession",
    "Query",
    "Request",
    "RequestKind",
    "Roots",
    "Snapshot",
    "Status",
    "Stream",
    "Transfer",
    "Upgrade",
    "Watch",
    "decode_answer",
    "decode_answers",
    "decode_request",
    "encode_answer",
    "encode_answers",
    "encode_commands",
    "encode_failure",
    "encode_request",
    "error_of",
]


class RequestKind(IntEnum):
    """What a client asks for. Part of the protocol: numbers are never reused."""

    COMMANDS = 1
    OPEN_SESSION = 2
    CLOSE_SESSION = 3
    QUERY = 4
    STREAM = 5
    NEXT = 6
    CANCEL = 7
    EVENTS = 8
    CURSOR = 9
    STATUS = 10
    SNAPSHOT = 11
    CHANGE = 12
    TRANSFER = 13
    EXPORT = 14
    CONFIRMED_COMMANDS = 15
    UPGRADE = 16
    OBSERVE = 17
    WATCH = 18
    ROOTS = 19


class AnswerStatus(IntEnum):
    """How a request ended, or goes on. Part of the protocol."""

    OK = 0  # fields: the result
    REDIRECT = 1  # [the leader's client address, or ""]: nothing was decided here
    BUSY = 2  # [text, milliseconds after which to try again]: nothing was taken
    ERROR = 3  # [class name, text, extra, ...]
    MORE = 4  # one part of a stream


class Consistency(IntEnum):
    """How new the state must be that a read sees. Part of the protocol."""

    LINEARIZABLE = 0
    AT_LEAST = 1
    STALE = 2


Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_LENGTH_MAX)]
Address = Annotated[str, msgspec.Meta(max_length=KEY_LENGTH_MAX)]
NodeId = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class Request(msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True):
    """Base of all requests but `Commands`."""


class OpenSession(Request, frozen=True, array_like=True):
    """A session of the connection's principal -> [index, number]. One that never expires is not for the network."""

    ttl_nanoseconds: Annotated[int, msgspec.Meta(gt=0, le=SESSION_TTL_SECONDS_MAX * 10**9)]


class CloseSession(Request, frozen=True, array_like=True):
    """-> [index]"""

    number: Annotated[int, msgspec.Meta(gt=0, le=2**63 - 1)]


class Query(Request, frozen=True, array_like=True):
    """-> [applied index, MessagePack of the result]. `index` is for `AT_LEAST`."""

    name: str
    values: list[Any]
    consistency: Consistency
    index: Number


class Stream(Request, frozen=True, array_like=True):
    """A generator query -> MORE [applied index, [MessagePack of an item, ...]] for each credit, in the end OK []."""

    name: str
    values: list[Any]
    consistency: Consistency
    index: Number


class Next(Request, frozen=True, array_like=True):
    """One more part of the stream whose request id this is."""


class Cancel(Request, frozen=True, array_like=True):
    """No more of the stream, long poll or subscription whose request id this is; it is not answered."""


class Events(Request, frozen=True, array_like=True):
    """Events after a number -> [[number, index, position, step, n, MessagePack], ...]; none when the wait is over."""

    after: Number
    limit: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_PER_ANSWER_MAX)]
    wait_milliseconds: Annotated[int, msgspec.Meta(ge=0, le=int(EVENTS_WAIT_SECONDS_MAX * 1000))]


class Cursor(Request, frozen=True, array_like=True):
    """What a named cursor has handled; for no name, the last event that is gone -> [number]. Linearizable."""

    name: Name | None
    skip_gap: bool


class Status(Request, frozen=True, array_like=True):
    """-> [map]"""


class Snapshot(Request, frozen=True, array_like=True):
    """Write one now -> [index]"""


class Change(Request, frozen=True, array_like=True):
    """Add ("add", "add_learner") or "remove" a member -> [index]"""

    action: Annotated[str, msgspec.Meta(pattern="^(add|add_learner|remove)$")]
    node_id: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
    peer_address: Address
    client_address: Address


class Transfer(Request, frozen=True, array_like=True):
    """Hand leadership to a node, 0 for any -> [new leader's id]"""

    node_id: NodeId


class Upgrade(Request, frozen=True, array_like=True):
    """Move the machine to a version that every voter ships -> [index at which it is in force]"""

    version: Annotated[int, msgspec.Meta(ge=1, lt=2**31)]


class Export(Request, frozen=True, array_like=True):
    """Entries of the log, `last` 0 for all -> MORE [head map or nil, [[index, term, kind, payload, chain], ...]]."""

    first: Number
    last: Number


class Roots(Request, frozen=True, array_like=True):
    """The roots that this node noted for these indexes -> MORE [[[index, root], ...]], in the order of the notes."""

    first: Number
    last: Number


class Observe(Request, frozen=True, array_like=True):
    """A subscription -> frames of kind FEED (see `rsm.node.feed.frames`), without end; an answer tells its end.

    `mode` 0: the log, from behind the entry `after`, which the observer holds with this command `chain` (empty: not
    known); with `snapshot` a snapshot first, not older than `after`. `mode` 1: events on `topics` (none: all), from
    behind the event `after`; with `snapshot` from behind the newest one.
    """

    after: Number
    chain: Annotated[bytes, msgspec.Meta(max_length=16)]
    mode: Annotated[int, msgspec.Meta(ge=0, le=1)]
    topics: Annotated[list[Name], msgspec.Meta(max_length=TOPICS_MAX)]
    snapshot: bool


class Watch(Request, frozen=True, array_like=True):
    """A query whose result is wanted when its digest is not `seen` -> [applied index, MessagePack], or [applied index,
    nil] when the wait is over.
    """

    name: str
    values: list[Any]
    seen: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    wait_milliseconds: Annotated[int, msgspec.Meta(ge=0, le=int(EVENTS_WAIT_SECONDS_MAX * 1000))]


class Commands:
    """Commands of sessions. `items` are the bytes of all, `decoded` what they decode to; see `rsm.replica.batch`.
    `wants_confirmation`: they are to be answered when a quorum has confirmed a state behind them.
    """

    __slots__ = ("decoded", "items", "wants_confirmation")

    def __init__(self, items: bytes, decoded: list[Any], *, wants_confirmation: bool = False) -> None:
        self.items = items
        self.decoded = decoded
        self.wants_confirmation = wants_confirmation


_KINDS: Final[dict[int, type[Request]]] = {
    RequestKind.OPEN_SESSION: OpenSession,
    RequestKind.CLOSE_SESSION: CloseSession,
    RequestKind.QUERY: Query,
    RequestKind.STREAM: Stream,
    RequestKind.NEXT: Next,
    RequestKind.CANCEL: Cancel,
    RequestKind.EVENTS: Events,
    RequestKind.CURSOR: Cursor,
    RequestKind.STATUS: Status,
    RequestKind.SNAPSHOT: Snapshot,
    RequestKind.CHANGE: Change,
    RequestKind.TRANSFER: Transfer,
    RequestKind.UPGRADE: Upgrade,
    RequestKind.EXPORT: Export,
    RequestKind.OBSERVE: Observe,
    RequestKind.WATCH: Watch,
    RequestKind.ROOTS: Roots,
}
make_known(*_KINDS.values())
_NUMBER_OF: Final = {kind: number for number, kind in _KINDS.items()}
# Both are of one shape; what they begin with, and whether they wait for confirmation.
_COMMANDS: Final = {int(RequestKind.COMMANDS): False, int(RequestKind.CONFIRMED_COMMANDS): True}
_HEADS: Final = {wants: encode_head(4, 3) + encode_uint(kind) for kind, wants in _COMMANDS.items()}
ID_MAX: Final = 2**63 - 1
# A command, and what its item adds: session, numbers and heads, and an idempotency key in four bytes a character.
ITEM_BYTES_MAX: Final = COMMAND_BYTES_MAX + 64 + 4 * KEY_LENGTH_MAX

# --- requests ---------------------------------------------------------------------------------------------------------


def encode_request(request_id: int, request: Request) -> bytes:
    """The payload of a request, other than commands."""
    fields = [int(value) if isinstance(value, IntEnum) else value for value in msgspec.structs.astuple(request)]
    return cbor.encode([int(_NUMBER_OF[type(request)]), request_id, *fields])


def encode_commands(request_id: int, count: int, items: bytes, *, wants_confirmation: bool = False) -> bytes:
    """The payload of a request of `count` commands, encoded one behind the other."""
    return b"".join((_HEADS[wants_confirmation], encode_uint(request_id), encode_head(4, count), items))


def _kind_and_id(payload: bytes) -> tuple[int, int]:
    """What a request says first; `BadBytes` if it has no id, so that it cannot even be refused."""
    array, count, offset = skim.read_head(payload, 0)
    if array != skim.ARRAY or count < 2:
        raise BadBytes("a request must be [kind, request id, ...]")
    first, kind, offset = skim.read_head(payload, offset)
    second, request_id, _ = skim.read_head(payload, offset)
    if first != skim.UNSIGNED or second != skim.UNSIGNED or request_id > ID_MAX:
        raise BadBytes("kind and id of a request must be integers, and no others than requests have")
    return kind, request_id


def decode_request(
    payload: bytes, refuse: Callable[[int], CallerError | None] | None = None
) -> tuple[int, Commands | Request | RsmError]:
    """Id and contents of a request, or the error to answer it with; `BadBytes` for what is none at all.

    `refuse` is asked first: why a request of this kind is not to be answered, whatever it says.
    """
    kind, request_id = _kind_and_id(payload)
    refusal = None if refuse is None else refuse(kind)
    if refusal is not None:
        return request_id, refusal
    if len(payload) > CLIENT_FRAME_ITEMS_MAX:  # else there are no more items than bytes
        try:
            skim.skip_item(payload, 0, items_max=CLIENT_FRAME_ITEMS_MAX)
        except LimitExceeded as error:
            return request_id, LimitExceeded(f"a request of {len(payload)} bytes: {error}")
    fields = cbor.decode(payload, bytes_max=CLIENT_FRAME_BYTES_MAX, depth_max=BATCH_DEPTH_MAX)
    if kind in _COMMANDS:
        return request_id, _decode_commands(payload, request_id, fields, _COMMANDS[kind])
    record = _KINDS.get(kind)
    if record is None:
        return request_id, UnknownFormat(f"request kind {kind} is not known to this release")
    try:
        return request_id, msgspec.convert(fields[2:], record, strict=True)
    except msgspec.ValidationError as error:
        return request_id, BadBytes(f"{record.__name__}: {error}")


def _decode_commands(
    payload: bytes, request_id: int, fields: list[Any], wants_confirmation: bool
) -> Commands | RsmError:
    items = fields[2] if len(fields) == 3 else None
    if type(items) is not list or not 0 < len(items) <= BATCH_COMMANDS_MAX:
        return BadBytes(f"a request of commands must be [kind, id, [1 to {BATCH_COMMANDS_MAX} items]]")
    head = b"".join((_HEADS[wants_confirmation], encode_uint(request_id), encode_head(4, len(items))))
    if not payload.startswith(head):
        return BadBytes("the heads of a request of commands must have their shortest form")
    encoded = payload[len(head) :]
    if len(encoded) > COMMAND_BYTES_MAX and (size := _largest_item(encoded, len(items))) > ITEM_BYTES_MAX:
        return LimitExceeded(f"a command of {size} bytes exceeds the bound of {COMMAND_BYTES_MAX}")
    return Commands(encoded, items, wants_confirmation=wants_confirmation)


def _largest_item(encoded: bytes, count: int) -> int:
    largest = start = 0
    for _ in range(count):
        end, _ = skim.skip_item(encoded, start, items_max=CLIENT_FRAME_ITEMS_MAX)
        largest, start = max(largest, end - start), end
    return largest


# --- answers ----------------------------------------------------------------------------------------------------------


def encode_answer(request_id: int, status: AnswerStatus, *fields: Any) -> bytes:
    """The payload of an answer."""
    return cbor.encode([request_id, int(status), *fields])


# Heads of [status, body] for what nearly all answers are: short ones.
_ANSWER_HEADS: Final = [[bytes((0x82, status, 0x40 | length)) for length in range(24)] for status in range(16)]


def encode_answers(request_id: int, index: int, answers: Sequence[Answer]) -> bytes:
    """The payload of the answer to commands: [id, OK, index, [[status, body], ...]]."""
    heads = _ANSWER_HEADS
    parts = [b"\x84", encode_uint(request_id), b"\x00", encode_uint(index), encode_head(4, len(answers))]
    for answer in answers:
        body = answer.body
        length = len(body)
        if length < 24:
            parts += (heads[answer.status][length], body)
        else:
            parts += (b"\x82", encode_uint(answer.status), encode_head(2, length), body)
    return b"".join(parts)


def decode_answer(payload: bytes) -> tuple[int, AnswerStatus, list[Any]]:
    """Id, status and fields of an answer; `BadBytes`, `UnknownFormat`."""
    fields = cbor.decode(payload, bytes_max=ANSWER_FRAME_BYTES_MAX)
    if type(fields) is not list or len(fields) < 2 or type(fields[0]) is not int or type(fields[1]) is not int:
        raise BadBytes("an answer must be [request id, status, ...]")
    try:
        status = AnswerStatus(fields[1])
    except ValueError:
        raise UnknownFormat(f"answer status {fields[1]} is not known to this release") from None
    return fields[0], status, fields[2:]


def decode_answers(fields: list[Any], count: int) -> tuple[int, list[Answer]]:
    """Index and answers from the fields of an OK to `count` commands; `BadBytes`."""
    try:
        index, packed = fields
        answers = msgspec.convert(packed, list[Answer], strict=True)
    except (ValueError, msgspec.ValidationError) as error:
        raise BadBytes(f"answers to commands: {error}") from None
    if type(index) is not int or len(answers) != count:
        raise BadBytes(f"{len(answers)} answers to {count} commands")
    return index, answers


# --- errors -----------------------------------------------------------------------------------------------------------

# What a class carries besides its text: how to take it apart, and how to put it together again.
_EXTRAS: Final[dict[str, Callable[[Any], list[Any]]]] = {
    "EventsGap": lambda error: [error.oldest_index],
    "InvalidCommand": lambda error: [error.field],
    "Rejected": lambda error: [error.reason, error.step],
    "HandlerFailed": lambda error: [error.reason, error.step],
    "CorruptFile": lambda error: [error.path, error.offset, error.what],
}
_EXTRA_TYPES: Final[dict[str, Any]] = {
    "EventsGap": tuple[int],
    "InvalidCommand": tuple[str | None],
    "Rejected": tuple[str, int | None],
    "HandlerFailed": tuple[str, int | None],
    "CorruptFile": tuple[str, int, str],
}
_CLASSES: Final = {name: getattr(errors, name) for name in errors.__all__}


def encode_failure(request_id: int, error: BaseException) -> bytes:
    """The payload of the answer that says why there is none."""
    text = _wire_text(str(error))
    if isinstance(error, errors.NotLeader):
        return encode_answer(request_id, AnswerStatus.REDIRECT, error.address)
    if isinstance(error, Busy):
        return encode_answer(request_id, AnswerStatus.BUSY, text, max(1, int(error.retry_seconds * 1000)))
    name = type(error).__name__
    if not isinstance(error, RsmError) or name not in _CLASSES:
        # What is not ours may say anything in its text: a path, a key, a part of the state.
        text = text if isinstance(error, RsmError) else "internal error, see the node's log"
        return encode_answer(request_id, AnswerStatus.ERROR, "RsmError", text)
    extras = [_wire_text(extra) if isinstance(extra, str) else extra for extra in _EXTRAS.get(name, _nothing)(error)]
    return encode_answer(request_id, AnswerStatus.ERROR, name, text, *extras)


def _nothing(_: Any) -> list[Any]:
    return []


def _wire_text(text: str) -> str:
    return text[:ERROR_TEXT_CHARACTERS_MAX].encode(errors="replace").decode()


def error_of(status: AnswerStatus, fields: list[Any]) -> RsmError:
    """The error that an answer stands for, of the class that was raised there; `BadBytes` if it cannot be read."""
    if status == AnswerStatus.REDIRECT and len(fields) == 1 and type(fields[0]) is str:
        return errors.NotLeader(address=fields[0])
    if status == AnswerStatus.BUSY and len(fields) == 2 and type(fields[0]) is str and type(fields[1]) is int:
        return Busy(fields[0], fields[1] / 1000)
    if status != AnswerStatus.ERROR or len(fields) < 2 or type(fields[0]) is not str or type(fields[1]) is not str:
        return BadBytes(f"an answer of status {status} that cannot be read")
    name, text, *extra = fields
    kind = _CLASSES.get(name)
    if kind is None:
        return RsmError(f"{name}: {text}")
    if name not in _EXTRA_TYPES:
        return kind(text) if name not in ("Busy", "NotLeader") else BadBytes(f"{name} came as an error")
    try:
        values = msgspec.convert(extra, _EXTRA_TYPES[name], strict=True)
    except msgspec.ValidationError as error:
        return BadBytes(f"{name}: {error}")
    made: RsmError = kind(*values) if name in ("Rejected", "HandlerFailed", "CorruptFile") else kind(text, *values)
    return made
