"""`rsm shadow` reads a node's log, compares, and says what would differ; and what it could not read or compare."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rsm.cli import shadow as command
from rsm.cli.target import load_machine
from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.errors import CallerError
from rsm.node.storage.snapshots import SnapshotWriter
from rsm.replica.batch import CONFIRMED, FLAG_HASH_POINT
from rsm.replica.snapshot import parts
from tests.machines import Log
from tests.unit.cli.nodes import Node, Nodes
from tests.unit.cli.samples import DISK, run

V1 = """
from __future__ import annotations
import rsm

class Meter(rsm.StateMachine, name="meter", version=1):
    total: int
    seen: rsm.Map[str, int]

    @rsm.command(version=1)
    def count(self, ctx: rsm.Context, who: str, number: int) -> int:
        print("a handler prints")
        self.total += number // 2
        self.seen[who] = self.total
        return self.total

    @rsm.command(version=1)
    def clear(self, ctx: rsm.Context) -> int:
        self.total = 0
        return 0
"""
ROUNDED = V1.replace("number // 2", "(number + 1) // 2")
V2 = ROUNDED.replace("version=1):\n    total", "version=2, previous=meter_v1.Meter):\n    total").replace(
    "import rsm", "import meter_v1\nimport rsm"
)
SAME = V2.replace("(number + 1) // 2", "number // 2")


class Cluster:
    """One node whose log is that of a replica in memory."""

    def __init__(self, nodes: Nodes, log: Log) -> None:
        self.log = log
        self.nodes = nodes
        self.first_index = 1
        self.committed = len(log.entries)
        for node in nodes.nodes:
            self.attach(node)

    def attach(self, node: Node) -> None:
        """Let a node export the log, and say so in its status."""
        node.export = self.export  # type: ignore[method-assign]
        self.tell()

    def tell(self) -> None:
        for node in self.nodes.nodes:
            node.fields = {
                "machine": "meter",
                "version": 1,
                "first_index": self.first_index,
                "commit_index": self.committed,
            }

    def chain(self, index: int) -> bytes:
        chain = ZERO_CHAIN
        for entry in self.log.entries[:index]:
            chain = next_chain(chain, entry.index, entry.term, entry.kind, entry.payload)
        return chain

    def export(self, first: int, last: int) -> Iterator[Any]:
        """As a runner does, three entries a part."""
        last = min(last or self.committed, self.committed)
        if not self.first_index <= first <= last + 1:
            raise CallerError(f"index {first} is not in the log, which holds {self.first_index} to {self.committed}")
        head: Any = {
            "cluster_id": bytes(range(16)),
            "group_id": 0,
            "first_index": first,
            "previous_term": 1 if first > 1 else 0,
            "previous_chain": self.chain(first - 1),
        }
        while first <= last or head is not None:
            part = [
                [entry.index, entry.term, int(entry.kind), entry.payload, self.chain(entry.index)]
                for entry in self.log.entries[first - 1 : min(last, first + 2)]
            ]
            yield head, part
            first, head = first + len(part), None


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with all releases, importable; no cluster is known but those of the test."""
    for name, text in (("meter_v1", V1), ("meter_v2", V2), ("meter_same", SAME), ("meter_rounded", ROUNDED)):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("RSM_ADDRESSES", "RSM_TLS_CA", "RSM_TLS_CERT", "RSM_TLS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(command, "POLL_SECONDS", 0.01)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("meter_")]:
        del sys.modules[name]


@pytest.fixture
def cluster(code: Path) -> Iterator[Cluster]:
    """Two counts by an even number, one by an odd one, a hash point and its confirmation."""
    log = Log(load_machine("meter_v1:Meter"))
    session = log.open("ann")
    log.send(session, "count", "ann", 2)
    log.send(session, "count", "bob", 4)
    log.send(session, "count", "ann", 3)
    root = log.entry([], FLAG_HASH_POINT).root
    log.lead(CONFIRMED, len(log.entries), root)
    with Nodes(1) as nodes:
        yield Cluster(nodes, log)


def address(cluster: Cluster) -> str:
    return cluster.nodes.addresses[0]


def test_what_would_differ_is_told_by_type(cluster: Cluster) -> None:
    """The report for people: the table, the first command, both values; exit code 1."""
    ran = run("shadow", address(cluster), "--machine", "meter_v2:Meter", "--from", 1, "--for", 0)
    assert ran.code == 1
    assert "meter: version 1 in force, version 2 new; entries 1 to 7, 3 commands: DIFFERENT" in ran.out
    assert "count           3       1       0      1" in ran.out
    assert 'count v1 who="ann" number=3' in ran.out
    assert "count: state differs first at index 5, command 0" in ran.out
    assert "a handler prints" not in ran.out


def test_json_is_one_document(cluster: Cluster) -> None:
    ran = run("shadow", address(cluster), "--machine", "meter_v2:Meter", "--from", 1, "--for", 0, "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["verdict"], document["types"]["count"]["state"]) == (1, "differs", 1)
    paths = document["types"]["count"]["examples"]["state"]["paths"]
    assert paths[0] == {"path": "scalars/'total'", "values": {"present": 4, "new": 5}}


def test_no_difference(cluster: Cluster) -> None:
    """A release that does the same: exit code 0."""
    ran = run("shadow", address(cluster), "--machine", "meter_same:Meter", "--from", 3, "--for", 0)
    assert ran.code == 0
    assert "entries 3 to 7, 3 commands: no difference" in ran.out


def test_the_same_version_with_other_code(cluster: Cluster) -> None:
    """With the old code beside it by type of command; alone by the confirmed roots."""
    words = ("shadow", address(cluster), "--machine", "meter_rounded:Meter", "--from", 1, "--for", 0)
    ran = run(*words, "--against", "meter_v1:Meter")
    assert ran.code == 1
    assert "roots          differ from index 6 on" in ran.out
    alone = run(*words)
    assert alone.code == 1
    assert "the cluster has confirmed root" in alone.out


def test_live_traffic_only_by_default(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --from only what is committed later counts, until Ctrl-C, which ends with the summary."""
    rounds = 0

    def sleep(_: float) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            cluster.log.send(1, "count", "eve", 5)
            cluster.committed = len(cluster.log.entries)
        elif rounds == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "sleep", sleep)
    ran = run("shadow", address(cluster), "--machine", "meter_v2:Meter")
    assert ran.code == 1
    assert "entries 8 to 8, 1 command: DIFFERENT" in ran.out


def test_nothing_seen_is_not_checked(cluster: Cluster) -> None:
    ran = run("shadow", address(cluster), "--machine", "meter_v2:Meter", "--for", 0)
    assert ran.code == 3
    assert "unchecked      no command was seen" in ran.out


def test_a_log_that_was_compacted_needs_a_snapshot(cluster: Cluster, tmp_path: Path) -> None:
    """It says so; with a snapshot that the log reaches back to it works, with an older one not."""
    log = cluster.log
    replica = Log(log.machine)
    for entry in log.entries[1:4]:
        replica.apply(entry)
    replica.replica.roots[4] = replica.replica.root()
    for name, chain in (("good", cluster.chain(4)), ("other", bytes(range(16)))):
        with SnapshotWriter(DISK, str(tmp_path / name), 4, 1, 0) as writer:
            for kind, payload in parts(replica.replica, chain):
                writer.add(kind, payload)
            writer.commit()
    cluster.first_index = 4
    cluster.tell()
    words = ("shadow", address(cluster), "--machine", "meter_v2:Meter", "--for", 0, "--from")
    without = run(*words, 5)
    assert without.code == 3
    assert "its log begins at index 4, and index 1 is wanted: begin from one with --snapshot" in without.out
    having = run(*words, 5, "--snapshot", tmp_path / "good")
    assert (having.code, "entries 5 to 7, 1 command: DIFFERENT" in having.out) == (1, True)
    assert run(*words, 3, "--snapshot", tmp_path / "good").code == 2
    other = run(*words, 5, "--snapshot", tmp_path / "other")
    assert (other.code, "is not what the snapshot" in other.err) == (1, True)
    cluster.first_index = 6
    cluster.tell()
    late = run(*words, 5, "--snapshot", tmp_path / "good")
    assert (late.code, "give a newer --snapshot" in late.out) == (3, True)


def test_what_is_wrong_is_one_line(cluster: Cluster) -> None:
    """Another machine, no such code, nobody there."""
    where = address(cluster)
    cluster.nodes.nodes[0].fields["machine"] = "stall"
    ran = run("shadow", where, "--machine", "meter_v2:Meter")
    assert (ran.code, ran.err) == (2, "rsm: the cluster runs machine 'stall', Meter is 'meter'\n")
    assert run("shadow", where, "--machine", "meter_v9:Meter").code == 2
    cluster.nodes.stop(1)
    gone = run("shadow", where, "--machine", "meter_v2:Meter")
    assert (gone.code, gone.err.count("\n")) == (3, 1)


def test_a_member_that_goes_away_is_waited_for(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """And when nobody comes back, what was seen is told, as not followed to the end."""
    monkeypatch.setattr(command, "SHADOW_SILENCE_SECONDS_MAX", 0.05)
    stopped = False

    def sleep(seconds: float) -> None:
        nonlocal stopped
        if not stopped:
            cluster.nodes.stop(1)
            stopped = True
        time.sleep(seconds)

    monkeypatch.setattr(command, "sleep", sleep)
    ran = run("shadow", address(cluster), "--machine", "meter_same:Meter", "--from", 1)
    assert ran.code == 3
    assert "not followed to the end" in ran.out
    assert "3 commands" in ran.out
