"""The report stream of the matching contract: one canonical line per report, and the digest of all of them.

Lines are sorted by (message number, report type), in the order of their making within one type, joined by newlines,
with none at the end. The contract has lines for acknowledgements, trades, cancellations, modifications and their
rejections:

    0,seq,side,id,price,qty   1,seq,price,qty,maker,taker   2,seq,side,id,price
    3,seq,side,id,price,qty   4,seq,id                      5,seq,id

Under the contract a modification always gives up its place: the instrument is listed with `requeue=True`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from demos.orderbook.book import Book
from demos.orderbook.records import (
    IOC,
    Accepted,
    Cancelled,
    Modified,
    Operation,
    Refused,
    Report,
    Traded,
)

# The flow's message types, as the CSV reader gives them.
NEW, CANCEL, MODIFY = 0, 1, 2
# seq, type, side, ioc, qty, order_id, price_ticks
Row = tuple[int, int, int, int, int, int, int]


class NoLine(ValueError):
    """A report that the contract has no line for, such as the refusal of a new order."""


def line(seq: int, report: Report) -> str:
    """The line of one report to message `seq`. Raises `NoLine`."""
    if isinstance(report, Accepted):
        return f"0,{seq},{report.side},{report.order_id},{report.price},{report.quantity}"
    if isinstance(report, Traded):
        return f"1,{seq},{report.price},{report.quantity},{report.maker},{report.taker}"
    if isinstance(report, Cancelled):
        return f"2,{seq},{report.side},{report.order_id},{report.price}"
    if isinstance(report, Modified):
        return f"3,{seq},{report.side},{report.order_id},{report.price},{report.quantity}"
    if isinstance(report, Refused) and report.operation is Operation.CANCEL:
        return f"4,{seq},{report.order_id}"
    if isinstance(report, Refused) and report.operation is Operation.MODIFY:
        return f"5,{seq},{report.order_id}"
    raise NoLine(f"message {seq}: the report stream has no line for {report!r}")


def lines(seq: int, reports: Iterable[Report]) -> list[str]:
    """The lines of all reports to message `seq`, in canonical order."""
    made = [line(seq, report) for report in reports]
    # The first character is the report type; sorting is stable.
    made.sort(key=_report_type)
    return made


def _report_type(made: str) -> str:
    return made[0]


def apply_row(book: Book, row: Row | Sequence[int], reports: list[Report], instrument: int) -> None:
    """Run one message of a flow; its reports are appended to `reports`."""
    _, kind, side, ioc, quantity, order_id, price = row
    if kind == NEW:
        book.place(reports.append, order_id, instrument, side, quantity, price, 0, IOC if ioc else 0)
    elif kind == CANCEL:
        book.cancel(reports.append, order_id)
    else:
        book.modify(reports.append, order_id, quantity, price)


def run_flow(book: Book, rows: Iterable[Row | Sequence[int]], instrument: int) -> Iterator[str]:
    """Run a flow through a book and yield its report lines. `rows` must come in rising order of their numbers."""
    for row in rows:
        reports: list[Report] = []
        apply_row(book, row, reports, instrument)
        yield from lines(row[0], reports)


class Digest:
    """SHA-256 of a report stream, fed message by message."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.lines = 0

    def add(self, made: Sequence[str]) -> bytes:
        """Add the next lines; returns the bytes by which the stream grows."""
        if not made:
            return b""
        grown = (("\n" if self.lines else "") + "\n".join(made)).encode("ascii")
        self._hash.update(grown)
        self.lines += len(made)
        return grown

    def hexdigest(self) -> str:
        """The digest of the lines so far, joined by newlines."""
        return self._hash.hexdigest()
