"""`rsm cluster up`: real processes that are started, found, killed, started again later, and ended by Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rsm.cli import cluster as cluster_command
from rsm.cli.local import load_local
from rsm.cli.making import free_ports
from rsm.node.config import ClusterSection, MemberConfig, NodeConfig, NodeSection, load_config, write_config
from tests.documents import ROOT, blocks
from tests.unit.cli.samples import Ran, run

PROGRAM = "import sys; sys.argv[0] = 'rsm'; from rsm.cli.main import main; sys.exit(main())"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the README's bank, and a state directory of its own."""
    for block in blocks(ROOT / "README.md"):
        if block.file_name == "bank.py":
            (tmp_path / "bank.py").write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("RSM_ADDRESSES", "RSM_TLS_CA", "RSM_TLS_CERT", "RSM_TLS_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


class Up:
    """A running `rsm cluster up`, with what it has printed."""

    def __init__(self, *arguments: str) -> None:
        self.out = Path("up.out")
        with self.out.open("w") as file:
            words = [sys.executable, "-c", PROGRAM, "cluster", "up", *arguments]
            self.process = subprocess.Popen(words, stdout=file, stderr=subprocess.STDOUT)

    @property
    def lines(self) -> list[str]:
        return self.out.read_text().splitlines()

    def until(self, is_so: Callable[[], bool], seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, self.lines
            assert self.process.poll() is None, self.lines
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Interrupt it; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def up(*arguments: str, nodes: int) -> Iterator[Up]:
    """A cluster whose nodes are all up and of which one leads."""
    running = Up("--machine", "bank:Bank", "--dir", "c1", *arguments)
    try:
        running.until(lambda: sum(" is up: " in line for line in running.lines) == nodes)
        running.until(lambda: any(" leads, term " in line for line in running.lines))
        yield running
    finally:
        running.stop()


def status() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("status", "--json").out)
    return document


def test_the_bank_moves_into_a_cluster(directory: Path) -> None:
    """Three nodes made from an embedded directory have one root; commands go through; a second `up` finds it all."""
    for _ in range(2):
        subprocess.run([sys.executable, "bank.py"], check=True, capture_output=True, timeout=60)
    with up("--from", "bank-data", nodes=3) as running:
        assert run("query", "balance", '["ann"]').out == "700\n"
        assert run("call", "deposit", '{"to": "ann", "amount": 5}').out == "705\n"
        deadline = time.monotonic() + 20
        while len(roots := {(node.get("root_index"), node.get("root")) for node in status()["nodes"]}) != 1:
            assert time.monotonic() < deadline, status()
        assert len(status()["nodes"]) == 3
        clients = [node.client for node in load_local("c1/cluster.toml").nodes]
        assert [run("log", "export", client, f"piece-{at}").code for at, client in enumerate(clients)] == [0] * 3
        ran = run("desync", "compare", "piece-0", "piece-1", "piece-2", "--json")
        document = json.loads(ran.out)
        assert (ran.code, document["verdict"]) == (0, "agree")
        assert document["roots_compared_to_index"] >= roots.pop()[0]  # they were sent along
        assert running.stop() == 0
        assert running.lines[-2:] == ["stopping", "3 nodes stopped"]
    before = load_local("c1/cluster.toml")
    config = load_config("c1/node-2.toml")
    assert config.cluster.id == before.id
    assert (config.node.client_listen, config.node.machine) == (before.nodes[1].client, "bank:Bank")
    assert status()["leader_id"] is None
    with up(nodes=3):
        assert load_local("c1/cluster.toml") == before
        assert run("query", "balance", '["ann"]').out == "705\n"


def test_a_cluster_of_one(directory: Path) -> None:
    """One node is a cluster; killed with -9 it is started again and has lost nothing; SIGTERM ends all."""
    with up("--nodes", "1", nodes=1) as running:
        assert run("call", "deposit", '["bob", 3]', "--key", "k").out == "3\n"
        child = re.compile(r"node 1 was killed by SIGKILL; starts again in 0.2 seconds")
        os.kill(child_of(running.process.pid), signal.SIGKILL)
        running.until(lambda: any(child.fullmatch(line) for line in running.lines))
        running.until(lambda: sum(" is up: " in line for line in running.lines) == 2)
        assert run("call", "deposit", '["bob", 3]', "--key", "k") == Ran(0, "3\n", "")
        assert run("query", "balance", '["bob"]').out == "3\n"
        ran = run("cluster", "up", "--machine", "bank:Bank", "--dir", "c1")
        assert ran.code == 2
        assert "c1" in ran.err
        assert running.stop(signal.SIGTERM) == 0
    revive("c1/node-1", load_local("c1/cluster.toml").id)


def revive(source: str, old_id: str) -> None:
    """What a node of a lost cluster has becomes a new cluster, with the same answers and another id."""
    peer, client = (f"127.0.0.1:{port}" for port in free_ports(1)[:2])
    ran = run("snapshot", "restore", source, "c2", "--new-cluster", "--member", 1, peer, client, "--json")
    new_id = json.loads(ran.out)["cluster_id"]
    assert new_id != old_id
    config = NodeConfig(
        node=NodeSection(id=1, directory="c2", peer_listen=peer, client_listen=client, machine="bank:Bank"),
        cluster=ClusterSection(members=(MemberConfig(id=1, peer=peer, client=client),), id=new_id),
    )
    write_config("c2.toml", config)
    with open("c2.log", "w") as log:
        node = subprocess.Popen([sys.executable, "-c", PROGRAM, "node", "--config", "c2.toml"], stderr=log)
    try:
        deadline = time.monotonic() + 20
        while (ran := run("query", "balance", '["bob"]', "--address", client)).code and time.monotonic() < deadline:
            time.sleep(0.1)
        assert ran == Ran(0, "3\n", "")
        assert run("call", "deposit", '["bob", 3]', "--key", "k", "--address", client).out == "3\n"
        assert json.loads(run("status", client, "--json").out)["cluster_id"] == new_id
        node.terminate()
        assert node.wait(20) == 0
    finally:
        node.kill()
        node.wait()


def child_of(parent: int) -> int:
    """The process that another one has started."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    if children.exists() and (found := children.read_text().split()):
        return int(found[0])
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                return int(path.parent.name)
    raise AssertionError("it has no child")


def test_a_cluster_with_tls(directory: Path) -> None:
    """--tls makes certificates, the nodes use them, and the local commands show theirs; a plain client is refused."""
    with up("--tls", "--nodes", "1", nodes=1):
        assert run("call", "deposit", '["bob", 3]').out == "3\n"
        assert run("member", "transfer", "1", "--json").code in (0, 2)
        address = load_local("c1/cluster.toml").addresses[0]
        local = Path("state", "rsm", "cluster")
        local.unlink()
        assert run("status", address).code != 0


def test_a_machine_that_cannot_start_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that refuses ends everything with its own last words and its exit code; nothing is restarted in a loop."""
    assert made("--nodes", "1", monkeypatch=monkeypatch).code == 0
    (directory / "c1" / "node-1.toml").write_text("[node]\nid = 0\n")
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, "cluster", "up", "--machine", "bank:Bank", "--dir", "c1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 2
    assert "node 1 ended with exit code 2, and would do so again: it stays down" in ran.stderr
    assert "node-1.toml: [node] 'directory' is missing" in ran.stderr
    assert ran.stdout.splitlines()[-1] == "1 node stopped"


def made(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a cluster without running it."""
    monkeypatch.setattr(cluster_command.Running, "run", lambda _: 0)
    return run("cluster", "up", "--machine", "bank:Bank", "--dir", "c1", *arguments)


def free_base() -> int:
    """A port from which on nine are free, below those that the system gives away by itself."""
    for base in range(15000 + 9 * (os.getpid() % 1000), 30000, 9):
        with contextlib.suppress(OSError), contextlib.ExitStack() as sockets:
            for port in range(base, base + 9):
                sockets.enter_context(socket.create_server(("127.0.0.1", port)))
            return base
    raise AssertionError("no free ports")


def test_ports_as_given(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--base-port gives three ports a node, one behind the other; one that is taken is named with its node."""
    base = free_base()
    assert made("--base-port", str(base), monkeypatch=monkeypatch).code == 0
    nodes = load_local("c1/cluster.toml").nodes
    assert [(node.peer, node.client, node.web) for node in nodes] == [
        tuple(f"127.0.0.1:{base + 3 * place + offset}" for offset in range(3)) for place in range(3)
    ]
    with socket.create_server(("127.0.0.1", base + 4)):
        ran = made(monkeypatch=monkeypatch)
    assert ran.code == 2
    assert f"127.0.0.1:{base + 4}: node 2 cannot listen there: Address already in use" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nodes", "3"], "this cluster has 2 nodes"),
        (["--from", "bank-data"], "exists already: leave out --from"),
        (["--tls"], "was made without TLS"),
        (["--base-port", "9"], "has its ports already"),
        (["--snapshot-log-bytes", "9"], "set snapshot_log_bytes below"),
        (["--hash-seconds", "0"], "set hash_seconds below"),
        (["--machine", "other:Other"], "this is a cluster of machine 'bank', not of 'other'"),
    ],
)
def test_another_cluster_than_the_one_that_is_there(
    directory: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    """What does not fit the cluster in the directory is refused in one line."""
    (directory / "other.py").write_text("import rsm\nclass Other(rsm.StateMachine, name='other'):\n    x: int\n")
    assert made("--nodes", "2", monkeypatch=monkeypatch).code == 0
    ran = made(*arguments, monkeypatch=monkeypatch)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_a_failure_leaves_nothing_behind(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is none, a strange directory and a class that is none make no cluster."""
    ran = made("--from", "nothing", monkeypatch=monkeypatch)
    assert ran.code == 2
    assert "nothing: not the directory of a machine" in ran.err
    assert not Path("c1").exists()
    Path("c1").mkdir()
    assert made("--from", "nothing", monkeypatch=monkeypatch).code == 2
    assert list(Path("c1").iterdir()) == []
    Path("c1", "mine").write_text("")
    ran = made(monkeypatch=monkeypatch)
    assert "c1: holds mine but no cluster.toml" in ran.err
    assert [path.name for path in Path("c1").iterdir()] == ["mine"]
    Path("file").write_text("")
    assert run("cluster", "up", "--machine", "bank:Bank", "--dir", "file").code == 2
    assert run("cluster", "up", "--machine", "bank:Nothing", "--dir", "c2").code == 2
    assert not Path("c2").exists()


def test_a_node_by_itself(directory: Path) -> None:
    """`rsm node` needs a file that is right and a machine; what is wrong is one line."""
    ran = run("node", "--config", "nothing.toml")
    assert (ran.code, ran.out) == (2, "")
    assert "nothing.toml: cannot be read" in ran.err
    Path("node.toml").write_text(
        "[node]\nid = 1\ndirectory = 'd'\npeer_listen = '127.0.0.1:0'\nclient_listen = '127.0.0.1:0'\n"
        "[cluster]\nmembers = [{id = 1, peer = '127.0.0.1:0', client = '127.0.0.1:0'}]\n"
    )
    ran = run("node", "--config", "node.toml")
    assert ran.code == 2
    assert "node.toml: which machine?" in ran.err
    ran = run("node", "--config", "node.toml", "--machine", "bank:Nothing")
    assert ran.code == 2
    assert "has no Nothing" in ran.err
