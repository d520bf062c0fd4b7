"""The cluster under a game, without its processes: its ports, who founds it, what it is started again with."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from demos.rts_lockstep.staging import nodes as staging
from demos.rts_lockstep.staging.nodes import HOST, Nodes, NodesFailed, write_whole


class Started:
    """A node's process that only says how it was started."""

    def __init__(self, command: list[str], **_: Any) -> None:
        self.command = command
        self.code: int | None = None
        made.append(self)

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        return 0

    def terminate(self) -> None:
        self.code = 0


made: list[Started] = []


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """Those that were started, in order; nobody looks after them but the test."""
    made.clear()
    monkeypatch.setattr(subprocess, "Popen", Started)
    monkeypatch.setattr(Nodes, "_keep", lambda _: None)
    return made


def is_founding(process: Started) -> bool:
    return "--found" in process.command


def test_a_port_that_somebody_has_is_no_place_for_a_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients would be served by whoever listens there, which may be another match."""
    monkeypatch.setattr(staging, "PORT_SECONDS_MAX", 0.2)
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        taken = f"127.0.0.1:{port}: somebody listens there"
        with pytest.raises(NodesFailed, match=taken) as failed, Nodes(tmp_path, port=port):
            pass
    assert failed.value.exit_code == 2
    assert made == []
    assert list(tmp_path.iterdir()) == []  # so that another port can be chosen for the same directory
    with Nodes(tmp_path, port=port):
        assert len(made) == 1


def test_only_the_first_start_founds_a_cluster(tmp_path: Path) -> None:
    """A node without its directory has forgotten its word to the others, and must not vote as if it never gave it."""
    with Nodes(tmp_path, 3) as nodes:
        assert [is_founding(one) for one in made] == [True] * 3
        nodes._start(nodes.nodes[2])  # it ended before it had a directory
        assert is_founding(made[-1])
        for node in nodes.nodes:
            node.directory.mkdir()
        nodes._start(nodes.nodes[2])
        assert not is_founding(made[-1])
        shutil.rmtree(nodes.nodes[2].directory)
        nodes._start(nodes.nodes[2])
        assert not is_founding(made[-1])
        nodes.check()
    made.clear()
    with Nodes(tmp_path) as again:
        assert [node.client for node in again.nodes] == nodes.addresses
        assert [is_founding(one) for one in made] == [False] * 3


def test_a_match_on_one_node_is_lost_with_its_directory(tmp_path: Path) -> None:
    with Nodes(tmp_path) as nodes:
        (node,) = nodes.nodes
        node.directory.mkdir()
        nodes._start(node)
        nodes.check()
        shutil.rmtree(node.directory)
        nodes._start(node)
        assert len(made) == 2  # not a new match under the name of the old one
        with pytest.raises(NodesFailed, match="node-1: is gone, and with it the match"):
            nodes.check()


def test_what_is_kept_of_a_cluster_is_whole_or_says_so(tmp_path: Path) -> None:
    with Nodes(tmp_path):
        pass
    kept = tmp_path / "cluster.json"
    assert len(json.loads(kept.read_bytes())["addresses"]) == 1
    assert kept.stat().st_mode & 0o077 == 0
    write_whole(kept, kept.read_bytes()[:20])
    with pytest.raises(NodesFailed, match=r"cluster.json: .*: take another directory"):
        Nodes(tmp_path)
