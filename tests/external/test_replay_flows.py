"""The recorded flows and cases through durable machines: the report stream is equal byte for byte, whatever happens."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import rsm
from demos.orderbook.formats import Source, flow
from demos.orderbook.machine import OrderBook
from rsm.node.opening import recovery
from tests.external.replaying import call, kill_half_way, stop_half_way

NAMES = (
    "normal_s23_n2000",
    "normal_s7_n10000",
    "static_s23_n2000",
    "static_s7_n10000",
    "swing-25_s23_n2000",
    "swing-25_s7_n10000",
    "flash-crash_s23_n2000",
)
# Commands that may be on their way when a replay dies.
WINDOW = 512


@pytest.fixture
def flows(shared: Path) -> Path:
    return shared / "data/matching_flows"


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indexes of the snapshots from which machines are restored."""
    indexes: list[int] = []
    restore = recovery.restore

    def noted(replica: Any, *arguments: Any) -> Any:
        manifest = restore(replica, *arguments)
        indexes.append(replica.index)
        return manifest

    monkeypatch.setattr(recovery, "restore", noted)
    return indexes


def orders(flows: Path, name: str) -> Path:
    return flows / f"{name}.orders.csv.gz"


def reports(flows: Path, name: str) -> bytes:
    return gzip.decompress((flows / f"{name}.reports.txt.gz").read_bytes())


def messages(flows: Path, name: str) -> int:
    with Source(flows / "MANIFEST.csv") as source:
        return next(row.messages for row in flow.read_manifest(source) if row.name == name)


def replayed(flows: Path, name: str, tmp_path: Path, *options: object) -> dict[str, Any]:
    """Replay a flow to its end; the stream that it writes is the recorded one. Returns the summary."""
    told = call(orders(flows, name), "--json", "--reports", tmp_path / "out", *options)
    assert (tmp_path / "out").read_bytes() == reports(flows, name)
    found = told.document
    assert (told.code, told.err, found["ok"]) == (0, "", True)
    count = messages(flows, name)
    assert (found["messages"], found["applied"]) == (count, count)
    assert found["checks"] == [
        {"name": "messages applied", "equal": count, "of": count},
        {"name": "report streams equal", "equal": 1, "of": 1},
    ]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_flow_gives_its_report_stream(flows: Path, tmp_path: Path, name: str) -> None:
    """Through the durable log in one go; once more on the same directory nothing is done twice."""
    found = replayed(flows, name, tmp_path, "--dir", tmp_path / "d")
    assert found["commands"] == found["messages"]
    again = replayed(flows, name, tmp_path, "--dir", tmp_path / "d")
    assert (again["commands"], again["book"]) == (0, found["book"])


@pytest.mark.parametrize("name", NAMES)
def test_a_flow_gives_its_report_stream_after_a_kill(flows: Path, tmp_path: Path, name: str) -> None:
    """Killed by SIGKILL half-way with commands on their way, recovered, and gone on: nothing is lost or doubled."""
    half = messages(flows, name) // 2
    assert list(kill_half_way((orders(flows, name), tmp_path / "d", half, WINDOW))) == [9]
    found = replayed(flows, name, tmp_path, "--dir", tmp_path / "d")
    assert found["messages"] - half - WINDOW <= found["commands"] <= found["messages"] - half


@pytest.mark.parametrize("name", NAMES)
def test_a_flow_gives_its_report_stream_from_a_snapshot(
    flows: Path, tmp_path: Path, restored: list[int], name: str
) -> None:
    """Stopped half-way, a snapshot taken, and gone on from the snapshot."""
    half = messages(flows, name) // 2
    stop_half_way(orders(flows, name), tmp_path / "d", half)
    with rsm.open(OrderBook, tmp_path / "d") as client:
        index = client.snapshot()
    restored.clear()
    found = replayed(flows, name, tmp_path, "--dir", tmp_path / "d")
    assert restored == [index]
    assert 0 < found["commands"] <= found["messages"] - half


