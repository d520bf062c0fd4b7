"""CBOR from outside is bounded and canonical CBOR is stable: what is refused, what comes back, and which bytes."""

from __future__ import annotations

import datetime
import resource
import struct
import time
from decimal import Decimal
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.codec.cbor import REFERENCE_TAG, Reference, decode, decode_canonical, encode
from rsm.errors import BadBytes, InvalidCommand
from rsm.limits import NESTING_DEPTH_MAX

BYTES_MAX = 1 << 20

integers = st.integers(-(2**63), 2**63 - 1)
scalars = st.none() | st.booleans() | integers | st.text() | st.binary()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5) | integers, inner, max_size=5),
    max_leaves=20,
)


def refused(data: bytes) -> str:
    """The one-line reason for which `data` is refused."""
    with pytest.raises(BadBytes) as caught:
        decode(data, bytes_max=BYTES_MAX)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 300
    return text


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


@given(values)
def test_a_value_comes_back_equal_and_canonical(value: Any) -> None:
    """Encoding and decoding is the identity, and the encoding is the canonical one."""
    data = encode(value)
    assert decode(data, bytes_max=BYTES_MAX) == value
    assert decode_canonical(data, bytes_max=BYTES_MAX) == value
    assert data == cbor2.dumps(value, canonical=True)


@given(st.binary(max_size=64))
def test_arbitrary_bytes_decode_or_are_refused(data: bytes) -> None:
    """No bytes raise anything but BadBytes; what decodes can be encoded, but for floats and huge integers."""
    try:
        value = decode(data, bytes_max=BYTES_MAX)
    except BadBytes:
        refused(data)
        return
    try:
        encode(value)
    except InvalidCommand:
        with pytest.raises(InvalidCommand, match=r"float|64 bits"):
            encode(value)


