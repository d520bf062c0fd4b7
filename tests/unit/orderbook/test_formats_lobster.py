"""LOBSTER messages are read with integer nanoseconds, and lines out of form are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from demos.orderbook.formats import FormatError, Source, lobster
from demos.orderbook.formats.lobster import Event, LobsterRow

GOOD = b"34713.685155243,1,206833312,100,118600,-1\n"


def write(directory: Path, content: bytes) -> Path:
    path = directory / "messages.csv"
    path.write_bytes(content)
    return path


def test_all_types_are_read(tmp_path: Path) -> None:
    """Each type comes out with its fields; crosses have negative ids, halts speak through their price."""
    content = (
        b"34200,1,16113575,18,5853300,1\n"
        b"34200.1,2,16113575,4,5853300,1\n"
        b"34200.123456789,4,16113575,4,5853300,1\n"
        b"34200.123456790,3,16113575,10,5853300,1\n"
        b"34200.2,5,0,100,5853200,-1\n"
        b"34200.3,6,-1,2000,5853200,-1\n"
        b"34201,7,0,0,-1,-1\r\n"
        b"86399.999999999,7,0,0,1,-1"
    )
    second = 10**9
    with Source(write(tmp_path, content)) as source:
        assert list(lobster.read(source)) == [
            LobsterRow(34200 * second, Event.NEW, 16113575, 18, 5853300, 1),
            LobsterRow(34200 * second + 100_000_000, Event.CANCEL_PART, 16113575, 4, 5853300, 1),
            LobsterRow(34200 * second + 123_456_789, Event.EXECUTE_VISIBLE, 16113575, 4, 5853300, 1),
            LobsterRow(34200 * second + 123_456_790, Event.DELETE, 16113575, 10, 5853300, 1),
            LobsterRow(34200 * second + 200_000_000, Event.EXECUTE_HIDDEN, 0, 100, 5853200, -1),
            LobsterRow(34200 * second + 300_000_000, Event.CROSS, -1, 2000, 5853200, -1),
            LobsterRow(34201 * second, Event.HALT, 0, 0, -1, -1),
            LobsterRow(86400 * second - 1, Event.HALT, 0, 0, 1, -1),
        ]
        assert source.position == 8


def test_nanoseconds_survive_where_a_float_would_not(tmp_path: Path) -> None:
    """Every neighbouring nanosecond late in the day stays distinct."""
    times = range(86_399_999_999_000, 86_399_999_999_999)
    content = b"".join(b"%d.%09d,1,1,1,1,1\n" % divmod(time, 10**9) for time in times)
    with Source(write(tmp_path, content)) as source:
        assert [row.time_nanoseconds for row in lobster.read(source)] == list(times)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"34714.1,1,206833312,100,118600", "has 6 fields, not 5"),
        (b"", "has 6 fields, not 1"),
        (b"34714.1234567891,1,2,100,118600,1", "time must be"),
        (b"3.47e4,1,2,100,118600,1", "time must be"),
        (b"-1,1,2,100,118600,1", "time must be"),
        (b"34714.1,8,2,100,118600,1", "type must be 1 to 7, not '8'"),
        (b"34714.1,1,x,100,118600,1", "order id must be"),
        (b"34714.1,1,2,-100,118600,1", "size must be"),
        (b"34714.1,1,2,100,11860.0,1", "price must be"),
        (b"34714.1,1,2,100,118600,0", "direction must be"),
        (b"34713.6,1,2,100,118600,1", "time must rise"),
        (b"86400,1,2,100,118600,1", "time must rise"),
        (b"34714.1,1,0,100,118600,1", "needs an order id"),
        (b"34714.1,4,2,0,118600,1", "needs an order id"),
        (b"34714.1,3,2,100,-1,1", "needs an order id"),
        (b"34714.1,7,0,0,5,-1", "price of a halt"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, what: str) -> None:
    """The messages before come out; then one line with file, line number and field."""
    path = write(tmp_path, GOOD + line + b"\n")
    with Source(path) as source:
        rows = lobster.read(source)
        assert next(rows).order_id == 206833312
        with pytest.raises(FormatError, match=what) as caught:
            next(rows)
    assert str(caught.value).startswith(f"{path}: line 2: ")