def test_the_edge_cases_give_their_reports(flows: Path, tmp_path: Path) -> None:
    """Each of the 23 cases on a machine of its own; `--reports` has their streams one after another."""
    told = call(flows / "edge_cases.json", "--json", "--dir", tmp_path / "d", "--reports", tmp_path / "out")
    found = told.document
    assert (told.code, told.err) == (0, "")
    assert found["checks"] == [{"name": "cases equal", "equal": 23, "of": 23}]
    cases = json.loads((flows / "edge_cases.json").read_text())
    assert [case["name"] for case in found["cases"]] == list(cases)
    assert (tmp_path / "out").read_text().split("\n") == [line for case in cases.values() for line in case["reports"]]
    again = call(flows / "edge_cases.json", "--json", "--dir", tmp_path / "d").document
    assert (again["commands"], again["checks"]) == (0, found["checks"])


def test_the_edge_cases_give_their_reports_after_kills(flows: Path, tmp_path: Path) -> None:
    """Each case killed half-way, recovered, and gone on."""
    cases = json.loads((flows / "edge_cases.json").read_text())
    jobs = []
    for number, (name, case) in enumerate(cases.items()):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({name: case}))
        jobs.append((path, tmp_path / f"{number}", max(len(case["orders"]) // 2, 1), 2))
    assert list(kill_half_way(*jobs)) == [9] * len(cases)
    for (path, directory, half, _), (name, case) in zip(jobs, cases.items(), strict=True):
        found = call(path, "--json", "--dir", directory).document
        assert found["checks"] == [{"name": "cases equal", "equal": 1, "of": 1}], name
        assert found["messages"] == len(case["orders"])
        assert found["commands"] <= len(case["orders"]) - half


def test_the_edge_cases_give_their_reports_from_snapshots(flows: Path, tmp_path: Path, restored: list[int]) -> None:
    """Each case stopped half-way, a snapshot taken, and gone on from the snapshot."""
    cases = json.loads((flows / "edge_cases.json").read_text())
    for number, (name, case) in enumerate(cases.items()):
        path, directory = tmp_path / f"{number}.json", tmp_path / f"{number}"
        path.write_text(json.dumps({name: case}))
        stop_half_way(path, directory, max(len(case["orders"]) // 2, 1))
        with rsm.open(OrderBook, directory / "case-001") as client:
            index = client.snapshot()
        restored.clear()
        found = call(path, "--json", "--dir", directory).document
        assert found["checks"] == [{"name": "cases equal", "equal": 1, "of": 1}], name
        assert restored == [index]


def test_a_differing_flow_fails(flows: Path, tmp_path: Path) -> None:
    """One quantity altered, the manifest beside it: exit code 1, and the stream is not called equal."""
    content = gzip.decompress(orders(flows, NAMES[0]).read_bytes())
    lines = content.split(b"\n")
    number = next(number for number in range(1000, len(lines)) if b",N," in lines[number])
    fields = lines[number].split(b",")
    fields[4] = b"%d" % (int(fields[4]) + 1)
    lines[number] = b",".join(fields)
    path = tmp_path / f"{NAMES[0]}.orders.csv"
    path.write_bytes(b"\n".join(lines))
    (tmp_path / "MANIFEST.csv").write_bytes((flows / "MANIFEST.csv").read_bytes())
    told = call(path)
    assert told.code == 1
    assert "0 of 1 report streams equal" in told.out


def test_a_flow_that_nobody_describes_is_unchecked(flows: Path, tmp_path: Path) -> None:
    """Without a manifest the replay works and says that nothing was compared."""
    path = tmp_path / "mine.csv"
    path.write_bytes(gzip.decompress(orders(flows, NAMES[0]).read_bytes()))
    told = call(path)
    assert told.code == 0
    assert told.out.splitlines()[-1].startswith("unchecked: ")
