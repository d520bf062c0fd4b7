"""The members' messages on the wire: what goes in comes out, and nothing else is taken for a message."""

from __future__ import annotations

import contextlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.codec import cbor
from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes, UnknownFormat
from rsm.limits import PEER_MESSAGE_BYTES_MAX
from rsm.raft import messages
from rsm.raft.messages import (
    AppendEntries,
    AppendReply,
    Attest,
    Message,
    PreVote,
    RequestVote,
    SnapshotAck,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotResult,
    SnapshotWant,
    TimeoutNow,
    VoteReply,
    decode_message,
    encode_message,
)

NUMBER = st.integers(0, 2**62)
BYTES = st.binary(max_size=20)
ENTRIES = st.lists(
    st.tuples(NUMBER, st.sampled_from((RecordKind.BATCH, RecordKind.NOOP, RecordKind.CONFIGURATION)), BYTES), max_size=4
)


def an_append(
    fields: tuple[int, int, int, int, int, int], packed: list[tuple[int, RecordKind, bytes]]
) -> AppendEntries:
    """One with indexes that follow from its `previous_index`, as they must."""
    entries = tuple(Entry(fields[1] + place, *entry) for place, entry in enumerate(packed, 1))
    return AppendEntries(*fields, entries)


MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(PreVote, NUMBER, NUMBER, NUMBER),
    st.builds(RequestVote, NUMBER, NUMBER, NUMBER, st.booleans()),
    st.builds(VoteReply, NUMBER, st.booleans(), st.booleans(), st.booleans(), NUMBER),
    st.builds(an_append, st.tuples(NUMBER, NUMBER, NUMBER, NUMBER, NUMBER, NUMBER), ENTRIES),
    st.builds(AppendReply, NUMBER, st.booleans(), NUMBER, NUMBER, NUMBER, NUMBER, st.booleans(), NUMBER, BYTES, NUMBER),
    st.builds(TimeoutNow, NUMBER),
    st.builds(SnapshotOffer, NUMBER, NUMBER, NUMBER, BYTES),
    st.builds(SnapshotWant, NUMBER, NUMBER, st.dictionaries(st.text(max_size=5), BYTES, max_size=3), NUMBER),
    st.builds(SnapshotChunk, NUMBER, NUMBER, NUMBER, st.lists(BYTES, max_size=3).map(tuple), st.booleans()),
    st.builds(SnapshotAck, NUMBER, NUMBER, NUMBER),
    st.builds(SnapshotResult, NUMBER, NUMBER, st.booleans(), st.text(max_size=10)),
    st.builds(Attest, NUMBER, NUMBER, BYTES, BYTES, NUMBER, BYTES, st.text(max_size=10), st.text(max_size=10)),
)


@given(MESSAGES)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    """Encoding and decoding are each other's inverse, and the bytes are canonical."""
    data = encode_message(message)
    assert decode_message(data) == message
    assert encode_message(decode_message(data)) == data
    assert cbor.encode(cbor.decode(data, bytes_max=len(data))) == data


def test_every_kind_is_drawn() -> None:
    """A new kind of message is not left out of the tests of this file."""
    drawn = {PreVote, RequestVote, VoteReply, AppendEntries, AppendReply, TimeoutNow}
    drawn |= {SnapshotOffer, SnapshotWant, SnapshotChunk, SnapshotAck, SnapshotResult, Attest}
    assert set(messages._KINDS) == drawn


@given(MESSAGES, st.lists(st.tuples(st.sampled_from("xid"), st.integers(0, 2**16), st.integers(0, 255)), min_size=1))
def test_damaged_bytes_are_a_message_or_refused(message: Message, damage: list[tuple[str, int, int]]) -> None:
    """Bytes changed, put in or left out give a valid message, or one of the two errors, and nothing else."""
    data = bytearray(encode_message(message))
    for how, place, byte in damage:
        place %= len(data) + 1
        if how == "x" and place < len(data):
            data[place] = byte
        elif how == "i":
            data.insert(place, byte)
        elif how == "d":
            del data[place : place + 1]
    try:
        decoded = decode_message(bytes(data))
    except (BadBytes, UnknownFormat):
        return
    assert isinstance(decoded, Message)
    assert decode_message(encode_message(decoded)) == decoded


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    """Whatever arrives, one of the two errors is raised or a message is there."""
    with contextlib.suppress(BadBytes, UnknownFormat):
        assert isinstance(decode_message(data), Message)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([], "must be"),
        ([0, 1], "must be"),
        ([True, 1, 2, 3], "must be"),
        ({"kind": 1}, "must be"),
        ([1, 1, 2], "PreVote"),
        ([1, 1, 2, 3, 4], "PreVote"),
        ([1, "1", 2, 3], "PreVote"),
        ([4, 1, 2, 3, 4, 5, 6], "six integers"),
        ([4, 1, -2, 3, 4, 5, 6, []], "six integers"),
        ([4, 1, 2, 3, 4, 5, True, []], "six integers"),
        ([4, 1, 2, 3, 4, 5, 6, [[1, 2]]], "an entry must be"),
        ([4, 1, 2, 3, 4, 5, 6, [[1, 2, "text"]]], "an entry must be"),
        ([4, 1, 2, 3, 4, 5, 6, [[-1, 2, b""]]], "no place in a log"),
        ([4, 1, 2, 3, 4, 5, 6, [[1, int(RecordKind.TERM), b""]]], "no place in a log"),
        ([4, 1, 2, 3, 4, 5, 6, [[1, [], b""]]], "no place in a log"),
    ],
)
def test_what_is_no_message_says_why(fields: object, why: str) -> None:
    """Each way to be wrong has its reason in the error."""
    with pytest.raises(BadBytes, match=why):
        decode_message(cbor.encode(fields))


@pytest.mark.parametrize(
    "fields",
    [
        [1, 2**63, 2, 3],
        [4, 2**63, 2, 3, 4, 5, 6, []],
        [4, 1, 2, 3, 4, 5, 6, [[2**63, 2, b""]]],
        [8, 2**63, 24, {"": b""}, 65536],
        [8, 1, 24, {"": 0.5}, 65536],
    ],
)
def test_numbers_that_no_member_could_send_are_refused(fields: object) -> None:
    """A term of 2**63 would be taken over, and could be neither saved nor passed on."""
    with pytest.raises(BadBytes):
        decode_message(cbor2.dumps(fields, canonical=True))


def test_a_kind_of_a_newer_release_is_told_from_damage() -> None:
    """A member may be older than the one that speaks to it."""
    with pytest.raises(UnknownFormat, match="kind 13"):
        decode_message(cbor.encode([13, 1]))


def test_a_message_beyond_the_bound_is_not_looked_at() -> None:
    """Its size is compared before its first byte is decoded."""
    with pytest.raises(BadBytes, match="exceeds the bound"):
        decode_message(bytes(PEER_MESSAGE_BYTES_MAX + 1))
