"""Three real node processes, one of which has lost, damaged or full disks: the others go on, and it comes back."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsm.node.config import LimitsSection
from tests.faults.cluster_history import Load, harmed
from tests.faults.cluster_processes import ClusterProcesses, NodeProcess, until

pytestmark = pytest.mark.xdist_group("cluster")


def test_a_follower_loses_its_directory(tmp_path: Path) -> None:
    """A node comes back with nothing: it gets a snapshot, since the log begins later, and the rest, under load."""
    limits = LimitsSection(snapshot_log_bytes=20_000)
    with ClusterProcesses(tmp_path, limits=limits) as cluster, harmed(cluster, pause_seconds=0.001) as load:
        follower = cluster.follower()
        cluster.kill(follower)
        shutil.rmtree(cluster.nodes[follower].directory)
        until(lambda: all(one.first_index > 1 for one in cluster.statuses()), "the log to begin after a snapshot")
        load.wait_for_writes()
        cluster.start(follower)
        cluster.caught_up(follower)
        assert cluster.nodes[follower].logged("an empty directory: waiting for the leader of its cluster")
        status = cluster.status(follower)
        assert status is not None
        assert status.first_index > 1
        assert status.role in ("follower", "leader")


def test_a_bit_of_a_followers_log_is_flipped(tmp_path: Path) -> None:
    """The damage is seen, set aside and fetched again; the node ends with the root of the others."""
    with ClusterProcesses(tmp_path) as cluster, harmed(cluster) as load:
        follower = cluster.follower()
        cluster.kill(follower)
        node = cluster.nodes[follower]
        segment = node.segments()[-1]
        damaged = flip(segment)
        load.wait_for_writes()
        cluster.start(follower)
        cluster.caught_up(follower)
        kept = node.directory / "damaged" / segment.name
        assert kept.read_bytes() == damaged
        (line,) = node.logged("the log is damaged; the rest will be fetched from another node")
        assert str(segment) in line["error"]


def flip(path: Path) -> bytes:
    """Flip a bit in the middle of what was written to a file; its new bytes."""
    data = bytearray(path.read_bytes())
    data[len(data.rstrip(b"\0")) // 2] ^= 0x10
    path.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_disk_is_full_for_a_while(tmp_path: Path, role: str) -> None:
    """ENOSPC on one node: the others go on without it, and when there is room again it catches up by itself."""
    with ClusterProcesses(tmp_path, faulty=(1, 2, 3)) as cluster, harmed(cluster) as load:
        number = cluster.leader() if role == "leader" else cluster.follower()
        full = cluster.nodes[number].faults / "full"
        full.touch()
        load.wait_for_writes()
        full_for_a_while(cluster, load, cluster.nodes[number])
        full.unlink()
        cluster.caught_up(number)


def full_for_a_while(cluster: ClusterProcesses, load: Load, node: NodeProcess) -> None:
    """The node says that its disk is full, and goes on running."""
    until(lambda: any("disk is full" in str(line) for line in node.lines()), "a line about the full disk")
    load.wait_for_writes()
    assert node.is_running, cluster.told()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB, where this user may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs to mount a small file system: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_file_system_is_full(tmp_path: Path, small: Path) -> None:
    """The same on a file system that is really full: the log has used up the room that it had reserved."""
    cluster = ClusterProcesses(tmp_path)
    node = cluster.nodes[3]
    node.directory = small / "node-3"
    cluster.configure(node)
    with cluster, harmed(cluster) as load:
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        with cluster.connect() as board:
            for _ in range(4):
                board.note(os.urandom(400_000))
        full_for_a_while(cluster, load, node)
        filler.unlink()
        cluster.caught_up(3)


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_sync_fails(tmp_path: Path, role: str) -> None:
    """A failed fsync ends the node at once, with its reason; started again on a disk that works, it catches up."""
    with ClusterProcesses(tmp_path, faulty=(1, 2, 3)) as cluster, harmed(cluster) as load:
        number = cluster.leader() if role == "leader" else cluster.follower()
        node = cluster.nodes[number]
        (node.faults / "sync").touch()
        assert cluster.ended(number) == 70
        (line,) = node.logged("the node has stopped")
        assert "cannot sync: the device failed" in line["error"]
        load.wait_for_writes()
        (node.faults / "sync").unlink()
        cluster.start(number)
        cluster.caught_up(number)
