"""Three real node processes whose network misbehaves, link by link: writes go on, and no answer is a lie."""

from __future__ import annotations

import time
from itertools import permutations
from pathlib import Path
from typing import Final

import pytest

from tests.faults.cluster_history import harmed
from tests.faults.cluster_processes import ClusterProcesses, until
from tests.faults.link_proxy import Mode

pytestmark = pytest.mark.xdist_group("cluster")

LINK_SECONDS: Final = 0.3


def test_every_link_misbehaves_in_turn(tmp_path: Path) -> None:
    """Each directed link is cut, slow, deaf or dripping for a while: writes go on, since two others have a way."""
    with ClusterProcesses(tmp_path, proxies=True) as cluster, harmed(cluster) as load:
        assert cluster.links is not None
        for mode in (Mode.CUT, Mode.DELAY, Mode.SWALLOW, Mode.SWALLOW_FORTH, Mode.SWALLOW_BACK, Mode.DRIP):
            for link in permutations(cluster.nodes, 2):
                cluster.links.set(mode, link)
                time.sleep(LINK_SECONDS)
                load.wait_for_writes(10)
                cluster.links.set(Mode.PASS, link)


@pytest.mark.parametrize("mode", [Mode.CUT, Mode.SWALLOW])
def test_a_leader_is_cut_off(tmp_path: Path, mode: Mode) -> None:
    """No link of the leader works: the others go on, and it gives up its role rather than answer alone."""
    with ClusterProcesses(tmp_path, proxies=True) as cluster, harmed(cluster) as load:
        assert cluster.links is not None
        leader = cluster.leader()
        links = [link for link in permutations(cluster.nodes, 2) if leader in link]
        since = time.monotonic_ns()
        cluster.links.set(mode, *links)
        load.wait_for_writes()
        print(f"writes went on after {load.resumed_after(since, time.monotonic_ns()):.2f} s ({mode.value})")
        until(lambda: getattr(cluster.status(leader), "role", "leader") != "leader", "the old leader to step down")
        cluster.links.set(Mode.PASS, *links)
        cluster.caught_up(leader)
