"""Record frames: what is written comes back, what was damaged is refused, and nothing believes a length."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import (
    HEADER_BYTES,
    Record,
    RecordKind,
    decode_header,
    decode_payload,
    decode_record,
    encode_record,
)
from rsm.errors import BadBytes, LimitExceeded, UnknownFormat
from rsm.limits import COMPRESS_BYTES_MIN, ENTRY_BYTES_MAX

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "records.json"
u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)


def sealed(**changes: Any) -> bytes:
    """A header whose checksum is right, whatever its fields say, and its payload."""
    payload = changes.pop("payload", b"payload")
    fields = {
        "magic": 0x6D72,
        "format": 1,
        "kind": 2,
        "flags": 0,
        "reserved": 0,
        "group_id": 0,
        "stored_bytes": len(payload),
        "raw_bytes": len(payload),
        "index": 1,
        "term": 1,
        "chain": bytes(16),
        "payload_checksum": xxh3_64_intdigest(payload),
        **changes,
    }
    head = struct.pack("<HBBHHIIIQQ16sQ", *fields.values())
    return head + struct.pack("<I", xxh3_64_intdigest(head) & 0xFFFFFFFF) + bytes(payload)


@given(
    st.sampled_from(RecordKind),
    st.binary(max_size=3000) | st.integers(0, 3000).map(bytes),
    u64,
    u64,
    u32,
    st.binary(min_size=16, max_size=16),
    st.booleans(),
    st.binary(max_size=9),
)
def test_a_record_comes_back(
    kind: RecordKind, payload: bytes, index: int, term: int, group_id: int, chain: bytes, compress: bool, before: bytes
) -> None:
    """At any offset, compressed or not."""
    data = encode_record(kind, payload, index=index, term=term, group_id=group_id, chain=chain, compress=compress)
    assert len(data) <= HEADER_BYTES + len(payload)
    record, end = decode_record(before + data + b"rest", len(before))
    assert record == Record(kind, payload, index, term, group_id, chain)
    assert end == len(before) + len(data)


@pytest.mark.parametrize("compress", [False, True])
def test_every_flipped_bit_is_detected(compress: bool) -> None:
    """In the header and in the payload, compressed or not."""
    data = encode_record(RecordKind.BATCH, bytes(range(256)) * 8, index=5, term=3, compress=compress)
    assert (len(data) < HEADER_BYTES + 2048) == compress
    for bit in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadBytes):
            decode_record(bytes(flipped))


def test_every_cut_is_detected() -> None:
    """A frame that ends early, at any length."""
    data = encode_record(RecordKind.NOOP, b"payload", index=5)
    for length in range(len(data)):
        with pytest.raises(BadBytes):
            decode_record(data[:length])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"magic": 0}, "magic"),
        ({"format": 0}, "format 0"),
        ({"kind": 0}, "kind 0"),
        ({"raw_bytes": 8}, "lengths differ"),
        ({"stored_bytes": 2**31}, "exceeds the bound"),
        ({"raw_bytes": 2**32 - 1, "flags": 1}, "exceeds the bound"),
    ],
    ids=str,
)
def test_a_well_checksummed_header_is_still_checked(changes: dict[str, int], reason: str) -> None:
    """Another program, a 2 GiB length: refused by name."""
    with pytest.raises(BadBytes, match=reason):
        decode_header(sealed(**changes))
    decode_record(sealed())


@pytest.mark.parametrize(
    "changes", [{"format": 2}, {"format": 255}, {"kind": 11}, {"flags": 2}, {"flags": 0x8000}, {"reserved": 1}], ids=str
)
def test_a_newer_release_is_recognised(changes: dict[str, int]) -> None:
    """A whole header with a format, kind or bits that are not known here is no damage: it is somebody's who knows."""
    with pytest.raises(UnknownFormat, match="a newer release wrote this"):
        decode_header(sealed(**changes))


def test_the_bound_is_the_callers() -> None:
    """A control record may be held to less than an entry."""
    data = encode_record(RecordKind.IDENTITY, b"x" * 1000)
    decode_header(data, bytes_max=1000)
    with pytest.raises(BadBytes, match="exceeds the bound of 999"):
        decode_header(data, bytes_max=999)
    with pytest.raises(LimitExceeded, match="IDENTITY"):
        encode_record(RecordKind.IDENTITY, b"x" * 1000, bytes_max=999)
    with pytest.raises(LimitExceeded):
        encode_record(RecordKind.BATCH, bytes(ENTRY_BYTES_MAX + 1))


