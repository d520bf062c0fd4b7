"""A bundle is written in small steps, whole or not at all, and everything in it can be read back."""

from __future__ import annotations

import msgspec
import pytest

from rsm.codec.record import RecordKind
from rsm.errors import CallerError
from rsm.limits import BUNDLE_STEP_BYTES
from rsm.node.storage.bundles import BundleHead, created_by, environment, write_bundle
from rsm.node.storage.scan import scan
from rsm.node.storage.snapshots import read_snapshot
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts, restore
from rsm.replica.trace import CommandTrace, PackedTrace, TracingReplica, pack
from rsm.testing.disk import FaultDisk, Survival
from tests.machines import Everything, Log


@pytest.fixture
def log() -> Log:
    """Entries 1 to 140; indexes 64 and 128 are hash points."""
    log = Log()
    session = log.open()
    for number in range(138):
        log.send(session, "put", f"key {number}", number)
    return log


def head_of(log: Log, from_index: int) -> BundleHead:
    """A head that fits."""
    return BundleHead(
        machine="everything",
        version=1,
        from_index=from_index,
        to_index=len(log.entries),
        good_index=from_index,
        expected={32: "ab" * 16},
        found={32: "cd" * 16},
        environment=environment(),
        verdict={"kind": "apply"},
        created_by=created_by(),
    )


def state_at(log: Log, index: int) -> list[tuple[RecordKind, bytes]]:
    """A snapshot's records at a hash point."""
    replica = Replica(Everything)
    for entry in log.entries[:index]:
        replica.apply(entry)
    return list(parts(replica, bytes(16)))


def traces_of(log: Log) -> list[CommandTrace]:
    """What every command did."""
    traces: list[CommandTrace] = []
    replica = TracingReplica(Everything, traces.append)
    for entry in log.entries:
        replica.apply(entry)
    return traces


def test_all_parts_come_back(log: Log) -> None:
    """Snapshot, entries, state, trace and head are those that were given."""
    disk = FaultDisk()
    traces = traces_of(log)
    head = head_of(log, 64)
    snapshot, state = state_at(log, 64), state_at(log, 128)
    steps = write_bundle(
        disk, "/data/evidence/32", head, snapshot=snapshot, entries=log.entries[64:], state=state, trace=traces
    )
    for _ in steps:
        assert not disk.exists("/data/evidence/32/bundle.json") or list(steps) == []
    disk = disk.restart(Survival.NOTHING)
    assert disk.listdir("/data/evidence/32") == ["batches", "bundle.json", "snapshot", "state", "trace"]
    text = disk.contents("/data/evidence/32/bundle.json")
    assert msgspec.json.decode(text, type=BundleHead) == head
    assert msgspec.json.decode(text)["expected"] == {"32": "ab" * 16}
    assert list(read_snapshot(disk, "/data/evidence/32/snapshot")) == snapshot
    assert list(read_snapshot(disk, "/data/evidence/32/state")) == state
    replica = Replica(Everything)
    restore(replica, read_snapshot(disk, "/data/evidence/32/snapshot"))
    for scanned in scan(disk, "/data/evidence/32/batches"):
        replica.apply(scanned.entry)
    assert replica.root() == log.replica.root()
    packed = [
        one
        for _, payload in read_snapshot(disk, "/data/evidence/32/trace")
        for one in msgspec.msgpack.decode(payload, type=list[PackedTrace])
    ]
    assert packed == [pack(trace) for trace in traces]


def test_a_bundle_from_the_beginning_has_no_snapshot(log: Log) -> None:
    """And none of the optional files."""
    disk = FaultDisk()
    list(write_bundle(disk, "/data", head_of(log, 0), snapshot=None, entries=log.entries))
    assert disk.listdir("/data") == ["batches", "bundle.json"]


def test_an_unfinished_bundle_is_none_and_is_written_anew(log: Log) -> None:
    """Wherever it was left or the power went, there is no head; the next attempt begins anew."""
    snapshot = state_at(log, 64)
    stop = 0
    while True:
        disk = FaultDisk()
        steps = write_bundle(disk, "/b", head_of(log, 64), snapshot=snapshot, entries=log.entries[64:])
        taken = [None for _, _ in zip(range(stop), steps, strict=False)]
        if len(taken) < stop:
            break
        steps.close()
        disk = disk.restart(Survival.NOTHING)
        finished = disk.exists("/b/bundle.json")
        if not finished:
            list(write_bundle(disk, "/b", head_of(log, 64), snapshot=snapshot, entries=log.entries[64:]))
            assert disk.listdir("/b") == ["batches", "bundle.json", "snapshot"]
        stop += 1
    assert stop > 3


def test_no_bundle_is_overwritten(log: Log) -> None:
    """Neither another bundle nor somebody's files."""
    disk = FaultDisk()
    list(write_bundle(disk, "/b", head_of(log, 0), snapshot=None, entries=log.entries))
    with pytest.raises(CallerError, match="holds a bundle already"):
        list(write_bundle(disk, "/b", head_of(log, 0), snapshot=None, entries=log.entries))
    disk.mkdir("/other")
    disk.put("/other/letters", b"")
    with pytest.raises(CallerError, match="letters"):
        list(write_bundle(disk, "/other", head_of(log, 0), snapshot=None, entries=log.entries))


def test_steps_are_small(log: Log) -> None:
    """However large the parts are, a step writes about as much as its bound."""
    disk = FaultDisk()
    manifest, *chunks = state_at(log, 64)
    filler = (RecordKind.CHUNK, bytes(BUNDLE_STEP_BYTES // 4))  # compresses well: count what went in
    given = 0

    def counted() -> object:
        nonlocal given
        yield manifest
        for kind, payload in [*chunks, *[filler] * 40]:
            given += len(payload)
            yield kind, payload

    before, most, steps = 0, 0, 0
    for _ in write_bundle(disk, "/b", head_of(log, 64), snapshot=counted(), entries=log.entries[64:]):  # type: ignore[arg-type]
        most, before, steps = max(most, given - before), given, steps + 1
    assert steps > 10
    assert most <= 1.5 * BUNDLE_STEP_BYTES


def test_entries_must_follow_the_snapshot(log: Log) -> None:
    """A gap would make evidence that cannot be replayed."""
    with pytest.raises(CallerError, match="entry 66 as 65"):
        list(write_bundle(FaultDisk(), "/b", head_of(log, 64), snapshot=None, entries=log.entries[65:]))


def test_the_environment_names_what_may_differ() -> None:
    """Texts only, and the settings that make Python compute otherwise are among them."""
    found = environment()
    assert all(type(value) is str for value in found.values())
    assert {"python", "platform", "byteorder", "PYTHONHASHSEED", "TZ", "optimize"} <= set(found)
    assert {"msgspec", "xxhash", "numpy"} <= set(found)
    assert created_by().startswith("rsm")
