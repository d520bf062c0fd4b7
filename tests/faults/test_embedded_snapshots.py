"""Snapshots of a running machine: taken while commands flow, damaged, missing, foreign, slow, in everybody's way."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.errors import StorageError
from rsm.node import embedded
from rsm.testing.disk import FaultDisk
from tests.faults.ledger_machine import Ledger


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of some dozens of entries, so that compaction has something to drop."""
    monkeypatch.setattr(embedded, "SEGMENT_BYTES_MIN", 0)
    monkeypatch.setattr(embedded, "SEGMENT_BYTES", 4000)


def book(client: Any, numbers: range, wide: int = 50) -> None:
    """Book numbers, a batch at a time."""
    for pending in [client.move.send(number, f"a{number % wide}", f"b{number % wide}", 1) for number in numbers]:
        pending.result(30)


def snapshots_in(directory: Path) -> list[Path]:
    """The snapshot files, oldest first."""
    return sorted((directory / "snapshots").glob("*.snapshot"))


def spoil(path: Path, at: float = 0.5) -> None:
    """Flip a bit somewhere in a file."""
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 4
    path.write_bytes(data)


def first_index(directory: Path) -> int:
    """Where the log begins."""
    return int(sorted(os.listdir(directory / "log"))[0].removesuffix(".log"))


def with_snapshots(directory: Path, snapshots: int = 3, each: int = 100) -> int:
    """Make a ledger with so many snapshots taken; how many bookings it has."""
    with rsm.open(Ledger, directory) as client:
        for number in range(snapshots):
            for one in range(each):
                client.move(number * each + one, "a", "b", 1)
            client.snapshot()
    return snapshots * each


def check(directory: Path, count: int) -> None:
    """The ledger is whole, complete, and lives on."""
    with rsm.open(Ledger, directory) as client:
        assert client.audit() == ""
        assert sorted(client.numbers()) == list(range(count))
        assert client.move(10**6, "a", "b", 1) == count + 1


