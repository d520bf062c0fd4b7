"""A node whose disk has lost or changed something sets it aside, says so, and gets it back from the others."""

from __future__ import annotations

import os
from typing import Any

import pytest

from rsm.errors import CorruptFile
from rsm.node.opening.salvage import salvage
from rsm.node.storage.directory import MachineDirectory
from rsm.testing.disk import FaultDisk, PowerCut, Survival
from tests.cluster_stage import PATH, Stage
from tests.formats_reader import HEADER_BYTES, read_segment
from tests.machines import Everything

COMMANDS = 30


@pytest.fixture(scope="module")
def history() -> Stage:
    """Three nodes with logs of several segments, all down."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rsm.node.member.SEGMENT_BYTES", 64 * 1024)
        stage = Stage()
        stage.start()
        session = stage.session("ann")
        for number in range(COMMANDS):
            stage.do(session, "put", f"{number} {'x' * 8_000}", number)
        stage.settle()
    for number in (1, 2, 3):
        stage.crash(number)
    assert len(stage.files(3, ".log")) >= 3
    return stage


@pytest.fixture
def stage(history: Stage) -> Stage:
    """A copy of the history."""
    return copy_of(history)


def copy_of(history: Stage) -> Stage:
    stage = Stage(**history.options)
    stage.now = history.now
    stage.disks = {number: disk.clone() for number, disk in history.disks.items()}
    return stage


def check_healed(stage: Stage, number: int) -> None:
    """The node has caught up, is trusted again, and everything that was acknowledged is there."""
    stage.settle()
    node = stage.members[number]
    assert not node.is_recovering
    assert not stage.files(number, "recovering")
    machine: Any = node.replica.machine
    assert {int(key.split()[0]) for key in machine.words if " " in key} >= set(range(COMMANDS))


def last_log(disk: FaultDisk) -> str:
    return max(path for path in disk.paths() if path.endswith(".log"))


def tear(disk: FaultDisk) -> bytes:
    """Let the last record of the log be short; the file as it is then."""
    path = last_log(disk)
    torn = disk.contents(path).rstrip(b"\0")[:-3]
    disk.put(path, torn)
    return torn


def test_a_torn_tail_is_cut_and_the_node_recovers(stage: Stage) -> None:
    """It is marked, cut, and counts again once it has caught up."""
    tear(stage.disks[3])
    stage.start(3, leader=False)
    assert stage.members[3].is_recovering
    assert stage.files(3, "recovering") == ["recovering"]
    stage.start(1, 2)
    check_healed(stage, 3)


def test_the_mark_is_there_before_the_cut(stage: Stage) -> None:
    """Whichever write the power is cut in: a log that is shorter than it was has the mark beside it."""
    disk = stage.disks[3]
    torn = tear(disk)
    cuts = 0
    for write in range(1, 50):
        attempt = disk.clone()
        attempt.cut_at_write = write
        try:
            opened = salvage(Everything, PATH, attempt)
        except PowerCut:
            cuts += 1
            for survival in Survival:
                after = attempt.restart(survival, seed=write)
                is_cut = after.contents(last_log(after)).rstrip(b"\0") != torn
                assert not is_cut or after.exists(f"{PATH}/recovering")
                reopened = salvage(Everything, PATH, after)
                assert reopened.directory.is_recovering
            continue
        assert opened.directory.is_recovering
        break
    assert 2 <= cuts < 49


@pytest.mark.parametrize("segment", ["first", "middle", "last"])
@pytest.mark.parametrize("part", ["header", "payload", "mark", "last record", "head"])
def test_one_flipped_bit_in_a_log(history: Stage, segment: str, part: str) -> None:
    """The segment is kept as evidence, the rest fetched from the others, and the roots agree in the end."""
    stage = copy_of(history)
    paths = stage.files(3, ".log")
    path = {"first": paths[0], "middle": paths[len(paths) // 2], "last": paths[-1]}[segment]
    full = os.path.join(PATH, path)
    records = read_segment(stage.disks[3].contents(full)).entries
    start, end = records[-2].end, records[-1].end
    if part != "last record":
        start, end = records[1].end, records[2].end
    byte = {"header": start + 21, "mark": end - 1, "head": 70}.get(part, start + HEADER_BYTES + 5)
    stage.damage(path, 3, 8 * byte + 2)
    evidence = stage.disks[3].contents(full)
    stage.start(3, leader=False)
    assert stage.members[3].is_recovering
    assert stage.disks[3].contents(f"{PATH}/damaged/{os.path.basename(path)}") == evidence
    stage.start(1, 2)
    check_healed(stage, 3)
    stage.kill(3)
    with MachineDirectory.open(stage.disks[3], PATH) as directory, directory.open_journal() as journal:
        assert journal.last_index == stage.leader().journal.last_index


def test_a_crash_while_damage_is_set_aside_changes_nothing(stage: Stage) -> None:
    """Cut at any write or sync, the next start goes on: evidence whole, the node recovering, the log readable."""
    path = stage.files(3, ".log")[1]
    records = read_segment(stage.disks[3].contents(os.path.join(PATH, path))).entries
    stage.damage(path, 3, 8 * (records[0].end + 70))
    kept = records[0].header["index"]
    evidence = stage.disks[3].contents(os.path.join(PATH, path))
    for write in range(1, 60):
        attempt = stage.disks[3].clone()
        attempt.cut_at_write = write
        try:
            opened = salvage(Everything, PATH, attempt)
            break
        except PowerCut:
            after = attempt.restart(Survival.TORN, seed=write)
            opened = salvage(Everything, PATH, after)
            assert opened.directory.is_recovering
            assert opened.journal.last_index <= kept
            assert after.contents(f"{PATH}/damaged/{os.path.basename(path)}") == evidence
    else:
        raise AssertionError("never done")
    assert opened.journal.last_index == kept
    assert write > 4


def test_a_log_without_its_first_segment(stage: Stage) -> None:
    """A lost segment is damage too: the node fetches everything."""
    stage.disks[3].unlink(os.path.join(PATH, stage.files(3, ".log")[0]))
    stage.start(3, leader=False)
    assert stage.members[3].is_recovering
    stage.start(1, 2)
    check_healed(stage, 3)


def test_a_damaged_term_file(stage: Stage) -> None:
    """Its vote may be forgotten: the node is recovering, and never goes back behind the terms in its log."""
    for slot in (0, 4096):
        stage.damage("term", 3, 8 * (slot + 30))
    stage.start(3, leader=False)
    assert stage.members[3].is_recovering
    assert stage.members[3].term >= stage.members[3].journal.last_term
    assert stage.files(3, "damaged") == ["damaged/term"]
    stage.start(1, 2)
    check_healed(stage, 3)


def test_a_crash_while_the_term_file_is_made_anew(stage: Stage) -> None:
    """Whichever write the power is cut in, the next start opens the directory, recovering; also without a file."""
    for slot in (0, 4096):
        stage.damage("term", 3, 8 * (slot + 30))
    for write in range(1, 60):
        attempt = stage.disks[3].clone()
        attempt.cut_at_write = write
        try:
            salvage(Everything, PATH, attempt)
            break
        except PowerCut:
            opened = salvage(Everything, PATH, attempt.restart(Survival.EVERYTHING))
            assert opened.directory.is_recovering
            assert opened.terms.term >= opened.journal.last_term
    assert 4 < write < 59
    stage.disks[3].unlink(f"{PATH}/term")
    stage.start()
    check_healed(stage, 3)


def test_a_damaged_identity_is_refused(stage: Stage) -> None:
    """Whose directory it is can be fetched from nobody."""
    stage.damage("identity", 3, 8 * 70)
    with pytest.raises(CorruptFile, match="identity"):
        stage.start(3)
    assert not stage.disks[3].is_locked(f"{PATH}/lock")


@pytest.fixture(scope="module")
def compacted() -> Stage:
    """Three nodes that have taken snapshots and dropped the log before them, all down."""
    stage = Stage(snapshot_log_bytes=64 * 1024)
    stage.start()
    session = stage.session("ann")
    for number in range(COMMANDS):
        stage.do(session, "put", f"{number} {'x' * 8_000}", number)
        if number % 10 == 9:
            stage.settle()
    stage.settle()
    stage.run(1.5)  # another hash point, and a snapshot: the first one is confirmed by now, and the log before it goes
    stage.settle()
    for number in (1, 2, 3):
        stage.crash(number)
    return stage


@pytest.mark.parametrize("where", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("which", ["newest", "all"])
def test_one_flipped_bit_in_a_snapshot(compacted: Stage, which: str, where: float) -> None:
    """It is set aside; the node goes on from an older one, or fetches all from the others."""
    stage = copy_of(compacted)
    snapshots = stage.files(3, ".snapshot")
    assert snapshots
    for path in snapshots if which == "all" else snapshots[-1:]:
        size = len(stage.disks[3].contents(os.path.join(PATH, path)))
        stage.damage(path, 3, int(8 * size * where) + 3)
    stage.start(3, leader=False)
    assert stage.files(3, ".unreadable")
    stage.start(1, 2)
    check_healed(stage, 3)
    stage.kill(3)
    stage.start(3)
    check_healed(stage, 3)


def test_the_configuration_is_found_again(compacted: Stage) -> None:
    """When the log does not reach back to the entry that names the members, the snapshot knows them."""
    stage = copy_of(compacted)
    stage.start(3, leader=False)
    node = stage.members[3]
    assert node.journal.first_index > 1
    assert node.configuration == stage.founders
