"""The entry at which two logs part: which command of it differs, and whether what differs is more than bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from rsm.codec import cbor
from rsm.codec.record import Entry, RecordKind
from rsm.codec.skim import read_head, skip_item
from rsm.desync.finding import Kind
from rsm.errors import BadBytes, InvalidCommand, RsmError
from rsm.limits import ENTRY_BYTES_MAX
from rsm.replica.batch import CONFIRMED, Batch, decode_batch
from rsm.replica.naming import Call, Names, items_of

__all__ = ["EntryDifference", "call_document", "compare_entries"]


class EntryDifference(NamedTuple):
    """How two entries of one index differ. `calls`: the command of each side, None where it has none.

    `confirmed` is an index and its two roots, where all that differs is which root a quorum had there.
    """

    kind: Kind
    position: int | None
    what: str
    calls: tuple[dict[str, Any] | None, dict[str, Any] | None] = (None, None)
    confirmed: tuple[int, bytes, bytes] | None = None


def call_document(call: Call, steps: list[Call] | None) -> dict[str, Any]:
    """Name, version and values of a command, and the steps of a pipeline."""
    document: dict[str, Any] = {"name": call.name, "version": call.version, "values": call.values}
    return document if steps is None else document | {"steps": [call_document(step, None) for step in steps]}


def compare_entries(left: Entry, right: Entry, left_names: Names, right_names: Names) -> EntryDifference:
    """The first difference of two entries whose chains differ and whose predecessors are equal."""
    if left.term != right.term:
        same = "the same payload" if left.payload == right.payload else "other payloads"
        return EntryDifference("log", None, f"terms {left.term} and {right.term}, {same}")
    if left.kind != right.kind:
        return EntryDifference("log", None, f"{left.kind.name} and {right.kind.name} entries")
    if left.kind is not RecordKind.BATCH:
        return EntryDifference("log", None, f"{left.kind.name} entries with other payloads")
    batches: list[Batch] = []
    for entry in (left, right):
        try:
            batches.append(decode_batch(entry.payload))
        except RsmError as error:
            return EntryDifference("codec", None, f"one payload is no batch: {error}")
    ours, theirs = batches
    for position, (one, other) in enumerate(zip(ours.items, theirs.items, strict=False)):
        if _form(one) != _form(other):
            return _of_items(position, one, other, (left, right), (left_names, right_names))
    for name, one, other in (
        ("machine versions", ours.machine_version, theirs.machine_version),
        ("log times", ours.stamp, theirs.stamp),
        ("flags", ours.flags, theirs.flags),
    ):
        if one != other and len(ours.items) == len(theirs.items):
            return EntryDifference("log", None, f"the same commands with other {name}: {one} and {other}")
    if len(ours.items) != len(theirs.items):
        position = min(len(ours.items), len(theirs.items))
        calls = (_call(left, position, left_names), _call(right, position, right_names))
        return EntryDifference("log", position, f"{len(ours.items)} and {len(theirs.items)} commands", calls)
    at = _first_other_bytes(left.payload, right.payload, len(ours.items))
    calls = (None, None) if at is None else (_call(left, at, left_names), _call(right, at, right_names))
    return EntryDifference("codec", at, "the same commands in other bytes", calls)


def _of_items(
    position: int, one: Any, other: Any, entries: tuple[Entry, Entry], names: tuple[Names, Names]
) -> EntryDifference:
    calls = (_call(entries[0], position, names[0]), _call(entries[1], position, names[1]))
    ours, theirs = _confirmed(one), _confirmed(other)
    if ours is not None and theirs is not None and ours[0] == theirs[0]:
        what = f"other roots were confirmed for index {ours[0]}"
        return EntryDifference("apply", position, what, calls, (ours[0], ours[1], theirs[1]))
    return EntryDifference("log", position, "other commands", calls)


def _confirmed(item: Any) -> tuple[int, bytes] | None:
    if type(item) is list and len(item) == 6 and item[0] == 0 and item[3] == CONFIRMED and type(item[5]) is list:
        values = item[5]
        if [type(value) for value in values] == [int, bytes]:
            return values[0], values[1]
    return None


def _form(item: Any) -> bytes:
    """Equal for equal items: True and 1 differ, a long form of 1 does not."""
    try:
        return cbor.encode(item)
    except InvalidCommand:
        # What no client can send, such as a float: MessagePack tells those apart too.
        return msgspec.msgpack.encode(item, enc_hook=repr)


def _call(entry: Entry, position: int, names: Names) -> dict[str, Any] | None:
    for item in items_of(entry, names):
        if item.position == position and item.call is not None:
            return call_document(item.call, item.steps)
    return None


def _first_other_bytes(left: bytes, right: bytes, count: int) -> int | None:
    """The first item whose bytes differ; None if only the head of the batch does."""
    ours, theirs = _items_of(left, count), _items_of(right, count)
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((position for position, (one, other) in pairs if one != other), None)


def _items_of(payload: bytes, count: int) -> list[bytes]:
    """The bytes of each item of a batch that can be decoded."""
    items: list[bytes] = []
    try:
        _, _, offset = read_head(payload, 0)
        for _ in range(4):
            offset, _ = skip_item(payload, offset, items_max=ENTRY_BYTES_MAX)
        _, _, offset = read_head(payload, offset)
        for _ in range(count):
            end, _ = skip_item(payload, offset, items_max=ENTRY_BYTES_MAX)
            items.append(payload[offset:end])
            offset = end
    except BadBytes:
        pass  # what can be decoded can be skipped, but a report must not fail over it
    return items
