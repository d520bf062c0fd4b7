"""The canonical report stream: lines, order, digest."""

from __future__ import annotations

import hashlib

import pytest

from demos.orderbook.plain import new_book
from demos.orderbook.records import (
    Accepted,
    Cancelled,
    Modified,
    Operation,
    PhaseChanged,
    Reason,
    Refused,
    Report,
    Traded,
)
from demos.orderbook.reports import Digest, NoLine, line, lines, run_flow


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (Accepted(7, 1, 0, 100, 5), "0,3,0,7,100,5"),
        (Traded(1, 100, 5, 7, 8, 1), "1,3,100,5,7,8"),
        (Cancelled(7, 1, 1, 100, 5, Reason.UNFILLED), "2,3,1,7,100"),
        (Modified(7, 1, 1, 100, 5), "3,3,1,7,100,5"),
        (Refused(7, Operation.CANCEL, Reason.UNKNOWN_ORDER), "4,3,7"),
        (Refused(7, Operation.MODIFY, Reason.BAD_QUANTITY), "5,3,7"),
    ],
)
def test_each_report_has_its_line(report: Report, expected: str) -> None:
    """Fields stand in the contract's order."""
    assert line(3, report) == expected


@pytest.mark.parametrize(
    "report", [Refused(7, Operation.PLACE, Reason.BAD_PRICE), PhaseChanged(1, 0)], ids=["refused", "phase"]
)
def test_a_report_without_a_line_is_an_error(report: Report) -> None:
    """What the contract does not know is not passed over in silence; the message is named."""
    with pytest.raises(NoLine, match="message 3"):
        line(3, report)


def test_lines_are_sorted_by_type_and_else_stay() -> None:
    """A modification's trades come before its own line, in the order in which they happened."""
    reports: list[Report] = [Modified(7, 1, 0, 9, 5), Traded(1, 9, 1, 3, 7, 0), Traded(1, 8, 4, 2, 7, 0)]
    assert lines(1, reports) == ["1,1,9,1,3,7", "1,1,8,4,2,7", "3,1,0,7,9,5"]


def test_a_flow_runs_through_a_book() -> None:
    """New, immediate, modify and cancel messages reach the book as the contract means them."""
    book = new_book()
    book.list_instrument([].append, 4, "FLOW", requeue=True)
    rows = [
        (0, 0, 0, 0, 10, 1, 100),
        (1, 0, 0, 0, 10, 2, 100),
        (2, 2, 0, 0, 5, 1, 100),
        (3, 0, 1, 1, 20, 3, 100),
        (4, 1, 0, 0, 0, 1, 0),
        (5, 2, 0, 0, 1, 2, 100),
    ]
    assert list(run_flow(book, rows, 4)) == [
        "0,0,0,1,100,10",
        "0,1,0,2,100,10",
        "3,2,0,1,100,5",
        "0,3,1,3,100,20",
        "1,3,100,10,2,3",
        "1,3,100,5,1,3",
        "2,3,1,3,100",
        "4,4,1",
        "5,5,2",
    ]


def test_the_digest_is_that_of_the_joined_lines() -> None:
    """Fed message by message it equals the hash of the whole; an empty stream has the hash of nothing."""
    digest = Digest()
    assert digest.hexdigest() == hashlib.sha256(b"").hexdigest()
    grown = [digest.add(made) for made in (["4,1,1"], [], ["5,2,2", "5,2,3"])]
    assert grown == [b"4,1,1", b"", b"\n5,2,2\n5,2,3"]
    assert digest.hexdigest() == hashlib.sha256(b"".join(grown)).hexdigest()
    assert digest.lines == 3
