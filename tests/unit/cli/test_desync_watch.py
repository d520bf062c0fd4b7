"""`rsm desync watch` shows roots side by side, tells what differs and why, and ends with a code that says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from rsm.cli.desync_watch import code_of, document, notes, rich_roots, root_rows
from rsm.client.survey import Asked, Survey
from rsm.node.standing import status_of
from tests.unit.cli.nodes import Nodes
from tests.unit.cli.samples import run
from tests.unit.node.test_agreeing import alter, cases, filled, standing
from tests.unit.node.test_telemetry import STATUS

A, B = "ab" * 16, "cd" * 16


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster is known but those of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("RSM_ADDRESSES", "RSM_TLS_CA", "RSM_TLS_CERT", "RSM_TLS_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Three nodes."""
    with Nodes() as three:
        yield three


def looks(monkeypatch: pytest.MonkeyPatch, rounds: int) -> list[float]:
    """Let it look so often, without waiting, until Ctrl-C; returns where the waits go."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == rounds:
            raise KeyboardInterrupt

    monkeypatch.setattr("rsm.cli.watching.time", SimpleNamespace(sleep=sleep))
    return waits


def of(*statuses: Any) -> Survey:
    return Survey(tuple(Asked(f"h:{one.node_id}", one) for one in statuses))


def status(number: int, **fields: Any) -> Any:
    same: dict[str, Any] = {"node_id": number, "root_index": 0, "root": "", "applied_index": 98}
    return msgspec.structs.replace(STATUS, **(same | fields))


def test_rows_are_hash_points_and_columns_nodes() -> None:
    """The newest first; `-` where a node does not know its root; who agrees, differs, or was not heard of."""
    found = of(
        status(1, roots=((32, A), (64, A), (96, A)), confirmed_index=64),
        status(2, roots=((32, A), (64, B), (96, B)), standing="quarantined", desync="quarantined: x"),
        status(3, roots=((32, A), (64, A)), unchecked=("no root",), applied_index=90),
    )
    assert root_rows(found) == [
        ("index", "node 1", "node 2", "node 3", "roots"),
        ("96", "abababab", "cdcdcdcd", "-", "differ"),
        ("64", "abababab", "cdcdcdcd", "abababab", "differ, confirmed"),
        ("32", "abababab", "abababab", "abababab", "agree, confirmed"),
        ("state", "well", "quarantined", "unchecked", ""),
    ]
    assert notes(found) == [
        "desync: node 2: quarantined: x",
        f"desync: the state roots at index 64 differ: {A}: node 1, 3; {B}: node 2 (and at 1 later ones)",
        "unchecked: node 3: no root",
        "lag: node 3 is 8 entries behind",
    ]
    assert code_of(found) == 1


def test_what_is_well_is_said() -> None:
    """Nothing to tell is a line too; one node alone agrees with nobody."""
    found = of(status(1, roots=((32, A),), confirmed_index=32), status(2, roots=((32, A),)))
    assert root_rows(found)[1] == ("32", "abababab", "abababab", "agree, confirmed")
    assert notes(found) == ["node 1, 2: no difference in sight; a quorum has confirmed index 32"]
    assert code_of(found) == 0
    assert root_rows(of(status(1, roots=((32, A),))))[1] == ("32", "abababab", "1 of 1")
    assert code_of(Survey((Asked("h:1", None, "does not answer"),))) == 3
    assert code_of(of(status(1), status(2, cluster_id="ff" * 16))) == 2


def test_the_terminal_has_colours() -> None:
    """Equal roots are green, the odd one is red; what a node says of itself is no markup."""
    from rich.console import Console

    found = of(
        status(1, roots=((32, A),), confirmed_index=32),
        status(2, roots=((32, B),), desync="[bold]x"),
        status(3, roots=((32, A), (64, A))),
    )
    console = Console(width=200, force_terminal=True, color_system="standard", legacy_windows=False)
    with console.capture() as capture:
        console.print(rich_roots(found))
    text = capture.get()
    assert "\x1b[32mabababab" in text
    assert "\x1b[31mcdcdcdcd" in text
    assert "[bold]x" in text


def test_it_looks_until_it_is_interrupted(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain text where there is no terminal; the code is that of the last look."""
    waits = looks(monkeypatch, 2)
    ran = run("desync", "watch", nodes.addresses[0], "--every", "0.2")
    assert (ran.code, ran.err, waits) == (0, "", [0.2, 0.2])
    assert ran.out.count("64     abababab  abababab  abababab  agree") == 2
    assert ran.out.count("no difference in sight") == 2
    looks(monkeypatch, 1)
    nodes.nodes[1].fields = {"root": "cd" * 16}
    ran = run("desync", "watch", nodes.addresses[0])
    assert ran.code == 1
    assert "desync: the state roots at index 64 differ" in ran.out


def test_json_lines(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One document a line, with roots by index, states, lags and cases."""
    looks(monkeypatch, 2)
    nodes.nodes[2].fields = {"applied_index": 0, "verdicts": ({"index": 3, "state": "attesting"},)}
    ran = run("desync", "watch", *nodes.addresses, "--json")
    documents = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, len(documents)) == (1, 2)
    first = documents[0]
    assert first["roots"] == [{"index": 64, "roots": {"1": "ab" * 16, "2": "ab" * 16, "3": "ab" * 16}}]
    assert [node["state"] for node in first["nodes"]] == ["well"] * 3
    assert list(first["lag_entries"]) == ["3"]
    assert [(case["index"], case["is_settled"]) for case in first["cases"]] == [(3, False)]
    assert first["desync"] == ["the state roots at index 3 are disputed, no verdict yet"]


def test_nobody_to_ask_is_3(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on asking, and ends with 3 if nobody answered the last time."""
    looks(monkeypatch, 2)
    nodes.stop(1)
    ran = run("desync", "watch", nodes.addresses[0])
    assert ran.code == 3
    assert ran.out.count("no member could be asked") == 2
    looks(monkeypatch, 1)
    ran = run("desync", "watch", nodes.addresses[0], "--json")
    assert (ran.code, json.loads(ran.out)["unchecked"]) == (3, [f"{nodes.addresses[0]}: {REFUSED}"])


REFUSED = "cannot be reached: Connection refused"


def test_what_real_nodes_say() -> None:
    """A node that differs is seen from the first to the last: in its column, its verdict, and as history in the end."""
    stage, ann = filled()

    def look() -> Survey:
        return of(
            *(
                status_of(one, is_connected=lambda _: True, clients=0, uptime_seconds=0, failure=None)
                for _, one in sorted(stage.members.items())
            )
        )

    assert code_of(look()) == 0
    bad = stage.follower()
    alter(stage.members[bad])
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: standing(stage, bad) != "well" and any(case.out for case in cases(stage, 1).values()))
    found = look()
    assert code_of(found) == 1
    assert any(f"node {bad} differs from the majority" in line for line in found.desyncs)
    assert list(document(found)["cases"][0]["out"]) == [bad]
    assert "differ" in root_rows(found)[1][-1]
    stage.until(lambda: all(case.returned for n in stage.members for case in cases(stage, n).values()), 60)
    stage.settle()
    found = look()
    assert (code_of(found), found.desyncs, len(found.history)) == (0, [], 1)
    assert f"node {bad} differed at index" in found.history[0]
    assert "evidence" in found.history[0]
