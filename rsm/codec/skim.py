"""CBOR that is measured before it is decoded: heads, where items end, and how many there are. Makes no objects.

One byte can be an empty array, which takes more than seventy bytes of memory: what a stranger may have decoded is
therefore bounded in items as well as in bytes.
"""

from __future__ import annotations

from typing import Final

from rsm.errors import BadBytes, LimitExceeded

__all__ = ["ARRAY", "UNSIGNED", "read_head", "skip_item"]

# Major types, as they stand in the first three bits of a head.
UNSIGNED: Final = 0
BYTES: Final = 2
TEXT: Final = 3
ARRAY: Final = 4
MAP: Final = 5
TAG: Final = 6
# A tag is decoded by Python's own code, at the cost of so many other items.
TAG_WEIGHT: Final = 8


def read_head(data: bytes, offset: int) -> tuple[int, int, int]:
    """Major type, argument and end of the head at `offset`; `BadBytes`. It need not have its shortest form."""
    if offset >= len(data):
        raise BadBytes("bad CBOR: premature end")
    major, argument = data[offset] >> 5, data[offset] & 31
    offset += 1
    if argument > 23:
        if argument > 27:
            raise BadBytes("bad CBOR: an indefinite or reserved length")
        end = offset + (1 << (argument - 24))
        argument, offset = int.from_bytes(data[offset:end], "big"), end
    if offset > len(data):
        raise BadBytes("bad CBOR: premature end")
    return major, argument, offset


def skip_item(data: bytes, offset: int, *, items_max: int) -> tuple[int, int]:
    """Where the item at `offset` ends, and how many items it is, those inside it included. A tag counts for
    `TAG_WEIGHT`.

    `BadBytes` if it does not end within `data`, `LimitExceeded` beyond `items_max` items, as soon as that is certain.
    What it says of bytes that are no CBOR for other reasons is for the decoder to refuse.
    """
    left = items = 1
    while left:
        left -= 1
        if offset < len(data) and data[offset] & 31 < 24:  # most heads are one byte
            major, argument = data[offset] >> 5, data[offset] & 31
            offset += 1
        else:
            major, argument, offset = read_head(data, offset)
        if major == UNSIGNED:
            continue
        if major in (BYTES, TEXT):
            offset += argument
            continue
        if major == ARRAY:
            inside = weight = argument
        elif major == MAP:
            inside = weight = 2 * argument
        elif major == TAG:
            inside, weight = 1, TAG_WEIGHT
        else:
            continue
        left += inside
        items += weight
        if items > items_max:
            raise LimitExceeded(f"more than {items_max} values, counting those inside others")
    if offset > len(data):
        raise BadBytes("bad CBOR: premature end")
    return offset, items
