"""Observers of three real node processes: a leader's death, a node's restart, a log that is cut behind them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from rsm.errors import RsmError
from rsm.node.config import LimitsSection
from rsm.replica.replica import Replica
from tests.faults.cluster_machine import Board
from tests.faults.cluster_processes import ClusterProcesses, until
from tests.feed_client import Observing, restored
from tests.raw_client import Raw

# Clusters beside each other would measure each other's load.
pytestmark = pytest.mark.xdist_group("cluster")

LIMITS: Final = LimitsSection(durability="os", snapshot_log_bytes=300_000, hash_seconds=0.0)
NOTE_BYTES: Final = 4_000


class Feed:
    """An observer of one node, in a thread of its own: it may be slow, and must not hold up the test."""

    def __init__(self, address: str, after: int = 0, chain: bytes = b"", *, snapshot: bool = False) -> None:
        self.raw = Raw(address)
        assert self.raw.frame() is not None
        self.seen = Observing(self.raw, after, chain, snapshot=snapshot)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self.seen.is_closed and self.seen.failure is None:
                self.seen.step()
        except OSError:
            return  # closed by the test, or no word for long
        except BaseException as error:
            self.error = error

    def close(self) -> Observing:
        """What it has seen."""
        with suppress(OSError):
            self.raw.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self.raw.socket.close()
        assert self.error is None, repr(self.error)
        return self.seen


class Writing:
    """Somebody who writes all the time, and over changes of leader."""

    def __init__(self) -> None:
        self.written = 0
        self.is_over = threading.Event()


@contextmanager
def writing(cluster: ClusterProcesses) -> Iterator[Writing]:
    state = Writing()

    def run() -> None:
        with cluster.connect(timeout_seconds=30) as board:
            while not state.is_over.is_set():
                try:
                    board.note(b"%8d" % state.written * (NOTE_BYTES // 8))
                    board.add("all", 1)
                    state.written += 1
                except RsmError:
                    time.sleep(0.05)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.is_over.set()
        thread.join(40)


def more(state: Writing, count: int = 60) -> None:
    """Wait until so much more is written."""
    wanted = state.written + count
    until(lambda: state.written >= wanted, f"{count} writes")


def arrived(name: str, feed: Feed, index: int) -> None:
    """Wait until an observer has come to an index."""
    until(lambda: feed.seen.index >= index, lambda: f"{name} is at {feed.seen.index}, not at {index}")


def test_observers_of_a_cluster_that_is_harmed(tmp_path: Path) -> None:
    """One on a follower sees neither the leader's death nor compaction; the others go on elsewhere, or from a snapshot;
    what they have replays to the roots that the nodes have.
    """
    with ClusterProcesses(tmp_path, limits=LIMITS) as cluster:
        first = cluster.leader()
        calm, other = (number for number in cluster.nodes if number != first)
        address = {number: node.client for number, node in cluster.nodes.items()}
        with writing(cluster) as state:
            more(state, 5)
            steady, lost = Feed(address[calm]), Feed(address[first])
            more(state)
            # The leader dies: its observer goes on with another node, behind what it has.
            cluster.kill(first)
            held = lost.close()
            assert held.is_closed
            assert not held.skips
            moved = Feed(address[other], held.index, held.chain)
            cluster.leader()
            more(state)
            # The log is cut behind them.
            until(lambda: (found := cluster.status(calm)) is not None and found.first_index > 1, "compaction", 60)
            cluster.start(first)
            cluster.caught_up(first)
            # One that comes late is skipped forward, one that asks for a snapshot gets it, and a fresh one.
            late, new = Feed(address[calm]), Feed(address[calm], snapshot=True)
            more(state)
        cluster.one_root()
        last = max(status.applied_index for status in cluster.statuses())
        root = {status.root_index: status.root for status in cluster.statuses()}
        feeds = {"steady": steady, "moved": moved, "late": late, "new": new}
        for name, feed in feeds.items():
            arrived(name, feed, last)
        status = cluster.status(calm)
        assert status is not None
        assert status.observers == 3
        seen = {name: feed.close() for name, feed in feeds.items()}

    assert not seen["steady"].skips
    assert not seen["moved"].skips
    entries = seen["steady"].entries
    assert held.entries + seen["moved"].entries == entries[: len(held.entries) + len(seen["moved"].entries)]
    replica = Replica(Board)
    replica.is_lone = False
    for entry in entries:
        applied = replica.apply(entry)
        if entry.index in seen["steady"].roots:
            assert applied.root == seen["steady"].roots[entry.index]
    assert len(seen["steady"].roots) > 100
    (index,) = root
    assert replica.roots[index].hex() == root[index]
    assert len(seen["late"].skips) == 1
    assert not seen["new"].skips
    for name in ("late", "new"):
        ((at, file),) = seen[name].snapshots
        copy = restored(Board, at, file)
        copy.is_lone = False
        for entry in seen[name].entries:
            copy.apply(entry)
        assert copy.root() == replica.root(), name


def test_an_observer_goes_on_when_its_node_has_restarted(tmp_path: Path) -> None:
    """It names what it holds, and has no gap; a node that has just started sends observers elsewhere until it knows."""
    limits = LimitsSection(durability="os", hash_seconds=0.0)  # the log stays whole, however long the start takes
    with ClusterProcesses(tmp_path, limits=limits) as cluster:
        number = cluster.follower()
        address = cluster.nodes[number].client
        with writing(cluster) as state:
            more(state, 5)
            before = Feed(address)
            more(state, 20)
            assert cluster.stop(number) == [0]
            held = before.close()
            cluster.start(number)
            cluster.caught_up(number)
            more(state, 20)
        cluster.one_root()
        last = max(status.applied_index for status in cluster.statuses())
        after = Feed(address, held.index, held.chain)
        arrived("the observer", after, last)
        seen = after.close()
        assert not seen.skips
        assert [entry.index for entry in held.entries + seen.entries] == list(range(1, last + 1))
