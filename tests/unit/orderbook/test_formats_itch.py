"""ITCH messages survive writing and reading field by field; every cut and every impossible length is found."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demos.orderbook.formats import FormatError, Source, TornTail, itch
from demos.orderbook.formats.itch import AddOrder, Delete, ItchError, Message, Raw, SystemEvent
from demos.orderbook.formats.source import READ_BYTES

# Type and length as in the exchange's specification.
SPECIFIED = {
    "S": 12, "R": 39, "H": 25, "A": 36, "F": 40, "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19,
}  # fmt: skip
# Those that are carried raw.
SPECIFIED_RAW = {"Y": 20, "L": 26, "V": 35, "W": 12, "K": 28, "J": 35, "h": 21, "I": 50, "N": 20, "O": 48}
ADD = AddOrder(7, 0, 34_200_000_000_001, 42, "B", 100, "AAPL", 1_186_000)

u16, u32, u48, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 48, 64))
code = st.characters(min_codepoint=32, max_codepoint=126)


def text(width: int) -> st.SearchStrategy[str]:
    return st.text(code, max_size=width).map(lambda value: value.rstrip(" "))


side = st.sampled_from("BS")
header = (u16, u16, u48)
messages = st.one_of(
    st.builds(itch.SystemEvent, *header, code),
    st.builds(
        itch.StockDirectory,
        *header,
        text(8),
        *(code, code, u32, code, code, text(2)),
        *(code, code, code, code, code, u32, code),
    ),
    st.builds(itch.TradingAction, *header, text(8), code, code, text(4)),
    st.builds(itch.AddOrder, *header, u64, side, u32, text(8), u32),
    st.builds(itch.AddOrderAttributed, *header, u64, side, u32, text(8), u32, text(4)),
    st.builds(itch.Executed, *header, u64, u32, u64),
    st.builds(itch.ExecutedWithPrice, *header, u64, u32, u64, code, u32),
    st.builds(itch.Cancel, *header, u64, u32),
    st.builds(itch.Delete, *header, u64),
    st.builds(itch.Replace, *header, u64, u64, u32, u32),
    st.builds(itch.Trade, *header, u64, side, u32, text(8), u32, u64),
    st.builds(itch.CrossTrade, *header, u64, text(8), u32, u64, code),
    st.builds(itch.BrokenTrade, *header, u64),
    st.binary(min_size=9, max_size=9).map(
        lambda rest: Raw(258, 772, int.from_bytes(rest[:6], "big"), "Y", b"Y\1\2\3\4" + rest + b"\0" * 6)
    ),
)


def framed(*contents: bytes) -> bytes:
    return b"".join(len(content).to_bytes(2, "big") + content for content in contents)


def write(directory: Path, content: bytes) -> Path:
    path = directory / "day.itch50"
    path.write_bytes(content)
    return path


def read_until_error(path: Path) -> tuple[list[Message], FormatError | None]:
    seen: list[Message] = []
    with Source(path) as source:
        try:
            seen.extend(itch.read(source))
        except FormatError as error:
            return seen, error
    return seen, None


@given(st.lists(messages, min_size=1, max_size=30))
def test_written_messages_read_back_equal(tmp_path_factory: pytest.TempPathFactory, many: list[Message]) -> None:
    """Any messages of any type come back equal, with the specified lengths, and re-encode to the same bytes."""
    sink = io.BytesIO()
    written = itch.write(many, sink.write)
    content = sink.getvalue()
    assert written == len(content)
    path = write(tmp_path_factory.getbasetemp(), content)
    seen, error = read_until_error(path)
    assert (seen, error) == (many, None)
    for message in many:
        encoded = itch.encode(message)
        assert itch.decode(encoded) == message
        if not isinstance(message, Raw):
            assert SPECIFIED[chr(encoded[0])] == len(encoded)


def test_the_lengths_are_those_of_the_specification() -> None:
    """Every type of the specification has its published length, and no other type has one."""
    assert {kind.encode(): length for kind, length in (SPECIFIED | SPECIFIED_RAW).items()} == itch.LENGTHS


def test_fields_lie_where_the_specification_puts_them() -> None:
    """Offsets of an Add Order, checked by hand rather than by our own decoder."""
    content = itch.encode(ADD)
    assert content[0:1] == b"A"
    assert struct.unpack_from(">HH", content, 1) == (7, 0)
    assert int.from_bytes(content[5:11], "big") == 34_200_000_000_001
    assert int.from_bytes(content[11:19], "big") == 42
    assert content[19:20] == b"B"
    assert int.from_bytes(content[20:24], "big") == 100
    assert content[24:32] == b"AAPL    "
    assert int.from_bytes(content[32:36], "big") == 1_186_000
    directory = itch.encode(itch.StockDirectory(1, 0, 0, "ZVZZT", round_lot=100, etp_leverage=3, inverse="Y"))
    assert (directory[19:21], int.from_bytes(directory[21:25], "big")) == (b"  ", 100)
    assert (int.from_bytes(directory[34:38], "big"), directory[38:39]) == (3, b"Y")
    again = itch.decode(directory)
    assert isinstance(again, itch.StockDirectory)
    assert (again.stock, again.category, again.status) == ("ZVZZT", " ", " ")
    replaced = itch.encode(itch.Replace(1, 0, 0, 8, 9, 100, 5))
    assert [int.from_bytes(replaced[a:b], "big") for a, b in ((11, 19), (19, 27), (27, 31), (31, 35))] == [8, 9, 100, 5]
    cross = itch.encode(itch.CrossTrade(1, 0, 0, 8, "X", 9, 10, "O"))
    assert (cross[19:27], cross[39:40]) == (b"X       ", b"O")


def test_a_cut_at_every_byte_is_torn_at_the_last_message(tmp_path: Path) -> None:
    """However short the file, the whole messages come out and the tear is named by the offset of the cut one."""
    contents = [itch.encode(message) for message in (SystemEvent(0, 0, 1, "O"), ADD, Delete(7, 0, 2, 42))]
    whole = framed(*contents)
    starts = [0, 14, 52, 73]
    for cut in range(len(whole) + 1):
        seen, error = read_until_error(write(tmp_path, whole[:cut]))
        complete = sum(start <= cut for start in starts) - 1
        assert len(seen) == complete
        if cut == starts[complete]:
            assert error is None
        else:
            assert isinstance(error, TornTail)
            assert (error.position, error.unit) == (starts[complete], "byte")


def test_a_tear_says_how_much_is_there(tmp_path: Path) -> None:
    """The error counts the bytes of the cut message."""
    _, error = read_until_error(write(tmp_path, framed(itch.encode(ADD)) + framed(itch.encode(ADD))[:15]))
    assert str(error).endswith("byte 38: the file ends after 13 of 36 bytes of a message")


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (b"\0\0", "length 0"),
        (b"\0\0" + framed(b"D" * 19), "length 0"),
        (bytes(100), "length 0"),
        (b"\xff\xff" + b"A" * 100, "type A has 36 bytes, not 65535"),
        (framed(b"A" * 35), "type A has 36 bytes, not 35"),
        (framed(b"Y" * 21), "type Y has 20 bytes, not 21"),
        (framed(b"Z" * 10), "11 to 256 bytes, not 10"),
        (framed(b"Z" * 257), "11 to 256 bytes, not 257"),
        (framed(b"\x01" * 12), "no message type"),
        (framed(b"\xe9" * 12), "no message type"),
        (framed(itch.encode(ADD).replace(b"AAPL", b"AAP\xff")), "stock is not ASCII"),
        (framed(itch.encode(ADD).replace(b"B", b"T")), "side must be B or S"),
    ],
)
def test_impossible_bytes_end_the_reading_with_their_offset(tmp_path: Path, bad: bytes, what: str) -> None:
    """A length or content that no exchange sends is an error at the message's offset, never a tear, never a guess."""
    seen, error = read_until_error(write(tmp_path, framed(itch.encode(ADD)) + bad))
    assert seen == [ADD]
    assert error is not None
    assert not isinstance(error, TornTail)
    assert (error.position, error.unit) == (38, "byte")
    assert what in str(error)


