"""NASDAQ TotalView-ITCH 5.0 files: repeated u16 length and message, big-endian; read and written.

Every message begins with type (1), locate (2), tracking (2) and a timestamp of 48 bits, nanoseconds since midnight.
One table gives class and layout per type; from it come lengths, decoder and encoder, so they cannot disagree. Text is
left-justified and padded with spaces, which are stripped on reading and added on writing; prices are integers of 4
decimals. Types that the table does not decode are carried as `Raw`, with their exact bytes; for those of the
specification the length is checked. A damaged length would make everything after it garbage, so an impossible one ends
the reading with its offset; there is no way to find the next message in such a file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from demos.orderbook.formats.itch_messages import (
    AddOrder,
    AddOrderAttributed,
    BrokenTrade,
    Cancel,
    CrossTrade,
    Delete,
    Executed,
    ExecutedWithPrice,
    Message,
    Raw,
    Replace,
    StockDirectory,
    SystemEvent,
    Trade,
    TradingAction,
)
from demos.orderbook.formats.source import Source, TornTail

__all__ = [
    "HEADER_BYTES",
    "LENGTHS",
    "LENGTH_BYTES",
    "MESSAGE_BYTES_MAX",
    "TIMESTAMP_MAX",
    "AddOrder",
    "AddOrderAttributed",
    "BrokenTrade",
    "Cancel",
    "CrossTrade",
    "Delete",
    "Executed",
    "ExecutedWithPrice",
    "ItchError",
    "Message",
    "Raw",
    "Replace",
    "StockDirectory",
    "SystemEvent",
    "Trade",
    "TradingAction",
    "decode",
    "encode",
    "looks_like",
    "read",
    "write",
]

LENGTH_BYTES: Final = 2
HEADER_BYTES: Final = 11
# The longest message of the specification has 50 bytes; one that we do not know may grow to this before we call the
# framing lost.
MESSAGE_BYTES_MAX: Final = 256
TIMESTAMP_MAX: Final = 2**48 - 1


_LAYOUTS: Final[tuple[tuple[bytes, Any, str], ...]] = (
    (b"S", SystemEvent, "1s"),
    (b"R", StockDirectory, "8s 1s 1s I 1s 1s 2s 1s 1s 1s 1s 1s I 1s"),
    (b"H", TradingAction, "8s 1s 1s 4s"),
    (b"A", AddOrder, "Q 1s I 8s I"),
    (b"F", AddOrderAttributed, "Q 1s I 8s I 4s"),
    (b"E", Executed, "Q I Q"),
    (b"C", ExecutedWithPrice, "Q I Q 1s I"),
    (b"X", Cancel, "Q I"),
    (b"D", Delete, "Q"),
    (b"U", Replace, "Q Q I I"),
    (b"P", Trade, "Q 1s I 8s I Q"),
    (b"Q", CrossTrade, "Q 8s I Q 1s"),
    (b"B", BrokenTrade, "Q"),
)
# Types of the specification that are carried raw: Reg SHO, participant position, circuit breaker levels and status, IPO
# quoting, LULD collar, operational halt, imbalance, retail interest, direct listing.
_RAW_LENGTHS: Final = {
    b"Y": 20, b"L": 26, b"V": 35, b"W": 12, b"K": 28, b"J": 35, b"h": 21, b"I": 50, b"N": 20, b"O": 48,
}  # fmt: skip
_HEADER: Final = struct.Struct(">cHHHI")


class ItchError(ValueError):
    """A message that cannot be written or decoded; says which field or why."""


class _Layout:
    """Decoder and encoder of one message type."""

    def __init__(self, kind: bytes, made: Any, form: str) -> None:
        self.kind = kind
        self.made = made
        self.packed = struct.Struct(f"{_HEADER.format}{form}")
        self.text = [(3 + place, int(code[:-1])) for place, code in enumerate(form.split()) if code.endswith("s")]
        self.side = made._fields.index("side") if "side" in made._fields else None

    def decode(self, data: bytes, offset: int) -> Any:
        _, locate, tracking, high, low, *rest = self.packed.unpack_from(data, offset)
        values = [locate, tracking, high << 32 | low, *rest]
        for place, width in self.text:
            try:
                text = values[place].decode("ascii")
            except UnicodeDecodeError:
                raise ItchError(f"{self.made._fields[place]} is not ASCII: {values[place]!r}") from None
            # A field of one character is a code, and a space is one of its values.
            values[place] = text.rstrip(" ") if width > 1 else text
        if self.side is not None and values[self.side] not in "BS":
            raise ItchError(f"side must be B or S, not {values[self.side]!r}")
        return self.made._make(values)

    def encode(self, message: Any) -> bytes:
        locate, tracking, timestamp, *rest = message
        if not 0 <= timestamp <= TIMESTAMP_MAX:
            raise ItchError(f"timestamp must be 0 to 2**48 - 1 nanoseconds, not {timestamp}")
        for place, width in self.text:
            text = rest[place - 3]
            if not text.isascii() or len(text) > width or (width == 1 and not text):
                raise ItchError(f"{self.made._fields[place]} has {width} ASCII characters, not {text!r}")
            rest[place - 3] = text.ljust(width).encode("ascii")
        if self.side is not None and message[self.side] not in ("B", "S"):
            raise ItchError(f"side must be B or S, not {message[self.side]!r}")
        try:
            return self.packed.pack(self.kind, locate, tracking, timestamp >> 32, timestamp & 0xFFFFFFFF, *rest)
        except struct.error as error:
            raise ItchError(f"a number does not fit its field: {error}: {message}") from error


_BY_KIND: Final = {kind: _Layout(kind, made, form) for kind, made, form in _LAYOUTS}
_BY_CLASS: Final = {layout.made: layout for layout in _BY_KIND.values()}
# Message lengths by type, those of the raw types of the specification included.
LENGTHS: Final[dict[bytes, int]] = {**{kind: one.packed.size for kind, one in _BY_KIND.items()}, **_RAW_LENGTHS}


def looks_like(head: bytes) -> bool:
    """Whether the beginning of a file is a length that fits the type of the message after it."""
    return len(head) > LENGTH_BYTES and LENGTHS.get(head[2:3]) == int.from_bytes(head[:LENGTH_BYTES], "big")


def decode(message: bytes) -> Message:
    """One message without its length. Raises `ItchError` if the length does not fit the type, or text is no text."""
    problem = _length_problem(len(message), message[:1])
    if problem:
        raise ItchError(problem)
    return _decode(message, 0, len(message))


def encode(message: Message) -> bytes:
    """One message without its length. Raises `ItchError` naming what does not fit."""
    if isinstance(message, Raw):
        problem = _length_problem(len(message.content), message.content[:1])
        if problem:
            raise ItchError(problem)
        return message.content
    return _BY_CLASS[type(message)].encode(message)


def write(messages: Iterable[Message], sink: Callable[[bytes], Any]) -> int:
    """Write messages with their lengths through `sink` (a file's `write`), one call each; returns the bytes written."""
    total = 0
    for message in messages:
        content = encode(message)
        sink(len(content).to_bytes(LENGTH_BYTES, "big") + content)
        total += LENGTH_BYTES + len(content)
    return total


def read(source: Source) -> Iterator[Message]:
    """The messages of a file in its order; `source.position` is the byte offset of the length of the one yielded.

    Raises, after all messages before: `FormatError` with the offset for an impossible length or content, `TornTail`
    where the file ends inside a message.
    """
    # At most one chunk and one message are in memory.
    data = b""
    data_offset = 0
    for chunk in source.chunks():
        data += chunk
        end = len(data)
        place = 0
        while place + LENGTH_BYTES < end:
            length = data[place] << 8 | data[place + 1]
            start = place + LENGTH_BYTES
            kind = data[start : start + 1]
            if LENGTHS.get(kind) != length:
                problem = _length_problem(length, kind)
                if problem:
                    raise source.bad_byte(data_offset + place, problem)
            if start + length > end:
                break
            source.position = data_offset + place
            try:
                message = _decode(data, start, length)
            except ItchError as error:
                raise source.bad_byte(data_offset + place, str(error)) from error
            yield message
            place = start + length
        data = data[place:]
        data_offset += place
    if data[:LENGTH_BYTES] == b"\0\0":
        raise source.bad_byte(data_offset, "a message of length 0")
    if data:
        found, wanted, of = len(data), LENGTH_BYTES, "a length"
        if found >= LENGTH_BYTES:
            found, wanted, of = found - LENGTH_BYTES, data[0] << 8 | data[1], "a message"
        torn = TornTail(source.path, data_offset, f"the file ends after {found} of {wanted} bytes of {of}", "byte")
        torn.found, torn.wanted = found, wanted
        raise torn


def _decode(data: bytes, start: int, length: int) -> Message:
    kind = data[start : start + 1]
    layout = _BY_KIND.get(kind)
    if layout is not None:
        return layout.decode(data, start)  # type: ignore[no-any-return]  # one of the classes of the table
    _, locate, tracking, high, low = _HEADER.unpack_from(data, start)
    return Raw(locate, tracking, high << 32 | low, kind.decode("ascii"), data[start : start + length])


def _length_problem(length: int, kind: bytes) -> str | None:
    if length == 0:
        return "a message of length 0"
    if not (kind.isalpha() and kind.isascii()):
        return f"{kind!r} is no message type (length {length})"
    known = LENGTHS.get(kind)
    if known is not None and known != length:
        return f"a message of type {kind.decode('ascii')} has {known} bytes, not {length}"
    if not HEADER_BYTES <= length <= MESSAGE_BYTES_MAX:
        return f"a message has {HEADER_BYTES} to {MESSAGE_BYTES_MAX} bytes, not {length} (type {kind.decode('ascii')})"
    return None
