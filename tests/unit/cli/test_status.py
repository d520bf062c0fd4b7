"""`rsm status` tells who leads, who lags and who differs, and its exit code is one that a script can act on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from rsm.cli import status as status_command
from rsm.cli.local import LocalCluster, LocalNode, find_local, load_local, point_to, save_local
from rsm.cli.status import Rates, rich_table
from rsm.client import survey as surveys
from rsm.client.survey import Asked, Survey
from rsm.client.tool import Access, ToolConnection
from rsm.errors import CallerError
from rsm.node.network.tls import TlsOptions
from tests.unit.cli.nodes import Nodes, strangers
from tests.unit.cli.samples import run
from tests.unit.node.test_telemetry import STATUS


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


def test_the_table_shows_every_member(nodes: Nodes) -> None:
    """One address is enough: the others are found through it, in order of their numbers."""
    ran = run("status", nodes.addresses[1])
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert [line.split()[1] for line in lines[1:4]] == nodes.addresses
    assert lines[4] == "stall, version 2: node 1 leads term 4; quorum, 3 of 3 voters"
    assert "abababab@64" in lines[1]


def test_observers_are_counted(nodes: Nodes) -> None:
    """A line tells how many each node has, where there are any."""
    nodes.nodes[1].fields = {"observers": 200}
    nodes.nodes[2].fields = {"observers": 1}
    ran = run("status", *nodes.addresses)
    assert ran.out.splitlines()[-1] == "observers: node 2: 200, node 3: 1"
    assert json.loads(run("status", *nodes.addresses, "--json").out)["nodes"][1]["observers"] == 200


def test_json_has_everything(nodes: Nodes) -> None:
    """The document has each node's whole status, but for the schema."""
    ran = run("status", *nodes.addresses, "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert (document["leader_id"], document["has_quorum"], document["desync"]) == (1, True, [])
    assert document["cluster_id"] == bytes(range(16)).hex()
    assert [node["role"] for node in document["nodes"]] == ["leader", "follower", "follower"]
    assert document["nodes"][0]["lag_entries"] == 0
    assert "schema" not in document["nodes"][0]


def test_who_asks_is_no_client(nodes: Nodes) -> None:
    """The clients that are told are those that somebody else has."""
    address = nodes.addresses[0]
    with ToolConnection(address, Access((address,))):
        told = json.loads(run("status", address, "--json").out)["nodes"]
    assert [node["clients"] for node in told] == [1, 0, 0]


def test_a_member_that_is_down_is_named(nodes: Nodes) -> None:
    """With a quorum a missing member is shown and the code is still 0."""
    nodes.stop(3)
    nodes.nodes[0].fields = {"peers": (msgspec.structs.replace(STATUS.peers[0], id=2),)}
    ran = run("status", nodes.addresses[0], "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert document["nodes"][2] == {"address": nodes.addresses[2], "error": "cannot be reached: Connection refused"}
    assert document["unchecked"] == [f"{nodes.addresses[2]}: cannot be reached: Connection refused"]
    assert "2 of 3 voters" in run("status", nodes.addresses[0]).out


def test_without_a_quorum_the_code_is_1(nodes: Nodes) -> None:
    """No leader, and a leader that is connected to nobody, are both 1."""
    nodes.nodes[0].fields = {"peers": ()}
    ran = run("status", nodes.addresses[0])
    assert ran.code == 1
    assert "no quorum, 1 of 3 voters" in ran.out
    nodes.leader_number = None
    ran = run("status", nodes.addresses[0])
    assert (ran.code, ran.out.splitlines()[-1]) == (1, "no leader")


def test_an_old_leader_counts_for_nothing(nodes: Nodes) -> None:
    """Of two who say that they lead the one of the newest term does."""
    nodes.nodes[2].fields = {"role": "leader", "term": 3}
    assert json.loads(run("status", *nodes.addresses, "--json").out)["leader_id"] == 1
    nodes.nodes[2].fields = {"role": "leader", "term": 5}
    assert json.loads(run("status", *nodes.addresses, "--json").out)["leader_id"] == 3


def test_roots_that_differ_are_a_desync(nodes: Nodes) -> None:
    """Two roots of one index and version are told with the nodes on either side, and the code is 1."""
    nodes.nodes[1].fields = {"root": "cd" * 16}
    ran = run("status", nodes.addresses[0])
    assert ran.code == 1
    assert f"desync: the state roots at index 64 differ: {'ab' * 16}: node 1, 3; {'cd' * 16}: node 2" in ran.out
    nodes.nodes[1].fields = {"root": "cd" * 16, "root_index": 60}
    assert run("status", nodes.addresses[0]).code == 0
    nodes.nodes[1].fields = {"desync": "root of 60 differs", "unchecked": ("no snapshot",), "failure": "disk full"}
    ran = run("status", nodes.addresses[0])
    assert ran.code == 1
    for line in ("desync: node 2: root of 60 differs", "unchecked: node 2: no snapshot", "failure: node 2: disk full"):
        assert line in ran.out.splitlines()


def test_a_desync_is_told_with_what_to_do(nodes: Nodes) -> None:
    """The state of each node has its column; verdict, code and evidence have lines; a returned node is history."""
    good, bad = "ab" * 16, "cd" * 16
    case = {
        "index": 64,
        "state": "decided",
        "root": good,
        "minority": [2],
        "out": [2],
        "roots": {"1": good, "2": bad, "3": good},
        "codes": {"1": "3c" * 32, "2": "1a" * 32, "3": "3c" * 32},
    }
    for node in nodes.nodes:
        node.fields = {"verdicts": (case,), "code_digest": "3c" * 32}
    nodes.nodes[1].fields |= {
        "standing": "out",
        "desync": f"out: its root is {bad}",
        "evidence": "/n2/evidence/64-cdcdcdcd",
        "root": bad,
        "code_digest": "1a" * 32,
    }
    nodes.nodes[2].fields |= {"unchecked": ("no root has been confirmed by a quorum since this node started",)}
    ran = run("status", nodes.addresses[0])
    assert ran.code == 1
    lines = ran.out.splitlines()
    at = lines[0].index("state")
    assert [line[at:].split()[0] for line in lines[1:4]] == ["well", "out", "unchecked"]
    assert lines[4:9] == [
        f"desync: node 2: out: its root is {bad}",
        f"desync: verdict at index 64: node 2 differs from the majority: node 1, 3: {good}; node 2: {bad}",
        "desync: node 2 runs other code: 1a1a1a1a... instead of 3c3c3c3c...",
        "desync: evidence of node 2: rsm desync replay /n2/evidence/64-cdcdcdcd --machine MODULE:CLASS",
        "unchecked: node 3: no root has been confirmed by a quorum since this node started",
    ]
    document = json.loads(run("status", nodes.addresses[0], "--json").out)
    assert [node["state"] for node in document["nodes"]] == ["well", "out", "unchecked"]
    assert document["nodes"][0]["verdicts"][0]["out"] == [2]
    for node in nodes.nodes:
        node.fields = {"verdicts": ({**case, "out": []},)}
    ran = run("status", nodes.addresses[0])
    assert (ran.code, ran.out.splitlines()[4]) == (0, "history: node 2 differed at index 64, and has returned")


def test_other_code_is_a_warning(nodes: Nodes) -> None:
    """Nothing differs yet, so the code is 0; who runs what is told."""
    for node in nodes.nodes:
        node.fields = {"code_digest": "3c" * 32}
    nodes.nodes[2].fields = {"code_digest": "1a" * 32}
    ran = run("status", nodes.addresses[0])
    line = "warning: node 3 runs other code: 1a1a1a1a... instead of 3c3c3c3c..., under the same machine version"
    assert (ran.code, ran.out.splitlines()[4]) == (0, line)


def test_nobody_to_ask_is_3(nodes: Nodes) -> None:
    """When no member answers nothing can be said."""
    nodes.stop(1)
    ran = run("status", nodes.addresses[0])
    assert ran.code == 3
    assert ran.out.splitlines()[-1] == "no member could be asked"
    assert json.loads(run("status", nodes.addresses[0], "--json").out)["nodes"][0]["error"].startswith("cannot be")


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.6p1 Debian-2\r\n", b"rw" * 40]
)
def test_a_stranger_is_2(answer: bytes) -> None:
    """What is no node is unreadable input, in one line."""
    with strangers(answer) as address:
        ran = run("status", address)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"rsm: {address}: does not speak the protocol of rsm: ")