def test_unknown_types_are_carried_whole(tmp_path: Path) -> None:
    """A type that is not in the specification passes through with its length and bytes."""
    content = b"z" + struct.pack(">HHHI", 3, 4, 1, 2) + b"anything \xff"
    seen, error = read_until_error(write(tmp_path, framed(content, itch.encode(ADD))))
    assert error is None
    assert seen == [Raw(3, 4, 2**32 + 2, "z", content), ADD]
    assert itch.encode(seen[0]) == content


def test_messages_across_chunk_borders_come_out_whole(tmp_path: Path) -> None:
    """A file of many chunks gives every message once, at its offset."""
    count = 3 * READ_BYTES // 21
    path = write(tmp_path, b"".join(framed(itch.encode(Delete(1, 0, ref, ref))) for ref in range(count)))
    with Source(path) as source:
        for number, message in enumerate(itch.read(source)):
            assert message == Delete(1, 0, number, number)
            assert source.position == number * 21
        assert number == count - 1


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"stock": "TOOLONGNAME"}, "stock has 8 ASCII"),
        ({"stock": "É"}, "stock has 8 ASCII"),
        ({"side": "X"}, "side must be B or S"),
        ({"shares": 2**32}, "does not fit"),
        ({"price": -1}, "does not fit"),
        ({"timestamp": 2**48}, "timestamp"),
        ({"timestamp": -1}, "timestamp"),
        ({"locate": 2**16}, "does not fit"),
    ],
)
def test_what_does_not_fit_is_not_written(wrong: dict[str, Any], what: str) -> None:
    """A value too large for its field is an error that names it, never cut to size."""
    with pytest.raises(ItchError, match=what):
        itch.encode(ADD._replace(**wrong))


def test_raw_messages_are_checked_on_writing() -> None:
    """A raw message with an impossible length would make the file unreadable, so it is refused."""
    for content in (b"", b"Y" * 19, b"A" * 35, b"\0" * 12, b"z" * 300):
        with pytest.raises(ItchError):
            itch.encode(Raw(0, 0, 0, "z", content))
