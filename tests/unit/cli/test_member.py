"""`rsm member` asks the leader, wherever it is, for exactly one change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsm.client import tool
from rsm.errors import CallerError
from tests.unit.cli.nodes import Nodes
from tests.unit.cli.samples import run


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Three nodes, of which the second leads."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("RSM_ADDRESSES", raising=False)
    with Nodes() as three:
        three.leader_number = 2
        yield three


def test_adding_and_removing(nodes: Nodes) -> None:
    """The leader gets the change with both addresses; what is printed names node and index."""
    at = ("--address", nodes.addresses[0])
    ran = run("member", "add", 4, "127.0.0.1:1", "127.0.0.1:2", "--learner", *at)
    assert (ran.code, ran.out) == (0, "node 4 is a learner, from index 77 on\n")
    ran = run("member", "add", 4, "127.0.0.1:1", "127.0.0.1:2", *at, "--json")
    assert json.loads(ran.out) == {"node_id": 4, "action": "add", "index": 77}
    assert run("member", "remove", 4, *at).out == "node 4 is no member, from index 77 on\n"
    assert nodes.nodes[1].changes == [
        ("add_learner", 4, "127.0.0.1:1", "127.0.0.1:2"),
        ("add", 4, "127.0.0.1:1", "127.0.0.1:2"),
        ("remove", 4, "", ""),
    ]
    assert nodes.nodes[0].changes == nodes.nodes[2].changes == []


def test_handing_over(nodes: Nodes) -> None:
    """To a given node, or to whoever the leader chooses; then it says who leads."""
    at = ("--address", nodes.addresses[2])
    assert run("member", "transfer", 3, *at).out == "node 3 leads\n"
    assert json.loads(run("member", "transfer", *at, "--json").out) == {"leader_id": 2}
    nodes.nodes[1].failures = [CallerError("it leads already")]
    assert run("member", "transfer", 2, "--address", nodes.addresses[1]).out == "node 2 leads\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["add", 4, "nowhere", "127.0.0.1:2"], "'nowhere' is not an address"),
        (["add", 0, "127.0.0.1:1", "127.0.0.1:2"], "0 is not in the range"),
        (["add", 4, "127.0.0.1:1"], "Missing argument 'CLIENT'"),
        (["remove", "x"], "'x' is not a valid integer"),
    ],
)
def test_wrong_usage(nodes: Nodes, arguments: list[object], words: str) -> None:
    """Wrong numbers and addresses reach nobody."""
    ran = run("member", *arguments, "--address", nodes.addresses[0])
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert nodes.nodes[1].changes == []


def test_a_change_that_is_refused(nodes: Nodes) -> None:
    """What the leader says against it is one line, and wrong usage; it is not tried again."""
    nodes.nodes[1].failures = [CallerError("a change is under way"), CallerError("asked twice")]
    ran = run("member", "remove", 1, "--address", nodes.addresses[1])
    assert (ran.code, ran.err) == (2, "rsm: a change is under way\n")


def test_nobody_leads(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a leader nothing can be changed: exit code 3 after the time for it."""
    monkeypatch.setattr(tool.ask_leader, "__kwdefaults__", {"seconds": 0.5})
    nodes.leader_number = None
    ran = run("member", "transfer", "--address", nodes.addresses[0])
    assert ran.code == 3
    assert "no member was found that does" in ran.err