@pytest.mark.usefixtures("small_segments")
def test_snapshots_are_taken_while_commands_flow_and_the_log_stays_short(tmp_path: Path) -> None:
    """Several threads book through dozens of snapshots; two are kept, with the log that the older one needs."""
    client = rsm.open(Ledger, tmp_path / "m", snapshot_log_bytes=3000)
    threads = [threading.Thread(target=book, args=(client, range(n * 1000, n * 1000 + 600))) for n in range(4)]
    for thread in threads:
        thread.start()
    taken = set()
    while any(thread.is_alive() for thread in threads):
        taken.add(client.status().snapshot_index)
        time.sleep(0.001)
    for one in range(400):
        client.move(10_000 + one, "a", "b", 1)
        taken.add(client.status().snapshot_index)
    client.close()
    assert len(taken) > 2
    kept = [int(path.stem) for path in snapshots_in(tmp_path / "m")]
    assert len(kept) == 2
    assert 1 < first_index(tmp_path / "m") <= kept[0] + 1
    with rsm.open(Ledger, tmp_path / "m") as again:
        assert again.audit() == ""
        assert len(again.numbers()) == 4 * 600 + 400
        assert [event.value for event in again.events()] == again.numbers()


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("at", [0.0, 0.001, 0.5, 0.999])
def test_a_damaged_newest_snapshot_is_set_aside_and_the_one_before_used(
    tmp_path: Path, at: float, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported with file and offset, no command is lost, and it never counts as one of the two that are kept."""
    count = with_snapshots(tmp_path / "m")
    older, newest = snapshots_in(tmp_path / "m")
    assert first_index(tmp_path / "m") > 1
    spoil(newest, at)
    caplog.clear()
    with rsm.open(Ledger, tmp_path / "m") as client:
        reports = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert len(reports) == 1
        assert newest.name in reports[0]
        assert "offset" in reports[0]
        assert snapshots_in(tmp_path / "m") == [older]
        assert (tmp_path / "m" / "snapshots" / f"{newest.name}.unreadable").exists()
        assert client.status().snapshot_index == int(older.stem)
        assert sorted(client.numbers()) == list(range(count))
        client.snapshot()
        assert older in snapshots_in(tmp_path / "m")
        assert first_index(tmp_path / "m") <= int(older.stem) + 1
    caplog.clear()
    check(tmp_path / "m", count)
    assert caplog.records == []


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("what", ["truncated", "empty", "foreign", "renamed"])
def test_whatever_else_is_wrong_with_the_newest_the_one_before_is_used(tmp_path: Path, what: str) -> None:
    """Cut short, empty, of another machine's life, or another snapshot under its name."""
    count = with_snapshots(tmp_path / "m")
    older, newest = snapshots_in(tmp_path / "m")
    if what == "truncated":
        newest.write_bytes(newest.read_bytes()[:-30])
    elif what == "empty":
        newest.write_bytes(b"")
    elif what == "renamed":
        shutil.copy(older, newest)
    else:
        # The same commands at the same indexes, in another log: another cluster, other stamps, another chain.
        with_snapshots(tmp_path / "other")
        shutil.copy(snapshots_in(tmp_path / "other")[-1], newest)
        assert snapshots_in(tmp_path / "other")[-1].name == newest.name
    check(tmp_path / "m", count)


@pytest.mark.usefixtures("small_segments")
def test_without_any_readable_snapshot_a_compacted_log_is_refused_and_left_alone(tmp_path: Path) -> None:
    """One line with file and offset; and when the files are put back, all is there."""
    count = with_snapshots(tmp_path / "m")
    shutil.copytree(tmp_path / "m" / "snapshots", tmp_path / "saved")
    for path in snapshots_in(tmp_path / "m"):
        spoil(path)
    for _ in range(2):
        with pytest.raises(rsm.CorruptFile, match=r"\.snapshot: offset \d+") as caught:
            rsm.open(Ledger, tmp_path / "m")
        assert "\n" not in str(caught.value)
    for path in snapshots_in(tmp_path / "m"):
        path.unlink()
    with pytest.raises(rsm.CorruptFile, match="no snapshot that it continues"):
        rsm.open(Ledger, tmp_path / "m")
    shutil.rmtree(tmp_path / "m" / "snapshots")
    shutil.copytree(tmp_path / "saved", tmp_path / "m" / "snapshots")
    check(tmp_path / "m", count)


def test_a_whole_log_needs_no_snapshot(tmp_path: Path) -> None:
    """All of them damaged, but the log begins at 1: replayed from the start, and the damage is reported."""
    count = with_snapshots(tmp_path / "m")
    assert first_index(tmp_path / "m") == 1
    for path in snapshots_in(tmp_path / "m"):
        spoil(path)
    check(tmp_path / "m", count)
    assert len(list((tmp_path / "m" / "snapshots").glob("*.unreadable"))) == 2


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    """Half a snapshot under its temporary name is nobody's snapshot."""
    count = with_snapshots(tmp_path / "m")
    newest = snapshots_in(tmp_path / "m")[-1]
    half = newest.with_name(f"{int(newest.stem) + 50:020d}.snapshot.tmp")
    half.write_bytes(newest.read_bytes()[:100])
    check(tmp_path / "m", count)
    assert not half.exists()


def test_many_short_lives_do_not_make_an_endless_log(tmp_path: Path) -> None:
    """What earlier processes wrote counts towards the next snapshot: no life alone writes enough for one."""
    indexes = []
    for life in range(8):
        with rsm.open(Ledger, tmp_path / "m", snapshot_log_bytes=12_000) as client:
            for number in range(60):
                client.move(life * 60 + number, "a", "b", 1)
            indexes.append(client.status().snapshot_index)
    assert indexes[0] == 0
    assert len(set(indexes)) > 2
    check(tmp_path / "m", 480)


class SlowDisk(FaultDisk):
    """A disk on which snapshots take their time, or fail half-way."""

    delay = 0.0
    fail_after: int | None = None

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> Any:
        file = super().open(path, create=create, writable=writable)
        return SlowFile(self, file) if ".snapshot" in path and create else file


class SlowFile:
    """One snapshot file."""

    def __init__(self, disk: SlowDisk, file: Any) -> None:
        self._disk = disk
        self._file = file
        self._writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def pwrite(self, data: bytes, offset: int) -> None:
        time.sleep(self._disk.delay)
        self._writes += 1
        if self._disk.fail_after is not None and self._writes > self._disk.fail_after:
            raise StorageError(f"{self._file.path}: cannot write: as the test wants it")
        self._file.pwrite(data, offset)


class Wide(rsm.StateMachine, name="wide", version=1):
    """A machine with a state of many chunks."""

    blobs: rsm.Map[int, bytes]

    @rsm.command()
    def put(self, ctx: rsm.Context, number: int, size: int) -> int:
        self.blobs[number] = bytes([number % 256]) * size
        return number

    @rsm.query
    def sizes(self) -> Iterator[tuple[int, int]]:
        for number, blob in self.blobs.items():
            yield number, len(blob)


def open_wide(disk: FaultDisk) -> Any:
    """A client of a wide machine with 12 MiB of state: three times what the snapshot's queue holds."""
    from rsm.client.proxy import Proxy, open_session
    from rsm.node.embedded import Embedded

    runtime = Embedded(Wide, "wide", disk=disk)
    client = Proxy(runtime, Wide.definition, open_session(runtime, "", 0), owns_runtime=True)
    if not list(client.sizes()):
        for pending in [client.put.send(number, 60_000) for number in range(200)]:
            pending.result(30)
    return client


def test_commands_do_not_wait_for_a_slow_snapshot() -> None:
    """While each record takes 5 ms to write and the queue is full, commands are answered all the same."""
    disk = SlowDisk()
    client = open_wide(disk)
    disk.delay = 0.005
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(client.snapshot()))
    thread.start()
    waits = []
    number = 1000
    while thread.is_alive():
        started = time.monotonic()
        client.put(number, 10)
        client.put(number % 200, 20)
        waits.append(time.monotonic() - started)
        number += 1
    assert len(waits) > 50
    assert sorted(waits)[len(waits) // 2] < 0.05
    assert done == [client.status().snapshot_index]
    expected = dict(client.sizes())
    client.close()
    again = open_wide(disk)
    assert dict(again.sizes()) == expected
    again.close()


def test_everyone_who_asks_for_a_snapshot_gets_one() -> None:
    """Requests that come while one is being written are served by the next, without any command in between."""
    disk = SlowDisk()
    client = open_wide(disk)
    disk.delay = 0.0005
    indexes: list[int] = []

    def ask() -> None:
        for _ in range(2):
            indexes.append(client.snapshot())

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert len(indexes) == 10
    client.close()


@pytest.mark.parametrize("fail_after", [0, 1, 5, 100])
def test_a_writer_that_fails_blocks_nobody(fail_after: int, caplog: pytest.LogCaptureFixture) -> None:
    """With more records than the queue holds to come: the asker is told, commands go on, the next one succeeds."""
    disk = SlowDisk()
    client = open_wide(disk)
    disk.fail_after, disk.delay = fail_after, 0.001
    with pytest.raises(StorageError, match="as the test wants it"):
        client.snapshot()
    assert client.put(5000, 5) == 5000
    disk.fail_after, disk.delay = None, 0.0
    assert client.snapshot() == client.status().snapshot_index
    client.close()
    assert not [path for path in disk.paths() if path.endswith(".tmp")]
    assert sum("no snapshot was written" in record.getMessage() for record in caplog.records) == 1


def test_closing_finishes_the_snapshot_and_stopping_drops_it(caplog: pytest.LogCaptureFixture) -> None:
    """A close waits for what was begun; a machine that fails leaves no half snapshot under a whole one's name."""
    disk = SlowDisk()
    client = open_wide(disk)
    disk.delay = 0.002
    ends: list[Any] = []

    def ask() -> None:
        try:
            ends.append(client.snapshot())
        except rsm.Closed as error:
            ends.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not any(".snapshot" in path for path in disk.paths()):
        time.sleep(0.001)
    client.close()
    thread.join(10)
    assert isinstance(ends[0], int)
    client = open_wide(disk)
    thread = threading.Thread(target=ask)
    thread.start()
    while not any(path.endswith(".snapshot.tmp") for path in disk.paths()):
        time.sleep(0.001)
    disk.fail_sync_at = disk.syncs + 1
    with pytest.raises(rsm.RsmError):
        client.put(1, 1)
    thread.join(10)
    client.close()
    assert isinstance(ends[1], rsm.Closed)
    disk.fail_sync_at, disk.delay = None, 0.0
    caplog.clear()
    client = open_wide(disk)
    assert [record for record in caplog.records if "snapshot" in record.getMessage()] == []
    client.close()
