"""Directories of a cluster's nodes are made from nothing or from an embedded machine's, and by nobody else opened."""

from __future__ import annotations

import pytest

from rsm.errors import CallerError, DirectoryInUse, WrongMachine
from rsm.node.embedded import Embedded
from rsm.node.opening.bootstrap import is_prepared, prepare
from rsm.node.opening.recovery import recover
from rsm.node.storage.directory import MachineDirectory
from rsm.raft.configuration import Configuration
from rsm.replica.answer import decode
from rsm.testing.disk import FaultDisk, PowerCut, Survival
from tests.cluster_stage import CLUSTER_ID, PATH, Stage
from tests.machines import Bank, Everything

SOURCE = "embedded"


def embedded(disk: FaultDisk, *, snapshot: bool = False) -> bytes:
    """An embedded machine's directory with a session that never expires, closed; the root at its end."""
    runtime = Embedded(Everything, SOURCE, disk=disk)
    session = runtime.open_session("ann", 0)
    for number in range(10):
        runtime.call("put", [f"k{number}", number], session)
    if snapshot:
        runtime.snapshot()
    runtime.call("put", ["last", 1], session)
    runtime.close()
    return runtime.replica.root()


def test_a_fresh_directory_is_prepared_once() -> None:
    """The founders' first entry is their configuration, the same on all; a prepared directory is not made again."""
    stage = Stage()
    heads = set()
    for disk in stage.disks.values():
        assert not is_prepared(disk, PATH)
        assert prepare(disk, PATH, Everything, stage.founders, CLUSTER_ID) == CLUSTER_ID
        assert is_prepared(disk, PATH)
        with MachineDirectory.open(disk, PATH) as directory, directory.open_journal() as journal:
            assert directory.is_recovering
            heads.add((journal.last_index, journal.last_term, journal.last_chain))
        with pytest.raises(CallerError, match="holds a log already"):
            prepare(disk, PATH, Everything, stage.founders, CLUSTER_ID)
    assert len(heads) == 1


def test_a_crash_while_a_directory_is_made_leaves_no_trusted_node() -> None:
    """Whichever write the power is cut in: what counts as prepared either has the mark, or a start sets it."""
    opened = 0
    for write in range(1, 60):
        disk = FaultDisk()
        disk.cut_at_write = write
        try:
            prepare(disk, PATH, Everything, Stage().founders, CLUSTER_ID)
            break
        except PowerCut:
            for survival in Survival:
                stage = Stage()
                stage.disks[3] = disk.restart(survival, seed=write)
                if is_prepared(stage.disks[3], PATH):
                    stage.start(3, leader=False)
                    assert stage.members[3].is_recovering, (write, survival)
                    opened += 1
    assert write < 59
    assert opened > 4


@pytest.mark.parametrize("snapshot", [False, True])
def test_an_embedded_machine_becomes_a_cluster(snapshot: bool) -> None:
    """Three nodes from its directory: the same state, endless sessions closed, roots equal; the source is unchanged."""
    stage = Stage()
    source = FaultDisk()
    root = embedded(source, snapshot=snapshot)
    for number in stage.disks:
        stage.disks[number] = disk = source.clone()
        before = {path: disk.contents(path) for path in disk.paths() if not path.endswith("lock")}
        cluster_id = prepare(disk, PATH, Everything, stage.founders, bytes(16), source=SOURCE)
        assert cluster_id != bytes(16)
        assert {path: disk.contents(path) for path in before} == before
        stage.start(number, leader=False)
        assert not stage.members[number].is_recovering
    del stage.members[3]  # a quorum is enough: it has everything
    stage.disks[3].process_died()
    leader = stage.leader()
    assert leader.replica.system.configuration == stage.founders.encode()
    stage.until(lambda: not [one for one in leader.replica.sessions.values() if one.ttl == 0])
    assert not leader.replica.sessions
    assert decode(leader.replica.query("word", ["last"])) == 1
    stage.start(3)
    stage.do(stage.session(), "put", "last", 2)
    stage.settle()
    assert stage.leader().replica.root() != root


def test_what_cannot_be_taken_over() -> None:
    """A node of a cluster, another machine, a machine that runs, and a target that is there."""
    disk = FaultDisk()
    embedded(disk)
    founders = Stage().founders
    with pytest.raises(WrongMachine):
        prepare(disk, PATH, Bank, founders, CLUSTER_ID, source=SOURCE)
    running = Embedded(Everything, SOURCE, disk=disk)
    with pytest.raises(DirectoryInUse):
        prepare(disk, PATH, Everything, founders, CLUSTER_ID, source=SOURCE)
    running.close()
    prepare(disk, PATH, Everything, founders, CLUSTER_ID, source=SOURCE)
    with pytest.raises(CallerError):
        prepare(disk, PATH, Everything, founders, CLUSTER_ID, source=SOURCE)
    with pytest.raises(CallerError, match="belongs to a node of a cluster"):
        prepare(disk, "other", Everything, founders, CLUSTER_ID, source=PATH)


def everything(disk: FaultDisk) -> dict[str, bytes]:
    """Every byte but the zeros that are written ahead of a log, which go when it is closed."""
    return {path: disk.contents(path).rstrip(b"\0") for path in disk.paths() if not path.endswith("/lock")}


@pytest.mark.parametrize("state", ["joining", "fresh", "ran", "compacted", "torn", "compacted and torn", "recovering"])
def test_a_lone_machine_does_not_open_the_directory_of_a_node(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rsm.open` refuses it in one line and changes no byte: no new term, no cut, nothing set aside."""
    stage = Stage(snapshot_log_bytes=64 * 1024 if "compacted" in state else 10**9)
    if state in ("joining", "fresh"):
        founders = stage.founders if state == "fresh" else Configuration()
        prepare(stage.disks[1], PATH, Everything, founders, CLUSTER_ID)
    else:
        stage.start()
        session = stage.session()
        for number in range(60 if "compacted" in state else 2):
            stage.do(session, "put", f"{number} {'x' * 8_000}", number)
            if number % 20 == 19:
                stage.settle()
                stage.run(1.5)  # the log goes once a snapshot is confirmed, with the next one
        stage.settle()
        stage.crash(1)
    disk = stage.disks[1]
    if "compacted" in state:
        assert f"{PATH}/log/{1:020}.log" not in disk.paths()
    if "torn" in state:
        path = max(path for path in disk.paths() if path.endswith(".log"))
        disk.put(path, disk.contents(path).rstrip(b"\0")[:-3])
    if state == "recovering":
        with MachineDirectory.open(disk, PATH) as directory:
            directory.mark_recovering()
    before = everything(disk)
    with pytest.raises(WrongMachine, match="belongs to a node of a cluster") as refused:
        Embedded(Everything, PATH, disk=disk)
    assert "\n" not in str(refused.value)
    assert str(refused.value).count(PATH) == 1
    with pytest.raises(WrongMachine, match="belongs to a node of a cluster"):
        recover(Everything, PATH, disk)
    assert everything(disk) == before
    stage.start(1, leader=False)


def test_the_source_of_a_cluster_still_opens_alone() -> None:
    """Taking over copies: the embedded directory is what it was, and its owner may go on with it."""
    disk = FaultDisk()
    root = embedded(disk)
    prepare(disk, PATH, Everything, Stage().founders, CLUSTER_ID, source=SOURCE)
    again = Embedded(Everything, SOURCE, disk=disk)
    assert again.call("put", ["last", 3], again.open_session("", 0)).status == 0
    again.close()
    assert again.replica.root() != root
