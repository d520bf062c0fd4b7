"""Observers of real node processes in trouble: cut off, gone and back, upgraded, wrong; and behind TLS."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import pytest

import rsm
from rsm.cli.main import main
from rsm.node.network.tls import TlsOptions
from tests.faults.cluster_machine import Board
from tests.faults.cluster_processes import PATIENCE_SECONDS, ClusterProcesses, until
from tests.faults.link_proxy import Mode
from tests.faults.upgraded_machine import NextBoard
from tests.observed_bank import Bank, planted

pytestmark = pytest.mark.xdist_group("cluster")

BANK: Final = "tests.observed_bank:Bank"


def observe(cluster: ClusterProcesses, addresses: list[str] | None = None, **options: Any) -> rsm.Observer[Any]:
    """An observer of the cluster's machine."""
    machine = options.pop("machine", cluster.machine_class)
    return rsm.observe(machine, addresses or cluster.addresses, timeout_seconds=PATIENCE_SECONDS, **options)


def follow(observer: rsm.Observer[Any], is_there: Callable[[], Any]) -> list[rsm.Update]:
    """All that comes until it is as wanted."""
    found: list[rsm.Update] = []

    def look() -> Any:
        update = observer.next(0.1)
        if update is not None:
            found.append(update)
        return is_there()

    until(look, lambda: f"it did not come: {observer.status}")
    return found


def follow_to(observer: rsm.Observer[Any], count: int) -> list[rsm.Update]:
    """All that comes until a board has counted so far."""
    return follow(observer, lambda: observer.machine.counter("a") == count)


def test_a_follower_that_is_cut_off_is_left(tmp_path: Path) -> None:
    """It lives and says so, but hears of no leader: its observer goes on with what the others have."""
    with ClusterProcesses(tmp_path, proxies=True) as cluster, cluster.connect() as board:
        assert cluster.links is not None
        board.add("a", 1)
        alone = cluster.follower()
        cluster.caught_up(alone)
        with observe(cluster, [cluster.nodes[alone].client], from_index=0) as observer:
            follow_to(observer, 1)
            assert observer.status.address == cluster.nodes[alone].client
            cluster.links.set(Mode.CUT, *(link for link in permutations(cluster.nodes, 2) if alone in link))
            board.add("a", 1)
            started = time.monotonic()
            follow_to(observer, 2)
            print(f"it went on after {time.monotonic() - started:.1f} s")
            assert observer.status.address != cluster.nodes[alone].client
            assert not observer.status.snapshots


@pytest.mark.soak
def test_all_nodes_go_away_and_come_back(tmp_path: Path) -> None:
    """Again and again: the observer waits, says why, and goes on where it was."""
    with ClusterProcesses(tmp_path) as cluster:
        cluster.leader()
        with observe(cluster, from_index=0, record=tmp_path / "record") as observer, cluster.connect() as board:
            updates = []
            for count in range(1, 4):
                board.add("a", 1)
                updates += follow_to(observer, count)
                cluster.kill(*cluster.nodes)
                while (update := observer.next(0.5)) is not None:
                    updates.append(update)
                until(lambda: "cannot be reached" in observer.status.error, lambda: str(observer.status))
                cluster.start()
                cluster.leader()
            board.add("a", 1)
            updates += follow_to(observer, 4)
            assert [update.index for update in updates] == list(range(1, observer.index + 1))
            assert not any(update.desync for update in updates)
            assert observer.status.error == ""


@pytest.mark.soak
def test_the_leader_is_killed_during_a_heal(tmp_path: Path) -> None:
    """Who asked it for a snapshot asks the next one."""
    with ClusterProcesses(tmp_path, machine=BANK, machine_class=Bank) as cluster:
        leader = cluster.leader()
        with observe(cluster, from_index=0, trace=True) as observer, cluster.connect() as bank:
            with planted():
                bank.deposit("bob", 2)
                updates = follow(observer, lambda: observer._following._healing is not None)
            cluster.kill(leader)
            opened = [update.desync for update in updates if update.desync is not None]
            assert [desync.verdict for desync in opened] == ["open"]
            updates = follow(observer, lambda: observer._following._healing is None)
            healed = [update.desync for update in updates if update.desync is not None]
            assert [desync.verdict for desync in healed] == ["observer"]
            bank.deposit("bob", 2)
            follow(observer, lambda: observer.machine.balance("bob") == 4)


