"""Kraken's public book feed (WebSocket v1) as recorded: one line per message, `epoch: json`.

Prices and quantities stay the strings that were on the wire, because their digits are what the exchange's checksum is
made of. The reader checks that a pair keeps the number of decimals of its snapshot; so `integers` can turn a level
into two integers that order as the decimals do, and no float is ever made. Lines of the connection, subscriptions,
heartbeats and other channels are passed over.

The checksum functions take wire strings and serve as the reference for a book that keeps integers
(https://docs.kraken.com/api/docs/guides/spot-ws-book-v1, -v2, and the level3 guide).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from demos.orderbook.formats.source import Source, quoted

# Levels a side in one message: the deepest subscription is 1,000.
LEVELS_MAX: Final = 10_000
# Pairs of one feed; the exchange lists about a thousand. Bounds what the reader remembers.
PAIRS_MAX: Final = 10_000
# Digits of a price or quantity: they must fit in a signed 64-bit integer.
DIGITS_MAX: Final = 18
# Levels that a checksum covers.
CHECKSUM_LEVELS: Final = 10

# (price, quantity) as on the wire.
WireLevel = tuple[str, str]

_BEGINNING: Final = re.compile(rb"(wss?://|\d{1,12}(\.\d{1,9})?: [\[{])")
_LINE: Final = re.compile(rb"\d{1,12}(?:\.\d{1,9})?: (.*)", re.DOTALL)
_DECIMAL: Final = re.compile(r"[0-9]+(?:\.([0-9]+))?")
_BOOK_CHANNEL: Final = re.compile(r"book-([0-9]{1,5})")
_CHECKSUM: Final = re.compile(r"[0-9]{1,10}")


class Snapshot(NamedTuple):
    """A whole book: `depth` as subscribed, levels best first, and the decimals that all numbers of the pair have."""

    line: int
    pair: str
    depth: int
    price_decimals: int
    quantity_decimals: int
    asks: tuple[WireLevel, ...]
    bids: tuple[WireLevel, ...]


class Update(NamedTuple):
    """New quantities of levels, 0 removing one. `checksum` of the book afterwards; None if the message had none."""

    line: int
    pair: str
    asks: tuple[WireLevel, ...]
    bids: tuple[WireLevel, ...]
    checksum: int | None


class _Bad(ValueError):
    """What is wrong with a message; the reader adds file and line."""


def looks_like(head: bytes) -> bool:
    """Whether the beginning of a file is that of a recorded feed."""
    return _BEGINNING.match(head) is not None


def read(source: Source) -> Iterator[Snapshot | Update]:
    """The book messages of a recorded feed in file order; `source.position` is the line of the one yielded.

    Raises `FormatError` with the line, after all messages before it, for anything that is not a message, for an
    update before its snapshot, and for a number whose decimals differ from those of its pair's snapshot.
    """
    decimals: dict[str, tuple[int, int]] = {}
    for number, line in source.lines():
        if not line or line.startswith((b"wss://", b"ws://")):
            continue
        source.position = number
        found = _LINE.fullmatch(line)
        if found is None:
            raise source.bad_line(number, f"not 'epoch: json': {quoted(line)}")
        try:
            message = msgspec.json.decode(found[1])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise source.bad_line(number, f"not JSON: {error}") from error
        try:
            record = _record(number, message, decimals)
        except _Bad as error:
            raise source.bad_line(number, str(error)) from error
        if record is not None:
            yield record


def integers(levels: Iterable[WireLevel]) -> tuple[tuple[int, int], ...]:
    """Levels of a record as integers scaled by the pair's decimals: `("354.15", "5.00")` is `(35415, 500)`."""
    return tuple((int(price.replace(".", "")), int(quantity.replace(".", ""))) for price, quantity in levels)


def level_checksum(asks: Sequence[WireLevel], bids: Sequence[WireLevel]) -> int:
    """The checksum of the v1 and v2 book channels over levels given best first; the first ten a side count."""
    return _crc32(chain(asks[:CHECKSUM_LEVELS], bids[:CHECKSUM_LEVELS]))


def order_checksum(asks: Iterable[WireLevel], bids: Iterable[WireLevel]) -> int:
    """The checksum of the v2 level3 channel over *orders*, best level first and in queue order within a level.

    All orders of the first ten prices a side count.
    """
    return _crc32(chain(_of_best_prices(asks), _of_best_prices(bids)))


def _of_best_prices(orders: Iterable[WireLevel]) -> Iterator[WireLevel]:
    prices = 0
    previous = ""
    for price, quantity in orders:
        if price != previous:
            prices += 1
            previous = price
        if prices > CHECKSUM_LEVELS:
            return
        yield price, quantity


