"""LOBSTER message files: the events of one stock's limit order book, one CSV line each, without a header.

The columns are time, type, order id, size, price, direction (https://lobsterdata.com/info/DataStructure.php). Time is
seconds after midnight with up to nine decimals; it is parsed to integer nanoseconds digit by digit, because a float has
no room for nanoseconds of a day. Prices are dollars times 10,000.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from demos.orderbook.formats.source import Source, quoted

SECOND: Final = 10**9
DAY_SECONDS: Final = 86_400

_LINE: Final = re.compile(
    rb"(?P<time>(?P<seconds>\d{1,5})(?:\.(?P<fraction>\d{1,9}))?),(?P<type>[1-7]),(?P<order_id>-?\d{1,18}),"
    rb"(?P<size>\d{1,18}),(?P<price>-?\d{1,18}),(?P<direction>-?1)"
)
_FIELDS: Final = (
    ("time", re.compile(rb"\d{1,5}(?:\.\d{1,9})?"), "seconds after midnight with at most nine decimals"),
    ("type", re.compile(rb"[1-7]"), "1 to 7"),
    ("order id", re.compile(rb"-?\d{1,18}"), "an integer"),
    ("size", re.compile(rb"\d{1,18}"), "an unsigned integer"),
    ("price", re.compile(rb"-?\d{1,18}"), "an integer"),
    ("direction", re.compile(rb"-?1"), "1 (buy) or -1 (sell)"),
)


class Event(IntEnum):
    """What a message says."""

    NEW = 1
    CANCEL_PART = 2
    DELETE = 3
    EXECUTE_VISIBLE = 4
    EXECUTE_HIDDEN = 5
    CROSS = 6
    HALT = 7


class LobsterRow(NamedTuple):
    """One message. `direction` is that of the resting order: 1 buy, -1 sell.

    CROSS has a negative order id (-1 opening, -2 closing, -3 and -4 others) and does not change the book. HALT says
    what happened in its price: -1 halted, 0 quoting resumed, 1 trading resumed. EXECUTE_HIDDEN has order id 0 or the
    reference of an order that never showed.
    """

    time_nanoseconds: int
    type: Event
    order_id: int
    size: int
    price: int
    direction: int


_EVENTS: Final = {str(event.value).encode("ascii"): event for event in Event}


def looks_like(head: bytes) -> bool:
    """Whether the beginning of a file is that of a message file."""
    return _LINE.fullmatch(head.split(b"\n", 1)[0].removesuffix(b"\r")) is not None


def read(source: Source) -> Iterator[LobsterRow]:
    """The messages of a file in its order; `source.position` is the line of the one yielded.

    Raises `FormatError` with the line, after all messages before it: for a field out of its form, for time that runs
    backwards, and for a book event without order, size or price.
    """
    match = _LINE.fullmatch
    latest = 0
    for number, line in source.lines():
        source.position = number
        found = match(line)
        if found is None:
            raise source.bad_line(number, _problem(line))
        _, seconds, fraction, kind, order_id, size, price, direction = found.groups()
        time = int(seconds) * SECOND + (int(fraction.ljust(9, b"0")) if fraction else 0)
        if not latest <= time < DAY_SECONDS * SECOND:
            raise source.bad_line(number, f"time must rise from line to line within one day, not go to {quoted(line)}")
        latest = time
        row = LobsterRow(time, _EVENTS[kind], int(order_id), int(size), int(price), int(direction))
        if row.type <= Event.EXECUTE_VISIBLE and not (row.order_id > 0 and row.size > 0 and row.price > 0):
            raise source.bad_line(number, f"type {row.type} needs an order id, a size and a price: {quoted(line)}")
        if row.type == Event.HALT and row.price not in (-1, 0, 1):
            raise source.bad_line(number, f"the price of a halt is -1, 0 or 1: {quoted(line)}")
        yield row


def _problem(line: bytes) -> str:
    fields = line.split(b",")
    if len(fields) != len(_FIELDS):
        return f"a message has {len(_FIELDS)} fields, not {len(fields)}: {quoted(line)}"
    for (name, form, expected), field in zip(_FIELDS, fields, strict=True):
        if form.fullmatch(field) is None:
            return f"{name} must be {expected}, not {quoted(field)}"
    return f"not a message: {quoted(line)}"
