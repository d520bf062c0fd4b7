"""Observers of real node processes that are killed, restarted and full of work: no gap, and the cluster's own root."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

import rsm
from rsm.cli.main import main
from rsm.node.config import LimitsSection
from tests.faults.cluster_machine import Board
from tests.faults.cluster_processes import PATIENCE_SECONDS, ClusterProcesses, until

pytestmark = pytest.mark.xdist_group("cluster")

LOAD_SECONDS: Final = 1.0


@contextmanager
def writing(cluster: ClusterProcesses, data: bytes = b"") -> Iterator[list[int]]:
    """Somebody writes all the time, to many keys; the list has one item that counts the writes."""
    count = [0]
    is_over = threading.Event()

    def write() -> None:
        with cluster.connect(timeout_seconds=PATIENCE_SECONDS) as board:
            while not is_over.is_set():
                board.add(f"key{count[0] % 50}", 1)
                if data:
                    board.note(data)
                count[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield count
    finally:
        is_over.set()
        thread.join(2 * PATIENCE_SECONDS)


def follow(observer: rsm.Observer[Board], seconds: float) -> list[rsm.Update]:
    """All that comes in this time."""
    found = []
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        update = observer.next(left)
        if update is not None:
            found.append(update)
    return found


def catch_up(observer: rsm.Observer[Board], cluster: ClusterProcesses) -> list[rsm.Update]:
    """All up to what the cluster has committed now."""
    last = max(status.commit_index for status in cluster.statuses())
    found = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while observer.index < last:
        update = observer.next(max(0.0, deadline - time.monotonic()))
        assert update is not None, f"not at {last}: {observer.status}; {cluster.told()}"
        found.append(update)
    return found


def number_of(cluster: ClusterProcesses, address: str) -> int:
    return next(number for number, node in cluster.nodes.items() if node.client == address)


def total(board: Any) -> int:
    return sum(board.counter(f"key{number}") for number in range(50))


def test_gapless_while_nodes_are_killed(tmp_path: Path) -> None:
    """The leader is killed, then the node that is observed, and both come back: every entry comes once, in order."""
    with ClusterProcesses(tmp_path) as cluster:
        cluster.leader()
        with (
            rsm.observe(Board, cluster.addresses, from_index=0, timeout_seconds=PATIENCE_SECONDS) as observer,
            writing(cluster) as count,
        ):
            updates = follow(observer, LOAD_SECONDS)
            leader = cluster.leader()
            cluster.kill(leader)
            killed_at = count[0]
            until(lambda: count[0] > killed_at + 20, "writes to go on")
            updates += follow(observer, LOAD_SECONDS)
            cluster.start(leader)
            cluster.caught_up(leader)
            observed = number_of(cluster, observer.status.address)
            cluster.kill(observed)
            updates += follow(observer, LOAD_SECONDS)
            assert observer.status.address != cluster.nodes[observed].client
            cluster.start(observed)
            updates += follow(observer, LOAD_SECONDS)
        with rsm.observe(Board, cluster.addresses, from_index=0) as late:
            updates_again = catch_up(late, cluster)
            assert total(late.machine) == count[0]
        assert [update.index for update in updates] == list(range(1, len(updates) + 1))
        assert updates == updates_again[: len(updates)]
        assert not any(update.desync for update in updates)
        assert observer.status.roots_checked > 0
        assert observer.status.reconnects >= 1


def test_a_slow_consumer_is_skipped_forward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not look for a while gets a snapshot instead of the log, and goes on with the cluster's root."""
    monkeypatch.setattr("rsm.client.observing.receiving.OBSERVER_QUEUE_BYTES_MAX", 100_000)
    limits = LimitsSection(snapshot_log_bytes=1024 * 1024)
    with ClusterProcesses(tmp_path, limits=limits) as cluster:
        cluster.leader()
        with rsm.observe(Board, cluster.addresses, from_index=0, timeout_seconds=PATIENCE_SECONDS) as observer:
            with writing(cluster, os.urandom(100_000)) as count:
                assert observer.next(PATIENCE_SECONDS) is not None
                until(lambda: count[0] > 250, "more writes than a node keeps for observers")
                until(lambda: all(one.first_index > 50 for one in cluster.statuses()), "the log to be compacted")
            updates = catch_up(observer, cluster)
            assert any(update.snapshot for update in updates)
            assert observer.status.skipped >= 1
            with cluster.connect() as board:
                board.add("key0", 1)
                last: rsm.Update | None = catch_up(observer, cluster)[-1]
                while last is not None and last.root is None:
                    last = observer.next(PATIENCE_SECONDS)
                assert last is not None
                assert last.desync is None
                roots = {root for one in cluster.statuses() for index, root in one.roots if index == last.index}
                assert roots == {last.root.hex() if last.root else ""}
                assert total(observer.machine) == total(board)


def test_the_records_of_two_observers_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`rsm desync compare` reads them like the directories of nodes; one began later, and one came back."""
    records = [tmp_path / "one", tmp_path / "two"]
    with ClusterProcesses(tmp_path) as cluster:
        cluster.leader()
        with rsm.observe(
            Board, cluster.addresses, record=records[0], from_index=0, timeout_seconds=PATIENCE_SECONDS
        ) as one:
            with writing(cluster):
                follow(one, LOAD_SECONDS)
                with rsm.observe(Board, cluster.addresses[1], record=records[1]) as two:
                    follow(two, LOAD_SECONDS)
                follow(one, LOAD_SECONDS)
            cluster.one_root()
            catch_up(one, cluster)
        with rsm.observe(Board, cluster.addresses[2], record=records[1]) as two:
            catch_up(two, cluster)
        assert main(["desync", "compare", *map(str, records), str(cluster.nodes[1].directory), "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["verdict"] == "agree"
        assert said["roots_compared_to_index"] > 0
        cluster.stop()
