"""Order flows with known answers: CSV of orders, the expected reports, hand-made cases, and the manifest of all.

The columns are `seq,type,side,ioc,qty,order_id,price_ticks`, all integers except the type, which is a letter in the
CSV (N new, C cancel, M modify) and a number in the cases (0, 1, 2); rows carry the number. One regular expression per
line both validates and splits; only a line that fails it is looked at field by field, to name what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

from demos.orderbook.formats.source import FormatError, Source, TornTail, quoted

HEADER: Final = b"seq,type,side,ioc,qty,order_id,price_ticks"
MANIFEST_HEADER: Final = b"name,messages,reports,sha256_of_reports"

NEW: Final = 0
CANCEL: Final = 1
MODIFY: Final = 2

# The cases are one JSON document, read whole: hand-made, so small (the recorded ones are 7 kB).
CASES_BYTES_MAX: Final = 1024 * 1024
# Numbers are 64-bit with a sign wherever they go from here.
INTEGER_MAX: Final = 2**63 - 1

# Fields of a report by its type, the type included.
REPORT_FIELDS: Final = (6, 6, 5, 6, 3, 3)

_TYPES: Final = {b"N": NEW, b"C": CANCEL, b"M": MODIFY, b"0": NEW, b"1": CANCEL, b"2": MODIFY}
# 18 digits always fit in 64 bits; the longest numbers go the slow way.
_ROW: Final = re.compile(rb"(\d{1,18}),([NCM012]),([01]),([01]),(\d{1,18}),(\d{1,18}),(\d{1,18})")
_NUMBER: Final = re.compile(rb"\d{1,19}")


class FlowRow(NamedTuple):
    """One message of a flow. `type` 0 new, 1 cancel, 2 modify; `side` 0 buy, 1 sell; `ioc` 0 or 1."""

    seq: int
    type: int
    side: int
    ioc: int
    qty: int
    order_id: int
    price_ticks: int


class Case(NamedTuple):
    """A hand-made flow with its expected reports, one string per line of the report stream."""

    name: str
    rows: tuple[FlowRow, ...]
    reports: tuple[str, ...]


class ManifestRow(NamedTuple):
    """What a flow must give: counts of messages and reports, SHA-256 (hex) of the report stream."""

    name: str
    messages: int
    reports: int
    sha256: str


def looks_like(head: bytes) -> bool:
    """Whether the beginning of a file is that of a flow CSV."""
    return head.split(b"\n", 1)[0].removesuffix(b"\r") == HEADER


def looks_like_cases(head: bytes) -> bool:
    """Whether the beginning of a file is that of a document of cases."""
    return head.lstrip()[:1] == b"{" and b'"orders"' in head


def read(source: Source) -> Iterator[FlowRow]:
    """The rows of a flow CSV in file order, which is that of rising numbers.

    Raises `FormatError` with the line, after all rows before it.
    """
    match = _ROW.fullmatch
    latest = -1
    for number, line in source.lines():
        if number == 1:
            if line != HEADER:
                raise source.bad_line(1, f"the header must be {HEADER.decode()}, not {quoted(line)}")
            continue
        source.position = number
        found = match(line)
        if found is None:
            row = _row(source, number, line)
        else:
            seq, kind, side, ioc, qty, order_id, price = found.groups()
            row = FlowRow(int(seq), _TYPES[kind], int(side), int(ioc), int(qty), int(order_id), int(price))
        if row.seq <= latest:
            raise source.bad_line(number, f"seq must rise from row to row, not go from {latest} to {row.seq}")
        latest = row.seq
        yield row


def read_reports(source: Source) -> Iterator[tuple[int, ...]]:
    """The reports of a report stream as tuples of integers, `(report type, seq, ...)`, in file order."""
    for number, line in source.lines():
        source.position = number
        fields = line.split(b",")
        values = tuple(_integer(field) for field in fields)
        if None in values:
            raise source.bad_line(number, f"a report has only integers: {quoted(line)}")
        if not 0 <= (kind := values[0] or 0) < len(REPORT_FIELDS) or len(values) != REPORT_FIELDS[kind]:
            raise source.bad_line(number, f"no report has this type and number of fields: {quoted(line)}")
        yield values  # type: ignore[misc]  # no None in it, see above


def read_manifest(source: Source) -> Iterator[ManifestRow]:
    """The rows of a manifest in file order."""
    for number, line in source.lines():
        if number == 1:
            if line != MANIFEST_HEADER:
                raise source.bad_line(1, f"the header must be {MANIFEST_HEADER.decode()}, not {quoted(line)}")
            continue
        source.position = number
        found = re.fullmatch(rb"([\w.-]+),(\d{1,18}),(\d{1,18}),([0-9a-f]{64})", line)
        if found is None:
            raise source.bad_line(number, f"not name,messages,reports,sha256: {quoted(line)}")
        name, messages, reports, digest = found.groups()
        yield ManifestRow(name.decode("ascii"), int(messages), int(reports), digest.decode("ascii"))


def read_cases(source: Source) -> Iterator[Case]:
    """The cases of a document in its order; `source.position` counts them from 1.

    The one reader that does not stream: the document is hand-made and at most `CASES_BYTES_MAX` bytes.
    """
    content = b""
    for chunk in source.chunks():
        content += chunk
        if len(content) > CASES_BYTES_MAX:
            raise source.bad_byte(CASES_BYTES_MAX, f"a document of cases has at most {CASES_BYTES_MAX} bytes")
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        torn = error.pos >= len(content.rstrip())
        kind = TornTail if torn else FormatError
        raise kind(source.path, error.lineno, f"not JSON: {error.msg}") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise source.bad_byte(0, f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise source.bad_byte(0, "a document of cases is one object, name to case")
    for position, (name, case) in enumerate(document.items(), 1):
        source.position = position
        yield _case(source, name, case)


def _case(source: Source, name: str, case: Any) -> Case:
    orders = case.get("orders") if isinstance(case, dict) else None
    reports = case.get("reports") if isinstance(case, dict) else None
    if not isinstance(orders, list) or not isinstance(reports, list) or not all(isinstance(r, str) for r in reports):
        raise FormatError(source.path, None, f"case {name!r} needs a list of orders and a list of report strings")
    for order in orders:
        if not isinstance(order, list) or len(order) != len(FlowRow._fields) or any(type(v) is not int for v in order):
            raise FormatError(source.path, None, f"case {name!r}: an order is seven integers, not {str(order)[:60]}")
        problem = _problem(FlowRow(*order))
        if problem:
            raise FormatError(source.path, None, f"case {name!r}: {problem}")
    if any(after[0] <= before[0] for before, after in pairwise(orders)):
        raise FormatError(source.path, None, f"case {name!r}: seq must rise from order to order")
    return Case(name, tuple(FlowRow(*order) for order in orders), tuple(reports))


def _row(source: Source, number: int, line: bytes) -> FlowRow:
    """A row the slow way: either it is unusual but good, or the error names its first bad field."""
    fields = line.split(b",")
    if len(fields) != len(FlowRow._fields):
        raise source.bad_line(number, f"a row has {len(FlowRow._fields)} fields, not {len(fields)}: {quoted(line)}")
    values: list[int] = []
    for name, field in zip(FlowRow._fields, fields, strict=True):
        value = _TYPES.get(field) if name == "type" else _integer(field)
        if value is None:
            expected = "N, C or M" if name == "type" else "an unsigned 64-bit integer"
            raise source.bad_line(number, f"{name} must be {expected}, not {quoted(field)}")
        values.append(value)
    row = FlowRow(*values)
    problem = _problem(row)
    if problem:
        raise source.bad_line(number, problem)
    return row


def _problem(row: FlowRow) -> str | None:
    for name, maximum in (("type", MODIFY), ("side", 1), ("ioc", 1)):
        if not 0 <= getattr(row, name) <= maximum:
            return f"{name} must be 0 to {maximum}, not {getattr(row, name)}"
    for name, value in zip(FlowRow._fields, row, strict=True):
        if not 0 <= value <= INTEGER_MAX:
            return f"{name} must be 0 to {INTEGER_MAX}, not {str(value)[:30]}"
    return None


def _integer(field: bytes) -> int | None:
    if _NUMBER.fullmatch(field) is None or int(field) > INTEGER_MAX:
        return None
    return int(field)