def bomb(packed: bytes, raw_bytes: int) -> bytes:
    return sealed(payload=packed, raw_bytes=raw_bytes, flags=1)


def test_a_bomb_stays_small() -> None:
    """A megabyte that inflates to 300 MB, whatever its header promises: refused, in bounded memory."""
    packed = lz4.frame.compress(bytes(300_000_000), store_size=False)
    assert len(packed) < 1_300_000
    for raw_bytes in (0, 7, 1_000_000, ENTRY_BYTES_MAX):
        data = bomb(packed, raw_bytes)
        tracemalloc.start()
        with pytest.raises(BadBytes, match="inflates to more"):
            decode_record(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # The decompressor doubles its buffer as it grows.
        assert peak < 2 * ENTRY_BYTES_MAX + 4 * len(packed)
    with pytest.raises(BadBytes, match="exceeds the bound"):
        decode_record(bomb(packed, 300_000_000))


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"", "inflates to 0"),
        (b"no lz4 at all", "bad lz4 frame"),
        (lz4.frame.compress(b"abc")[:-5], "inflates to"),
        (lz4.frame.compress(b"abc")[:-1], "does not end"),
        (lz4.frame.compress(b"abcd"), "inflates to more"),
        (lz4.frame.compress(b"ab"), "inflates to 2"),
        (lz4.frame.compress(b"abc") + b"x", "after the lz4 frame"),
        (lz4.frame.compress(b"abc") + lz4.frame.compress(b"d"), "after the lz4 frame"),
    ],
)
def test_a_bad_lz4_frame_is_refused(packed: bytes, reason: str) -> None:
    """Not lz4, cut, too long, too short, followed by something: with a checksum that is right."""
    with pytest.raises(BadBytes, match=reason):
        decode_record(bomb(packed, 3))


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    """Whatever they are, the error is BadBytes."""
    with pytest.raises(BadBytes):
        decode_record(data)


def test_a_payload_of_the_wrong_length_is_refused() -> None:
    """Even if it begins right."""
    data = encode_record(RecordKind.BATCH, b"abc")
    header = decode_header(data)
    assert decode_payload(header, data[HEADER_BYTES:]) == b"abc"
    with pytest.raises(BadBytes, match="short"):
        decode_payload(header, b"ab")


def test_only_large_payloads_that_shrink_are_compressed() -> None:
    """Noise and small payloads are stored as they are."""
    noise = random.Random(1).randbytes(COMPRESS_BYTES_MIN)
    for payload in (noise, bytes(COMPRESS_BYTES_MIN - 1)):
        assert encode_record(RecordKind.BATCH, payload, compress=True)[HEADER_BYTES:] == payload
    assert len(encode_record(RecordKind.BATCH, bytes(COMPRESS_BYTES_MIN), compress=True)) < COMPRESS_BYTES_MIN


def test_the_chain_depends_on_every_field() -> None:
    """No two different entries, or orders of entries, share a chain."""
    base = (ZERO_CHAIN, 1, 1, 2, b"payload")
    variants = [(b"\1" * 16, 1, 1, 2, b"payload"), (ZERO_CHAIN, 2, 1, 2, b"payload"), (ZERO_CHAIN, 1, 2, 2, b"payload")]
    variants += [(ZERO_CHAIN, 1, 1, 3, b"payload"), (ZERO_CHAIN, 1, 1, 2, b"payloae"), (ZERO_CHAIN, 1, 1, 2, b"")]
    chains = {next_chain(*fields) for fields in [base, *variants]}
    assert len(chains) == 1 + len(variants)
    assert all(len(chain) == 16 for chain in chains)


def test_the_golden_records() -> None:
    """The bytes of format 1 never change: each vector is made and read exactly as it was on the day it was written."""
    vectors = json.loads(GOLDEN.read_text())
    assert {vector["kind"] for vector in vectors["records"]} == {kind.name for kind in RecordKind}
    for vector in vectors["records"]:
        kind = RecordKind[vector["kind"]]
        payload = bytes.fromhex(vector["payload"])
        chain = next_chain(bytes.fromhex(vector["previous_chain"]), vector["index"], vector["term"], kind, payload)
        assert chain.hex() == vector["chain"]
        fields = {name: vector[name] for name in ("index", "term", "group_id")}
        record = bytes.fromhex(vector["record"])
        assert decode_record(record) == (Record(kind, payload, chain=chain, **fields), len(record))
        if not vector["compressed"]:
            # What lz4 makes may change with its version; that it can be read may not.
            assert encode_record(kind, payload, chain=chain, **fields) == record