def test_a_node_that_is_wrong(tmp_path: Path) -> None:
    """Whoever observes it learns that the node differs, or is sent on by it, and never takes over its state."""
    with ClusterProcesses(tmp_path, machine=BANK, machine_class=Bank) as cluster, cluster.connect() as bank:
        bank.deposit("ann", 2)
        wrong = cluster.follower()
        cluster.caught_up(wrong)
        assert cluster.stop(wrong) == [0]
        cluster.configure(cluster.nodes[wrong], machine="tests.faults.wrong_bank:Bank")
        cluster.start(wrong)
        cluster.caught_up(wrong)
        with observe(cluster, [cluster.nodes[wrong].client], from_index=0) as observer:
            follow(observer, lambda: observer.machine.balance("ann") == 2)
            updates = []
            for count in range(1, 6):
                bank.deposit("bob", 2)
                updates += follow(observer, lambda: observer.machine.balance("bob") == 2 * count)  # noqa: B023
                checked = observer.status.roots_checked
                updates += follow(observer, lambda: observer.status.roots_checked > checked)  # noqa: B023
            verdicts = [update.desync.verdict for update in updates if update.desync is not None]
            print(verdicts, observer.status)
            assert set(verdicts) <= {"open", "node"}
            assert observer.status.address != cluster.nodes[wrong].client


def test_an_upgrade_while_it_is_observed(tmp_path: Path) -> None:
    """Who ships the next version goes over with the log; who does not stops before the first entry of it."""
    with ClusterProcesses(tmp_path) as cluster, cluster.connect() as board:
        board.add("a", 1)
        for number in cluster.nodes:
            assert cluster.stop(number) == [0]
            cluster.configure(cluster.nodes[number], machine="tests.faults.upgraded_machine:NextBoard")
            cluster.start(number)
            cluster.caught_up(number)
        record = tmp_path / "record"
        with (
            observe(cluster, machine=NextBoard, from_index=0) as ready,
            observe(cluster, from_index=0, record=record) as old,
        ):
            for observer in (ready, old):
                follow_to(observer, 1)
            until(lambda: main(["upgrade", "commit", "2", "--address", cluster.addresses[0]]) == 0, "the upgrade")
            board.add("a", 1)
            updates = follow_to(ready, 2)
            assert isinstance(ready.machine, NextBoard)
            updates += follow(ready, lambda: any(update.root for update in updates) or ready.status.roots_checked)
            assert not any(update.desync or update.snapshot for update in updates)
            with pytest.raises(rsm.ReleaseMissing, match="version 2"):
                follow(old, lambda: False)
            assert isinstance(old.machine, Board)
            assert old.machine.counter("a") == 1
        with observe(cluster, machine=NextBoard, record=record) as now:
            follow_to(now, 2)


@pytest.mark.soak
def test_certificates_of_observers(tmp_path: Path) -> None:
    """One of `rsm certs init --observer` may observe, and command nothing; one of another CA may not even observe."""
    for name in ("ours", "other"):
        words = ["--nodes", "3", "--client", "client", "--observer", "screen"]
        assert main(["certs", "init", "--dir", str(tmp_path / name), *words]) == 0

    def owner(directory: str, name: str) -> TlsOptions:
        return TlsOptions(*(str(tmp_path / directory / file) for file in ("ca.crt", f"{name}.crt", f"{name}.key")))

    with ClusterProcesses(tmp_path, tls=lambda name: owner("ours", name)) as cluster, cluster.connect() as board:
        board.add("a", 1)
        with observe(cluster, tls=owner("ours", "screen"), from_index=0) as observer:
            follow_to(observer, 1)
            observed = next(node for node in cluster.nodes.values() if node.client == observer.status.address)
            cluster.signal(observed.number, signal.SIGKILL)
            board.add("a", 1)
            follow_to(observer, 2)
        with (
            pytest.raises(rsm.RsmError, match=r"role|observer"),
            rsm.connect(Board, cluster.addresses, tls=owner("ours", "screen"), timeout_seconds=5) as client,
        ):
            client.add("a", 1)
        with pytest.raises(rsm.RsmError, match=r"TLS|certificate"):
            rsm.observe(Board, cluster.addresses, tls=owner("other", "screen"), timeout_seconds=10)
        with pytest.raises(rsm.RsmError):
            rsm.observe(Board, cluster.addresses, timeout_seconds=3)
