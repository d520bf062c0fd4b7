"""The recorded flows and the hand-made cases, straight through the book: the report streams are equal byte for byte."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from demos.orderbook.formats import Source, flow
from demos.orderbook.plain import new_book
from demos.orderbook.reports import Digest, run_flow

NAMES = (
    "normal_s23_n2000",
    "normal_s7_n10000",
    "static_s23_n2000",
    "static_s7_n10000",
    "swing-25_s23_n2000",
    "swing-25_s7_n10000",
    "flash-crash_s23_n2000",
)


def reports_of(rows: list[flow.FlowRow] | tuple[flow.FlowRow, ...]) -> list[str]:
    """The report lines of a flow, from an empty book under the contract."""
    book = new_book()
    book.list_instrument([].append, 1, "FLOW", requeue=True)
    return list(run_flow(book, rows, 1))


@pytest.fixture
def flows(shared: Path) -> Path:
    return shared / "data/matching_flows"


@pytest.mark.parametrize("name", NAMES)
def test_a_flow_gives_its_report_stream(flows: Path, name: str) -> None:
    """Count and SHA-256 are those of the manifest; where the stream itself is recorded, so is every line."""
    with Source(flows / "MANIFEST.csv") as source:
        expected = {row.name: row for row in flow.read_manifest(source)}[name]
    with Source(flows / f"{name}.orders.csv.gz") as source:
        rows = list(flow.read(source))
    made = reports_of(rows)
    recorded = gzip.decompress((flows / f"{name}.reports.txt.gz").read_bytes()).decode("ascii")
    assert made == recorded.split("\n")
    digest = Digest()
    digest.add(made)
    assert (len(rows), len(made), digest.hexdigest()) == (expected.messages, expected.reports, expected.sha256)


def test_the_manifest_names_these_flows(flows: Path) -> None:
    """No recorded flow is left out."""
    with Source(flows / "MANIFEST.csv") as source:
        assert sorted(row.name for row in flow.read_manifest(source)) == sorted(NAMES)


def test_each_case_gives_its_reports(flows: Path) -> None:
    """All hand-made cases, each from an empty book."""
    with Source(flows / "edge_cases.json") as source:
        cases = list(flow.read_cases(source))
    assert len(cases) == 23
    for case in cases:
        assert reports_of(case.rows) == list(case.reports), case.name
