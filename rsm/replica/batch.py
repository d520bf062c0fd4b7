"""Batches: one Raft entry of many commands, joined from the bytes their clients encoded.

A batch is canonical CBOR `[1, machine version, stamp in nanoseconds, flags, [item, ...]]`; an item is `[session,
sequence, lowest unanswered, name, version, [value, ...]]`, with an idempotency key as a seventh element where the
client gave one. The leader never decodes and encodes again: it joins array heads and items, and what lies in the log is
what the client sent. Names that begin with "rsm." are the system's own commands.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from rsm.codec import cbor
from rsm.codec.record import check_format
from rsm.errors import BadBytes, LimitExceeded, UnknownFormat
from rsm.limits import BATCH_COMMANDS_MAX, BATCH_DEPTH_MAX, ENTRY_BYTES_MAX

BATCH_FORMAT: Final = 1
FLAG_HASH_POINT: Final = 1
FLAG_UPGRADE: Final = 2  # it holds nothing but the `rsm.activate` of another machine version

ACTIVATE: Final = "rsm.activate"
OPEN_SESSION: Final = "rsm.open_session"
CLOSE_SESSION: Final = "rsm.close_session"
KEEP_ALIVE: Final = "rsm.keep_alive"
PIPELINE: Final = "rsm.pipeline"
OUTCOME: Final = "rsm.outcome"
CONFIRMED: Final = "rsm.confirmed"
DISPUTE: Final = "rsm.dispute"
ATTEST: Final = "rsm.attest"
RETURNED: Final = "rsm.returned"
CURSOR: Final = "rsm.cursor"


class Batch(NamedTuple):
    """A decoded batch. `items` are lists of 6 or 7 elements, checked when they are applied."""

    machine_version: int
    stamp: int
    flags: int
    items: list[Any]

    @property
    def is_hash_point(self) -> bool:
        """Whether the batch itself asks for a state root, besides the indexes that have one anyway."""
        return bool(self.flags & FLAG_HASH_POINT)

    @property
    def is_upgrade(self) -> bool:
        """Whether it moves the machine to another version."""
        return bool(self.flags & FLAG_UPGRADE)


def encode_head(major: int, number: int) -> bytes:
    """The head of a CBOR item: major type and number, shortest form."""
    top = major << 5
    if number < 24:
        return bytes((top | number,))
    if number < 1 << 8:
        return bytes((top | 24, number))
    if number < 1 << 16:
        return bytes((top | 25,)) + number.to_bytes(2, "big")
    if number < 1 << 32:
        return bytes((top | 26,)) + number.to_bytes(4, "big")
    return bytes((top | 27,)) + number.to_bytes(8, "big")


def encode_uint(number: int) -> bytes:
    """An unsigned integer, shortest form."""
    return encode_head(0, number)


def encode_call(name: str, version: int, values: list[Any]) -> bytes:
    """The part of an item that does not depend on its session: name, version, values (three CBOR items in a row)."""
    return cbor.encode([name, version, values])[1:]


ITEM_HEAD: Final = encode_head(4, 6)
KEYED_ITEM_HEAD: Final = encode_head(4, 7)


def join_item(session: int, sequence: int, lowest_unanswered: int, call: bytes, key: str | None = None) -> bytes:
    """One item from its parts, `call` as `encode_call` made it."""
    numbers = encode_uint(session) + encode_uint(sequence) + encode_uint(lowest_unanswered)
    if key is None:
        return ITEM_HEAD + numbers + call
    return KEYED_ITEM_HEAD + numbers + call + cbor.encode(key)


def join_batch(machine_version: int, stamp: int, flags: int, items: list[bytes]) -> bytes:
    """The payload of one entry from already encoded items. `LimitExceeded` for one that no replica would take."""
    return join_runs(machine_version, stamp, flags, len(items), items)


def join_runs(machine_version: int, stamp: int, flags: int, count: int, runs: list[bytes]) -> bytes:
    """The same from runs of encoded items, one behind the other, that are `count` items together."""
    if count > BATCH_COMMANDS_MAX:
        raise LimitExceeded(f"a batch of {count} commands exceeds the bound of {BATCH_COMMANDS_MAX}")
    head = b"\x85" + encode_uint(BATCH_FORMAT) + encode_uint(machine_version) + encode_uint(stamp) + encode_uint(flags)
    payload = b"".join((head, encode_head(4, count), *runs))
    if len(payload) > ENTRY_BYTES_MAX:
        raise LimitExceeded(f"a batch of {len(payload)} bytes exceeds the bound of {ENTRY_BYTES_MAX}")
    return payload


def decode_batch(payload: bytes) -> Batch:
    """The batch in an entry's payload; `BadBytes` if it is not one, `UnknownFormat`. Decoding is bounded."""
    decoded = cbor.decode(payload, bytes_max=ENTRY_BYTES_MAX, depth_max=BATCH_DEPTH_MAX)
    if type(decoded) is list and decoded:
        check_format("batch format", decoded[0], BATCH_FORMAT)
    if type(decoded) is not list or len(decoded) != 5:
        raise BadBytes("a batch must be an array of five")
    _, machine_version, stamp, flags, items = decoded
    if type(machine_version) is not int or type(stamp) is not int or type(flags) is not int or type(items) is not list:
        raise BadBytes("a batch must be [format, machine version, stamp, flags, items]")
    if not 0 <= stamp < 2**63 or not 0 <= machine_version < 2**31 or flags < 0:
        raise BadBytes("a batch's stamp, machine version or flags are out of range")
    if flags & ~(FLAG_HASH_POINT | FLAG_UPGRADE):
        raise UnknownFormat(f"a newer release wrote this (batch flags {flags:#x} are not known)")
    if len(items) > BATCH_COMMANDS_MAX:
        raise BadBytes(f"a batch of {len(items)} commands exceeds the bound of {BATCH_COMMANDS_MAX}")
    return Batch(machine_version, stamp, flags, items)
