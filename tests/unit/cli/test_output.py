"""What people see: a bar only where somebody watches, times to the nanosecond, nothing but text on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from rsm.cli.output import count, iso_time, plain, progress, shown
from rsm.codec.cbor import Reference


class Terminal(io.StringIO):
    """A terminal as far as programs ask."""

    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Long work draws a bar on standard error if that is a terminal, and nothing anywhere if it is not."""
    for stream, is_drawn in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        with progress("reading", 10_000_000) as advance:
            for done in range(0, 10_000_000, 500_000):
                advance(done)
        assert ("reading" in stream.getvalue()) is is_drawn
    assert capsys.readouterr().out == ""


def test_short_work_and_quiet_work_draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done at once needs no bar; where the output itself moves, a bar would be in its way."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("reading", 1000) as advance:
        advance(1000)
    with progress("reading", 10_000_000, quiet=True) as advance:
        advance(5_000_000)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
        (2**100, f"{2**100} ns"),
    ],
)
def test_times_keep_their_nanoseconds(nanoseconds: int, text: str) -> None:
    """Every stamp that a batch can carry is shown exactly, and one that no calendar has is shown as it is."""
    assert iso_time(nanoseconds) == text


def test_plain_values_are_what_json_has() -> None:
    """Bytes, references, tuples, maps with numbers as keys and numbers beyond JSON become something that JSON has."""
    value = (b"\xff", Reference(1, ("a", 0)), {1: [b""]}, float("nan"), True, None)
    reference = {"result_of_step": 1, "path": ["a", 0]}
    assert plain(value) == ["ff", reference, {"1": [""]}, "nan", True, None]


def test_shown_values_are_short_and_printable() -> None:
    """A value in a line is cut with its length told, and has nothing that a terminal would obey."""
    assert shown("чай") == '"чай"'
    assert shown("\x1b[0m\u202e") == '"\\u001b[0m\\u202e"'
    assert shown("x" * 1000).endswith("... (1002 characters)")


def test_counts_agree_with_their_nouns() -> None:
    """One is singular, everything else plural, thousands are grouped."""
    assert [count(number, "entry") for number in (0, 1, 2000)] == ["0 entries", "1 entry", "2,000 entries"]
