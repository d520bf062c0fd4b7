"""Three real node processes go from one release to the next under load: no command fails, one flip, one root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from rsm.codec.record import Entry, RecordKind
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.scan import scan
from rsm.replica.batch import decode_batch
from tests.faults.cluster_history import harmed
from tests.faults.cluster_processes import ClusterProcesses, until
from tests.unit.cli.samples import run

# Clusters beside each other would measure each other's load.
pytestmark = pytest.mark.xdist_group("cluster")

NEXT: Final = "tests.faults.upgraded_machine:NextBoard"


def replace(cluster: ClusterProcesses, number: int, machine: str) -> None:
    """Stop a node as an operator does, edit its file, start it again, and wait for it."""
    assert cluster.stop(number) == [0]
    cluster.configure(cluster.nodes[number], machine=machine)
    cluster.start(number)
    cluster.caught_up(number)


def versions(cluster: ClusterProcesses) -> list[int]:
    """What is in force, as every node says."""
    return [status.version for status in cluster.statuses()]


def flips(node: Path) -> list[int]:
    """Indexes behind which a node's log goes on under another machine version."""
    log: list[Entry] = [one.entry for one in scan(OsDisk(), str(node))]
    batches = [(entry.index, decode_batch(entry.payload)) for entry in log if entry.kind is RecordKind.BATCH]
    return [index for index, batch in batches if batch.is_upgrade]


def test_a_rolling_upgrade_under_load(tmp_path: Path) -> None:
    """Node by node, then at one index; a node that is put back says so, stands by, and goes on when it is upgraded."""
    with ClusterProcesses(tmp_path) as cluster, harmed(cluster) as load:
        address = cluster.addresses[0]
        refused = run("upgrade", "commit", 2, "--address", address)
        assert refused.code == 2
        assert "does not ship version 2" in refused.err
        for number in cluster.nodes:
            replace(cluster, number, NEXT)
            load.wait_for_writes()
            assert set(versions(cluster)) == {1}
            seen = run("upgrade", "status", *cluster.addresses)
            assert seen.code == (0 if number == 3 else 1), seen.out + seen.err
        assert seen.out.splitlines()[-1] == "every voter ships version 2: rsm upgrade commit 2"
        until(lambda: run("upgrade", "commit", 2, "--address", address).code == 0, "the upgrade")
        load.wait_for_writes()
        until(lambda: versions(cluster) == [2, 2, 2], lambda: str(versions(cluster)))
        back = run("upgrade", "commit", 1, "--address", address)
        assert (back.code, back.err) == (2, "rsm: version 2 is in force, and there is no way back to 1\n")

        # Too late to go back: the old release logs and votes, and says why it does no more.
        number = cluster.follower()
        assert cluster.stop(number) == [0]
        cluster.configure(cluster.nodes[number])
        cluster.start(number)
        event = "this node must be upgraded; it logs and votes meanwhile"
        until(lambda: cluster.nodes[number].logged(event), lambda: str(cluster.nodes[number].lines()[-3:]))
        load.wait_for_writes()
        seen = run("upgrade", "status", *cluster.addresses, "--json")
        document = json.loads(seen.out)
        assert (seen.code, document["behind"]) == (1, [number])
        assert {one["node_id"]: one["state"] for one in document["nodes"]}[number] == "outdated"
        assert cluster.stop(number) == [0]
        cluster.configure(cluster.nodes[number], machine=NEXT)
        cluster.start(number)
        cluster.caught_up(number)
    assert not load.gave_up
    found = [flips(node.directory) for node in cluster.nodes.values()]
    assert len(found[0]) == 1
    assert found == [found[0]] * 3
