"""Order flows, their reports, cases and manifest are read strictly: a wrong field is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from demos.orderbook.formats import FormatError, Source, TornTail, flow
from demos.orderbook.formats.flow import CANCEL, MODIFY, NEW, FlowRow

HEADER = b"seq,type,side,ioc,qty,order_id,price_ticks\n"
CASES = {"one": {"orders": [[0, 0, 1, 0, 10, 1, 100], [1, 1, 1, 0, 0, 1, 0]], "reports": ["0,0,1,1,100,10"]}}


def write(directory: Path, content: bytes) -> Path:
    path = directory / "flow"
    path.write_bytes(content)
    return path


def test_rows_are_integers_with_the_type_as_a_number(tmp_path: Path) -> None:
    """Letters and digits name the same types; a value of 64 bits is kept; the last newline may be missing."""
    content = HEADER + b"0,N,0,1,41,487,33402\r\n1,M,1,0,9223372036854775807,487,33403\n2,C,0,0,0,487,0\n3,2,0,0,1,2,3"
    with Source(write(tmp_path, content)) as source:
        assert list(flow.read(source)) == [
            FlowRow(0, NEW, 0, 1, 41, 487, 33402),
            FlowRow(1, MODIFY, 1, 0, 2**63 - 1, 487, 33403),
            FlowRow(2, CANCEL, 0, 0, 0, 487, 0),
            FlowRow(3, MODIFY, 0, 0, 1, 2, 3),
        ]
        assert source.position == 5


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"1,N,0,0,41,487", "has 7 fields, not 6"),
        (b"1,N,0,0,41,487,33402,1", "has 7 fields, not 8"),
        (b"", "has 7 fields, not 1"),
        (b"1,X,0,0,41,487,33402", "type must be N, C or M, not 'X'"),
        (b"1,N,2,0,41,487,33402", "side must be 0 to 1, not 2"),
        (b"1,N,0,7,41,487,33402", "ioc must be 0 to 1, not 7"),
        (b"1,N,0,0,-41,487,33402", "qty must be an unsigned 64-bit integer, not '-41'"),
        (b"1,N,0,0,4_1,487,33402", "qty must be"),
        (b"1,N,0,0,41.0,487,33402", "qty must be"),
        (b"1,N,0,0, 41,487,33402", "qty must be"),
        ("1,N,0,0,٤١,487,33402".encode(), "qty must be"),
        (b"1,N,0,0,41,9223372036854775808,33402", "order_id must be"),
        (b"1,N,0,0,41,487," + b"9" * 5000, "price_ticks must be"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, line: bytes, what: str) -> None:
    """The rows before come out; then one line with file, line number and the field at fault."""
    path = write(tmp_path, HEADER + b"0,N,0,0,41,487,33402\n" + line + b"\n")
    with Source(path) as source:
        rows = flow.read(source)
        assert next(rows).seq == 0
        with pytest.raises(FormatError, match=what) as caught:
            next(rows)
    assert str(caught.value).startswith(f"{path}: line 3: ")
    assert len(str(caught.value)) < len(str(path)) + 200


def test_another_header_is_refused(tmp_path: Path) -> None:
    """Columns in another order would be read as other numbers."""
    with Source(write(tmp_path, b"seq,side,type\n")) as source, pytest.raises(FormatError, match="line 1: the header"):
        list(flow.read(source))


def test_reports_are_integers_of_their_type(tmp_path: Path) -> None:
    """Every report type has its number of fields; anything else is named with its line."""
    good = b"0,0,0,487,33402,41\n1,1,100,10,1,3\n2,2,0,487,33403\n3,3,0,1,2,3\n4,4,9\n5,5,9"
    with Source(write(tmp_path, good)) as source:
        reports = list(flow.read_reports(source))
    assert [report[0] for report in reports] == [0, 1, 2, 3, 4, 5]
    assert "\n".join(",".join(map(str, report)) for report in reports).encode() == good
    for bad in (b"6,0,1\n", b"4,4,9,9\n", b"4,4,x\n", b"4,4,-1\n", b"\n"):
        with Source(write(tmp_path, good + b"\n" + bad)) as source, pytest.raises(FormatError, match="line 7: "):
            list(flow.read_reports(source))


def test_cases_are_read_with_their_reports(tmp_path: Path) -> None:
    """A document of cases gives name, rows and expected lines."""
    with Source(write(tmp_path, json.dumps(CASES).encode())) as source:
        (case,) = flow.read_cases(source)
    assert case.name == "one"
    assert case.rows == (FlowRow(0, NEW, 1, 0, 10, 1, 100), FlowRow(1, CANCEL, 1, 0, 0, 1, 0))
    assert case.reports == ("0,0,1,1,100,10",)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"[]", "one object"),
        (b"{" * 100_000, "not JSON"),
        (b'{"one": []}', "needs a list"),
        (b'{"one": {"orders": [[0, 0]], "reports": []}}', "seven integers"),
        (b'{"one": {"orders": [[0, 0, 1, 0, 10.5, 1, 100]], "reports": []}}', "seven integers"),
        (b'{"one": {"orders": [[0, 0, true, 0, 10, 1, 100]], "reports": []}}', "seven integers"),
        (b'{"one": {"orders": [[0, 3, 1, 0, 10, 1, 100]], "reports": []}}', "type must be"),
        (b'{"one": {"orders": [[0, 0, 1, 0, -1, 1, 100]], "reports": []}}', "qty must be"),
        (b'{"one": {"orders": [], "reports": [5]}}', "needs a list"),
        (b'{"one": "' + b" " * 1024 * 1024 + b'"}', "at most"),
        (b'{"one": \xff}', "not JSON"),
    ],
)
def test_a_bad_document_of_cases_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    """What is no document of cases, or a case that no flow contains, is one error."""
    with Source(write(tmp_path, content)) as source, pytest.raises(FormatError, match=what):
        list(flow.read_cases(source))


def test_a_cut_document_of_cases_is_torn(tmp_path: Path) -> None:
    """A document that ends too early is told from one that is wrong."""
    content = json.dumps(CASES).encode()
    with Source(write(tmp_path, content[:-1])) as source, pytest.raises(TornTail, match="line 1: not JSON"):
        list(flow.read_cases(source))


def test_the_manifest_is_read(tmp_path: Path) -> None:
    """Name, counts and digest per flow; a row without a digest is named."""
    header = b"name,messages,reports,sha256_of_reports\n"
    good = b"swing-25_s23_n2000,3974,4437," + b"ab" * 32 + b"\n"
    with Source(write(tmp_path, header + good)) as source:
        assert list(flow.read_manifest(source)) == [("swing-25_s23_n2000", 3974, 4437, "ab" * 32)]
    for bad in (header + good + b"x,1,2,3\n", good):
        with Source(write(tmp_path, bad)) as source, pytest.raises(FormatError, match=r"line [13]: "):
            list(flow.read_manifest(source))