@given(values, st.data())
def test_a_cut_item_is_refused(value: Any, data: st.DataObject) -> None:
    """No proper beginning of an encoding decodes."""
    encoded = encode(value)
    refused(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


@given(values, st.binary(min_size=1, max_size=8))
def test_trailing_bytes_are_refused(value: Any, more: bytes) -> None:
    """Bytes after the item are refused, and counted."""
    assert f"{len(more)} bytes after" in refused(encode(value) + more)


def test_the_payload_is_capped_before_it_is_decoded() -> None:
    """One byte above the bound is refused without a look at the content."""
    data = encode(b"x" * 100)
    assert decode(data, bytes_max=len(data)) == b"x" * 100
    with pytest.raises(BadBytes, match="exceeds the bound"):
        decode(b"\xff" * 101, bytes_max=100)


@pytest.mark.parametrize("head", [b"\x5a", b"\x7a", b"\x9a", b"\xba", b"\x5b\0\0\0\0", b"\x9b\0\0\0\0"])
def test_a_length_prefix_of_2_gib_allocates_nothing(head: bytes) -> None:
    """A promised length is not believed: the item is refused at once, with next to no memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(head + struct.pack(">I", 0x7FFFFFFF) + b"x" * 100)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_nesting_is_bounded_in_both_directions() -> None:
    """The deepest allowed nest passes; one more, and a megabyte of heads, is refused."""
    assert decode(encode(nested(NESTING_DEPTH_MAX)), bytes_max=BYTES_MAX) == nested(NESTING_DEPTH_MAX)
    assert "depth" in refused(b"\x81" * (NESTING_DEPTH_MAX + 1) + b"\0")
    assert "depth" in refused(b"\x81" * (BYTES_MAX - 1) + b"\0")
    assert "depth" in refused(b"\xa1\x01" * 1000 + b"\0")
    with pytest.raises(InvalidCommand, match="deeper"):
        encode(nested(NESTING_DEPTH_MAX + 1))


@pytest.mark.parametrize(
    "data",
    [b"\x9f\xff", b"\x9f\x01\xff", b"\xbf\xff", b"\x5f\xff", b"\x7f\xff", b"\x5f\x41a\xff", b"\x81\x9f\xff"],
    ids=bytes.hex,
)
def test_indefinite_lengths_are_refused(data: bytes) -> None:
    """There is one way to write a length."""
    assert "indefinite" in refused(data)


def test_duplicate_keys_are_refused() -> None:
    """Also when the second spelling of the key differs."""
    assert "Duplicate" in refused(b"\xa2\x01\x01\x01\x02")
    assert "Duplicate" in refused(b"\xa2\x01\x01\x18\x01\x02")
    assert "Duplicate" in refused(b"\xa2\x61a\x01\x61a\x02")


@pytest.mark.parametrize(
    "key",
    [b"\x41a", b"\xf4", b"\xf6", b"\x80", b"\x81\x01", b"\xf9\x3c\x00", b"\xf7", b"\xd9\x01\x02\x80"],
    ids=bytes.hex,
)
def test_keys_other_than_text_and_integers_are_refused(key: bytes) -> None:
    """Bytes, booleans, null, arrays, floats, undefined, sets."""
    refused(b"\xa1" + key + b"\x01")


KNOWN_TAGS = [*range(300), 1004, 1040, 43000, 55799, 0x72736C, 0x72736E, 2**32, 2**64 - 1]


@pytest.mark.parametrize(
    "content", [b"\x00", b"\x61a", b"\x41a", b"\x80", b"\x82\x01\x02", b"\xa0", b"\x74" + b"2020-01-01T00:00:00Z"]
)
def test_every_tag_but_one_is_refused(content: bytes) -> None:
    """Dates, bignums, decimals, expressions, shared values, sets, addresses, unknown ones: whatever they contain."""
    for tag in KNOWN_TAGS:
        head = cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1]
        for data in (head + content, b"\x81" + head + content):
            assert f"tag {tag} is not allowed" in refused(data)


def test_a_shared_reference_cannot_make_a_cycle() -> None:
    """The cyclic list that plain cbor2 would build is refused."""
    assert "is not allowed" in refused(bytes.fromhex("d81c81d81d00"))


@pytest.mark.parametrize("data", [b"\xf7", b"\xf0", b"\xe0", b"\xf8\x20", b"\xf8\xff", b"\x81\xf7"], ids=bytes.hex)
def test_odd_simple_values_are_refused(data: bytes) -> None:
    """Undefined and unassigned simple values have no place in a command."""
    refused(data)


@pytest.mark.parametrize("data", [b"\x61\xff", b"\x63\xed\xa0\x80", b"\x62\xc3\x28"], ids=bytes.hex)
def test_text_must_be_utf_8(data: bytes) -> None:
    """Neither stray bytes nor surrogates pass."""
    assert "utf-8" in refused(data)


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        [float("nan")],
        {1, 2},
        2**63,
        -(2**63) - 1,
        2**64,
        -(2**64),
        2**200,
        datetime.date(2020, 1, 1),
        datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        Decimal("1.5"),
        {b"a": 1},
        {None: 1},
        {True: 1},
        {1.5: 1},
        {(1, 2): 3},
        "\ud800",
        object(),
        cbor2.CBORTag(1, 1),
        cbor2.undefined,
        frozenset({1}),
    ],
    ids=lambda value: repr(value).split(" at 0x")[0],
)
def test_encode_refuses_what_has_no_place(value: Any) -> None:
    """Alone, in a list, and as the value of a map."""
    for outer in (value, [1, value], {"key": value}, ["text", [2, [value]]]):
        with pytest.raises(InvalidCommand):
            encode(outer)


def test_integers_at_the_edge_of_64_bits_pass() -> None:
    """The bounds themselves are values."""
    for value in (2**63 - 1, -(2**63), 2**32, -(2**32) - 1):
        assert decode(encode(value), bytes_max=99) == value


def test_integers_below_64_bits_are_refused() -> None:
    """CBOR reaches down to -2**64; nothing after it could hold that."""
    refused(b"\x3b" + b"\xff" * 8)


def test_structs_are_encoded_as_arrays() -> None:
    """An array-like struct is its fields; a map-like one has no canonical order and is refused."""

    class Order(msgspec.Struct, frozen=True, array_like=True):
        price: int
        name: str

    class Loose(msgspec.Struct):
        price: int

    assert encode([Order(5, "a")]) == encode([[5, "a"]])
    assert encode([Order(2**40, "a")]) == encode([[2**40, "a"]])
    with pytest.raises(InvalidCommand):
        encode(Loose(5))
    with pytest.raises(InvalidCommand):
        encode(Order(2**64, "a"))


@given(st.integers(0, 255), st.lists(st.text(max_size=5) | st.integers(0, 9), max_size=4))
def test_a_reference_comes_back(step: int, path: list[str | int]) -> None:
    """The one allowed tag: a step and a path."""
    reference = Reference(step, tuple(path))
    data = encode([1, reference])
    assert decode(data, bytes_max=BYTES_MAX) == [1, reference]
    assert decode_canonical(data, bytes_max=BYTES_MAX) == [1, reference]
    assert data == cbor2.dumps([1, cbor2.CBORTag(REFERENCE_TAG, [step, path])])


@pytest.mark.parametrize("part", [-1, 2**64, True, None, 1.5, ()], ids=repr)
def test_a_reference_that_nobody_would_decode(part: Any) -> None:
    """It is refused when it is encoded: a client sends what it has encoded until somebody takes it."""
    with pytest.raises(InvalidCommand, match="elements from 0"):
        encode([1, [Reference(0, ("lines", part))]])
    with pytest.raises(InvalidCommand):
        encode(Reference(-1))


@pytest.mark.parametrize(
    "content",
    [
        1,
        "a",
        [],
        [1],
        [1, 2],
        [-1, []],
        [True, []],
        ["a", []],
        [1, [None]],
        [1, [[1]]],
        [1, [-1]],
        [1, [True]],
        [1, [], 2],
    ],
    ids=repr,
)
def test_a_malformed_reference_is_refused(content: Any) -> None:
    """The tag around anything else."""
    assert "reference" in refused(cbor2.dumps(cbor2.CBORTag(REFERENCE_TAG, content)))


@pytest.mark.parametrize(
    "data",
    [
        b"\x18\x01",
        b"\x19\x00\xff",
        b"\x1b" + b"\0" * 8,
        b"\x58\x01a",
        b"\x98\x00",
        b"\xa2\x61b\x01\x61a\x02",
        b"\xf9\x3c\x00",
    ],
    ids=bytes.hex,
)
def test_control_structures_must_be_canonical(data: bytes) -> None:
    """Longer lengths than needed, keys out of order, and floats: read in a log, refused in a handshake."""
    decode(data, bytes_max=BYTES_MAX)
    with pytest.raises(BadBytes):
        decode_canonical(data, bytes_max=BYTES_MAX)


def test_decoding_a_batch_costs_little_more_than_plain_cbor() -> None:
    """A thousand commands: all the checks together stay under half as much again as a bare loads."""
    items = [[i % 50 + 1, i, i, "place", 3, ["buy", 100_000 + i, i % 90, "AAPL", i * 7]] for i in range(1_000)]
    data = encode([1, 3, 1_700_000_000_000_000_000, 0, items])

    def seconds(function: Any) -> float:
        best = 9.0
        for _ in range(15):
            start = time.perf_counter()
            function()
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(lambda: decode(data, bytes_max=BYTES_MAX)) < 1.5 * seconds(lambda: cbor2.loads(data)) + 0.0002
