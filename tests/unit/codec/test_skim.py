"""What CBOR is measured to be is what it decodes to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.codec import cbor
from rsm.codec.skim import ARRAY, TAG_WEIGHT, UNSIGNED, read_head, skip_item
from rsm.errors import BadBytes, LimitExceeded

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=300) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=5), inner, max_size=30),
    max_leaves=40,
)


def count(value: Any) -> int:
    """How many items a value is made of."""
    if type(value) is list:
        return 1 + sum(map(count, value))
    if type(value) is dict:
        return 1 + sum(1 + count(inner) for inner in value.values())
    if type(value) is cbor.Reference:
        return TAG_WEIGHT + count([value.step, list(value.path)])
    return 1


@given(VALUES, st.binary(max_size=3))
def test_an_item_ends_where_the_next_begins_and_its_parts_are_counted(value: Any, behind: bytes) -> None:
    """Whatever is encoded is skipped whole, with its number of items, and nothing of what follows."""
    data = cbor.encode(value)
    assert skip_item(b"\x00" + data + behind, 1, items_max=10**6) == (1 + len(data), count(value))


def test_a_reference_counts_for_more() -> None:
    """It is decoded by Python's own code."""
    value = [cbor.Reference(1, ("a", 2)), 5]
    data = cbor.encode(value)
    assert skip_item(data, 0, items_max=100) == (len(data), 2 + count(value[0]))


@pytest.mark.parametrize("inside", [b"\x00", b"\x80", b"\xa0", b"\x60", b"\xf6", b"\x81\x00"])
def test_the_bound_is_on_items(inside: bytes) -> None:
    """So many pass, and one more does not; a count that lies is refused by what it says."""
    items = 11 if len(inside) == 1 else 21
    data = b"\x8a" + 10 * inside
    assert skip_item(data, 0, items_max=items) == (len(data), items)
    with pytest.raises(LimitExceeded, match=f"more than {items - 1} values"):
        skip_item(data, 0, items_max=items - 1)
    with pytest.raises(LimitExceeded):
        skip_item(b"\x9b" + b"\xff" * 8, 0, items_max=10**6)


@given(st.binary(max_size=40))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    """Random bytes are an item, or `BadBytes`, or too many; an item that decodes is measured right."""
    try:
        end, items = skip_item(data, 0, items_max=30)
    except (BadBytes, LimitExceeded):
        end = items = 0
    assert end <= len(data)
    try:
        value = cbor.decode(data, bytes_max=40)
    except BadBytes:
        return
    if count(value) <= 30:
        assert (end, items) == (len(data), count(value))


@pytest.mark.parametrize(
    ("data", "head"),
    [
        (b"\x05", (UNSIGNED, 5, 1)),
        (b"\x18\x05", (UNSIGNED, 5, 2)),
        (b"\x9a\x00\x01\x00\x00", (ARRAY, 65536, 5)),
        (b"\x1b" + b"\xff" * 8, (UNSIGNED, 2**64 - 1, 9)),
    ],
)
def test_heads_in_every_length(data: bytes, head: tuple[int, int, int]) -> None:
    """A head is read in any form that CBOR has, and nowhere beyond the end."""
    assert read_head(data, 0) == head
    for length in range(len(data)):
        with pytest.raises(BadBytes):
            read_head(data[:length], 0)
    for reserved in (b"\x1c", b"\x9f"):
        with pytest.raises(BadBytes, match="length"):
            read_head(reserved + data, 0)
