"""`rsm upgrade` says who ships what, and has the leader put the next version in force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsm.client import tool
from rsm.errors import CallerError
from rsm.node.status import MemberStatus
from tests.unit.cli.nodes import Nodes
from tests.unit.cli.samples import run


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Three nodes under version 2, of which the second leads; all ship 2 and 3."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("RSM_ADDRESSES", raising=False)
    with Nodes() as three:
        three.leader_number = 2
        for node in three.nodes:
            node.fields = {"releases": (2, 3), "code_digest": "c0de"}
        yield three


def status(nodes: Nodes, *words: object) -> tuple[int, list[str]]:
    """Exit code and lines of `rsm upgrade status`."""
    ran = run("upgrade", "status", nodes.addresses[0], *words)
    assert ran.err == ""
    return ran.code, ran.out.splitlines()


def test_everybody_is_ready(nodes: Nodes) -> None:
    """The last line is the command that comes next."""
    code, lines = status(nodes)
    assert code == 0
    assert lines[0].split() == ["node", "role", "in", "force", "ships", "code", "state"]
    assert lines[2].split() == ["2", "leader", "2", "2", "to", "3", "c0de", "well"]
    assert lines[-1] == "every voter ships version 3: rsm upgrade commit 3"


def test_one_is_behind(nodes: Nodes) -> None:
    """It is named, and the exit code says that something was found."""
    nodes.nodes[2].fields = {"releases": (2, 2), "code_digest": "old"}
    code, lines = status(nodes)
    assert code == 1
    assert lines[3].split() == ["3", "follower", "2", "2", "old", "well"]
    assert lines[-1] == "version 3 cannot be put in force yet: upgrade node 3"


def test_nothing_is_newer(nodes: Nodes) -> None:
    for node in nodes.nodes:
        node.fields = {"releases": (1, 2)}
    assert status(nodes)[1][-1] == "version 2 is in force, and no voter ships a newer one"


def test_a_learner_does_not_hold_it_up(nodes: Nodes) -> None:
    """Only voters count: a learner without the version waits for its own upgrade."""
    nodes.nodes[2].fields = {"releases": (2, 2)}
    members = tuple(
        MemberStatus(number, "", address, is_voter=number < 3) for number, address in enumerate(nodes.addresses, 1)
    )
    for node in nodes.nodes:
        node.fields["members"] = members
    ran = run("upgrade", "status", nodes.addresses[0], "--json")
    document = json.loads(ran.out)
    assert [one["is_voter"] for one in document["nodes"]] == [True, True, False]
    assert (ran.code, document["behind"]) == (0, [])


def test_the_document(nodes: Nodes) -> None:
    """--json prints the same as one document."""
    nodes.nodes[0].fields = {"releases": (1, 2), "code_digest": "old", "standing": "outdated"}
    ran = run("upgrade", "status", nodes.addresses[0], "--json")
    assert ran.code == 1
    document = json.loads(ran.out)
    assert (document["in_force"], document["newest"], document["behind"], document["unasked"]) == (2, 3, [1], [])
    assert document["nodes"][0] == {
        "node_id": 1,
        "role": "follower",
        "version": 2,
        "releases": [1, 2],
        "code": "old",
        "state": "outdated",
        "is_voter": True,
    }


def test_who_cannot_be_asked_is_not_called_ready(nodes: Nodes) -> None:
    """Exit code 3: nobody knows what it ships."""
    nodes.stop(3)
    ran = run("upgrade", "status", nodes.addresses[0])
    assert ran.code == 3
    assert ran.out.splitlines()[-1] == f"could not ask {nodes.addresses[2]}: start it, or remove it"


def test_nobody_answers() -> None:
    ran = run("upgrade", "status", "127.0.0.1:1")
    assert ran.code == 3
    assert "Traceback" not in ran.err


def test_committing(nodes: Nodes) -> None:
    """The leader is asked, wherever it is; what is printed says from where on."""
    ran = run("upgrade", "commit", 3, "--address", nodes.addresses[0])
    assert (ran.code, ran.out, ran.err) == (0, "version 3 is in force, from index 78 on\n", "")
    assert nodes.version == 3
    ran = run("upgrade", "commit", 3, "--address", nodes.addresses[0], "--json")
    assert json.loads(ran.out) == {"version": 3, "index": 78}


def test_a_refusal_is_one_line(nodes: Nodes) -> None:
    """It is the leader's, and wrong usage; nothing is tried again."""
    text = "node 3 ships version 2: upgrade it before version 3"
    nodes.nodes[1].failures = [CallerError(text), CallerError("asked twice")]
    ran = run("upgrade", "commit", 3, "--address", nodes.addresses[1])
    assert (ran.code, ran.out, ran.err) == (2, "", f"rsm: {text}\n")


def test_nobody_leads(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3 after the time for it."""
    monkeypatch.setattr(tool.ask_leader, "__kwdefaults__", {"seconds": 0.5})
    nodes.leader_number = None
    assert run("upgrade", "commit", 3, "--address", nodes.addresses[0]).code == 3


@pytest.mark.parametrize("version", ["0", "-1", "x", str(2**31)])
def test_what_is_no_version_reaches_nobody(nodes: Nodes, version: str) -> None:
    ran = run("upgrade", "commit", version, "--address", nodes.addresses[0])
    assert ran.code == 2
    assert nodes.version == 2