def test_a_node_that_hangs_does_not_hold_up(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that accepts and says nothing is given up after the time for an answer."""
    monkeypatch.setattr(status_command, "survey", lambda access: surveys.survey(access, seconds=0.3))
    with strangers(b"") as address:
        ran = run("status", nodes.addresses[0], address)
    assert ran.code == 0
    assert "does not answer" in ran.out


def test_nodes_of_two_clusters_are_refused(nodes: Nodes) -> None:
    """Addresses of different clusters are a mistake, and are named with their ids."""
    with Nodes(1) as other:
        other.nodes[0].fields = {"cluster_id": "ff" * 16}
        ran = run("status", nodes.addresses[0], other.addresses[0])
    assert ran.code == 2
    assert "nodes of 2 clusters" in ran.err


@pytest.mark.parametrize("text", ["nonsense", "a:b", "127.0.0.1", "127.0.0.1:99999"])
def test_what_is_no_address_is_2(text: str) -> None:
    """A wrong address is refused before anybody is asked."""
    ran = run("status", text)
    assert (ran.code, ran.out) == (2, "")
    assert f"{text!r} is not an address" in ran.err


def test_where_addresses_come_from(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments win over $RSM_ADDRESSES, which wins over the local cluster; with none of them it is wrong usage."""
    ran = run("status")
    assert ran.code == 2
    assert "which cluster?" in ran.err
    path = tmp_path / "cluster.toml"
    local = tuple(LocalNode(id=n, peer="127.0.0.1:1", client=a, web="127.0.0.1:2") for n, a in nodes.nodes[0].members)
    save_local(str(path), LocalCluster(machine="stall", id="ab" * 16, nodes=local))
    point_to(str(path))
    assert run("status").code == 0
    monkeypatch.setenv("RSM_ADDRESSES", "127.0.0.1:1, 127.0.0.1:1")
    ran = run("status", "--json")
    assert ran.code == 3
    assert [node["address"] for node in json.loads(ran.out)["nodes"]] == ["127.0.0.1:1"]
    assert run("status", nodes.addresses[0]).code == 0
    monkeypatch.delenv("RSM_ADDRESSES")
    path.write_text("[cluster]\nnodes = 3\n")
    ran = run("status")
    assert ran.code == 2
    assert f"{path}: [cluster] 'machine' is missing" in ran.err
    path.unlink()
    assert run("status").code == 2


def test_the_local_cluster_keeps_its_tls(tmp_path: Path) -> None:
    """The files of TLS are kept relative to the cluster's file, so the directory can be moved."""
    node = LocalNode(id=1, peer="127.0.0.1:1", client="127.0.0.1:2", web="127.0.0.1:3")
    tls = TlsOptions(*(str(tmp_path / "c" / name) for name in ("ca", "cert", "key")))
    (tmp_path / "c").mkdir()
    save_local(str(tmp_path / "c" / "cluster.toml"), LocalCluster(machine="m", id="ab" * 16, nodes=(node,), tls=tls))
    (tmp_path / "c").rename(tmp_path / "d")
    found = load_local(str(tmp_path / "d" / "cluster.toml"))
    assert found.tls == TlsOptions(*(str(tmp_path / "d" / name) for name in ("ca", "cert", "key")))
    assert find_local() is None
    (tmp_path / "d" / "cluster.toml").write_text("[cluster]\nmachine = 'm'\nid = 'x'\nnodes = []\n")
    with pytest.raises(CallerError, match="nodes is empty"):
        load_local(str(tmp_path / "d" / "cluster.toml"))


def test_tls_options_go_together() -> None:
    """One file of three is wrong usage, and three that cannot be read are named."""
    ran = run("status", "127.0.0.1:1", "--tls-ca", "x")
    assert ran.code == 2
    assert "go together" in ran.err
    ran = run("status", "127.0.0.1:1", "--tls-ca", "x", "--tls-cert", "y", "--tls-key", "z")
    assert "cannot use the CA x" in ran.out


def watched(monkeypatch: pytest.MonkeyPatch, rounds: int) -> list[float]:
    """Let `--watch` run for some rounds, without waiting; returns where the waits go."""
    left = [rounds]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr("rsm.cli.watching.time", SimpleNamespace(sleep=sleep))
    return waits


def test_watching_is_json_lines(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """--watch --json prints a document a line, as often as it is told, and ends with the last one's code."""
    waits = watched(monkeypatch, 3)
    ran = run("status", nodes.addresses[0], "--watch", "--every", "0.2", "--json")
    assert waits == [0.2] * 3
    documents = [json.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, len(documents)) == (0, 3)
    assert documents[0]["leader_id"] == 1
    watched(monkeypatch, 2)
    nodes.leader_number = None
    ran = run("status", nodes.addresses[0], "--watch")
    assert (ran.code, ran.out.count("no leader")) == (1, 2)


def test_the_live_table_has_the_rates() -> None:
    """For a terminal the same rows are drawn with their rates; whatever a node calls itself is no markup."""
    from rich.console import Console

    status = msgspec.structs.replace(STATUS, machine="[bold]x")
    found = Survey((Asked("a:2", status), Asked("b:2", None, "does not answer")))
    rates = Rates()
    assert rates.of(found, 10.0) == {}
    later = Survey((Asked("a:2", msgspec.structs.replace(status, applied_index=198)),))
    assert rates.of(later, 12.0) == {2: 50.0}
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(rich_table(found, rates={2: 50.0}))
    text = capture.get()
    for word in ("leader", "entries/s", " 50\n", "does not answer", "[bold]x, version 3"):
        assert word in text


def test_a_narrow_terminal_shows_whole_cells_of_fewer_columns() -> None:
    """In 80 columns each node keeps its number, its address with the port, its role and its root; none is cut short."""
    from rich.console import Console

    found = Survey((Asked("127.0.0.1:7101", STATUS), Asked("127.0.0.1:7104", None, "cannot be reached")))
    for width, names in ((80, {"node", "address", "lag", "root", "entries/s"}), (160, {"term", "commit", "version"})):
        console = Console(width=width, force_terminal=False)
        with console.capture() as capture:
            console.print(rich_table(found, rates={STATUS.node_id: 1_000_000.0}, width=width))
        text = capture.get()
        assert "…" not in text
        assert {"node", "address", "lag", "root", "entries/s"} | names <= set(text.split())
        assert "127.0.0.1:7104: cannot be reached" in text
    assert "version" in text


def test_a_status_of_a_newer_release_is_read(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that this release does not know are passed over; a status that is none is named."""
    real = type(nodes.nodes[0]).status

    def more(node: Any) -> dict[str, Any]:
        return {**real(node), "colour": "blue"}

    monkeypatch.setattr(type(nodes.nodes[0]), "status", more)
    assert run("status", nodes.addresses[0]).code == 0
    monkeypatch.setattr(type(nodes.nodes[0]), "status", lambda _: {"node_id": "x"})
    assert "not the status of a node" in run("status", nodes.addresses[0]).out