def _crc32(levels: Iterable[WireLevel]) -> int:
    return zlib.crc32("".join(_digits(price) + _digits(quantity) for price, quantity in levels).encode("ascii"))


def _digits(number: str) -> str:
    return number.replace(".", "").lstrip("0")


def _record(line: int, message: Any, decimals: dict[str, tuple[int, int]]) -> Snapshot | Update | None:
    if isinstance(message, dict):
        if not isinstance(message.get("event"), str):
            raise _Bad("an object without an event")
        return None
    if not isinstance(message, list) or len(message) < 4 or not all(isinstance(text, str) for text in message[-2:]):
        raise _Bad("not [channel number, content..., channel name, pair]")
    found = _BOOK_CHANNEL.fullmatch(message[-2])
    if found is None:
        return None
    parts: dict[str, Any] = {}
    for part in message[1:-2]:
        if not isinstance(part, dict) or not part or parts.keys() & part.keys():
            raise _Bad("the content of a book message is objects with different keys")
        parts.update(part)
    pair = message[-1]
    if not pair:
        raise _Bad("a book message names its pair")
    depth = int(found[1])
    if not 1 <= depth <= LEVELS_MAX:
        raise _Bad(f"the depth of a book is 1 to {LEVELS_MAX}, not {depth}")
    if parts.keys() == {"as", "bs"}:
        return _snapshot(line, pair, depth, parts, decimals)
    if parts.keys() <= {"a", "b", "c"} and parts.keys() & {"a", "b"}:
        return _update(line, pair, parts, decimals)
    raise _Bad(f"a book message has the keys as and bs, or a, b and c, not {', '.join(sorted(parts))[:60]}")


def _snapshot(line: int, pair: str, depth: int, parts: Any, decimals: dict[str, tuple[int, int]]) -> Snapshot:
    if pair not in decimals and len(decimals) >= PAIRS_MAX:
        raise _Bad(f"more than {PAIRS_MAX} pairs")
    # Whatever the first level has, all others of the pair must have.
    first = next(chain(_rows(parts["as"]), _rows(parts["bs"])), None)
    if first is None:
        raise _Bad(f"the snapshot of {pair} is empty, so its decimals are unknown")
    scale = (_decimals(first[0]), _decimals(first[1]))
    asks, bids = _levels(pair, parts["as"], scale), _levels(pair, parts["bs"], scale)
    decimals[pair] = scale
    return Snapshot(line, pair, depth, *scale, asks, bids)


def _update(line: int, pair: str, parts: Any, decimals: dict[str, tuple[int, int]]) -> Update:
    scale = decimals.get(pair)
    if scale is None:
        raise _Bad(f"an update of {pair!r} before its snapshot")
    checksum = parts.get("c")
    if checksum is not None:
        if not isinstance(checksum, str) or not _CHECKSUM.fullmatch(checksum) or int(checksum) > 0xFFFFFFFF:
            raise _Bad(f"the checksum must be a 32-bit number in a string, not {str(checksum)[:60]!r}")
        checksum = int(checksum)
    asks, bids = _levels(pair, parts.get("a", []), scale), _levels(pair, parts.get("b", []), scale)
    return Update(line, pair, asks, bids, checksum)


def _levels(pair: str, rows: Any, scale: tuple[int, int]) -> tuple[WireLevel, ...]:
    levels = []
    for row in _rows(rows):
        price, quantity = row[0], row[1]
        found = (_decimals(price), _decimals(quantity))
        if found != scale:
            raise _Bad(
                f"{pair} has {scale[0]} price and {scale[1]} quantity decimals since its snapshot,"
                f" not {price[:30]!r} and {quantity[:30]!r}"
            )
        levels.append((price, quantity))
    return tuple(levels)


def _rows(rows: Any) -> list[list[Any]]:
    if not isinstance(rows, list) or len(rows) > LEVELS_MAX:
        raise _Bad(f"levels are a list of at most {LEVELS_MAX}")
    for row in rows:
        # price, quantity, time, and "r" when the level is published again
        if not isinstance(row, list) or not 2 <= len(row) <= 4:
            raise _Bad(f"a level is [price, quantity, time], not {str(row)[:60]}")
    return rows


def _decimals(number: Any) -> int:
    found = _DECIMAL.fullmatch(number) if isinstance(number, str) else None
    if found is None:
        raise _Bad(f"a price or quantity is a decimal number in a string, not {str(number)[:60]!r}")
    if len(number.replace(".", "").lstrip("0")) > DIGITS_MAX:
        raise _Bad(f"a price or quantity has at most {DIGITS_MAX} digits, not {number[:60]!r}")
    return len(found[1] or "")
