"""A disk that is full or failing under a running machine: who is told what, what goes on, what a reopen finds."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import rsm
from rsm.testing.disk import FaultDisk
from tests.faults.ledger_machine import open_on


@pytest.fixture
def quiet() -> Iterator[None]:
    """The errors below are what the tests are about."""
    logging.getLogger("rsm").setLevel(logging.CRITICAL + 1)
    yield
    logging.getLogger("rsm").setLevel(logging.NOTSET)


def fill(disk: FaultDisk) -> None:
    """Not one byte more."""
    disk.space_bytes = disk.used_bytes()


def book(client: Any, numbers: range) -> None:
    """Book numbers, several in flight."""
    for pending in [client.move.send(number, "a", "b", 1) for number in numbers]:
        pending.result(30)


def fill_up(disk: FaultDisk, client: Any) -> int:
    """Fill the disk and use up what was written ahead; the number of the booking that was refused."""
    fill(disk)
    for number in range(1000, 100_000):
        pending = client.once(f"k{number}").move.send(number, "a", "b" * 60_000, 1)
        with contextlib.suppress(rsm.StorageError):
            pending.result(10)
            continue
        with pytest.raises(rsm.StorageError, match="the disk is full") as caught:
            pending.result()
        assert "\n" not in str(caught.value)
        return number
    raise AssertionError("the disk never was full")


@pytest.mark.usefixtures("quiet")
def test_a_full_disk_refuses_and_nothing_is_logged() -> None:
    """The caller gets StorageError; the command did not happen and its key is free; with space all goes on in order."""
    disk = FaultDisk()
    client = open_on(disk)
    book(client, range(5))
    refused = fill_up(disk, client)
    journal = client._runtime.journal
    last = journal.last_index
    for _ in range(3):
        pending = [client.move.send(number, "a", "b" * 60_000, 1) for number in (1, 2, 3)]
        for one in pending:
            with pytest.raises(rsm.StorageError):
                one.result(10)
    assert journal.last_index == last
    assert client.audit() == ""
    assert refused not in client.numbers()
    with pytest.raises(rsm.StorageError):
        client.snapshot()
    with pytest.raises(rsm.StorageError):
        client.session(principal="x" * 60_000)
    disk.space_bytes = None
    assert client.outcome(f"k{refused}") == rsm.Outcome("not_applied")
    before = len(client.numbers())
    book(client, range(10))
    assert len(client.numbers()) == before + 10
    client.snapshot()
    client.close()
    again = open_on(disk)
    assert len(again.numbers()) == before + 10
    again.close()


@pytest.mark.usefixtures("quiet")
def test_a_machine_closes_on_a_full_disk_and_opens_when_there_is_space() -> None:
    """close() lets go of the directory although it cannot write; opening there is an error, not half a start."""
    disk = FaultDisk()
    client = open_on(disk)
    book(client, range(5))
    fill_up(disk, client)
    fill(disk)
    count = len(client.numbers())
    client.close()
    fill(disk)
    with pytest.raises(rsm.StorageError, match="the disk is full"):
        open_on(disk, path="another")
    with pytest.raises(rsm.StorageError, match="the disk is full"):
        open_on(disk)
    disk.space_bytes = None
    again = open_on(disk)
    assert len(again.numbers()) == count
    assert again.audit() == ""
    again.close()


def test_timers_on_a_full_disk_wait_and_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A timer that is due cannot fire without space; it is tried now and then, and fires once when there is some."""
    disk = FaultDisk()
    client = open_on(disk)
    fill_up(disk, client)
    disk.space_bytes = None
    client.later(300_000_000, 7)
    fill(disk)
    while True:
        try:
            client.move(1, "a", "b" * 100, 1)
        except rsm.StorageError:
            break
    caplog.clear()
    time.sleep(0.8)
    assert len(caplog.records) <= 3
    disk.space_bytes = None
    assert 7 not in client.numbers()
    deadline = time.monotonic() + 5
    while 7 not in client.numbers() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert client.numbers().count(7) == 1
    client.close()


@pytest.mark.usefixtures("quiet")
def test_a_snapshot_that_finds_no_room_fails_alone() -> None:
    """Commands go on where there is room for them; who asked for the snapshot is told; the next one succeeds."""
    disk = FaultDisk()
    client = open_on(disk)
    for pending in [client.move.send(number, f"a{number}", "b" * 3000, 2) for number in range(300)]:
        pending.result(30)
    fill(disk)
    with pytest.raises(rsm.StorageError, match=r"snapshots.*the disk is full"):
        client.snapshot()
    book(client, range(1000, 1005))
    disk.space_bytes = None
    assert client.snapshot() == client.status().snapshot_index
    client.close()
    again = open_on(disk)
    assert len(again.numbers()) == 305
    again.close()


@pytest.mark.usefixtures("quiet")
def test_after_a_failed_sync_everyone_gets_an_error_and_nobody_hangs() -> None:
    """Those in the batch get StorageError, those behind it Closed with the cause; snapshots and followers end too."""
    disk = FaultDisk()
    client = open_on(disk)
    book(client, range(3))
    ends: list[BaseException] = []

    def follow() -> None:
        try:
            for _ in client.events(follow=True):
                pass
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    disk.fail_sync_at = disk.syncs + 1
    pending: list[Any] = []
    with contextlib.suppress(rsm.Closed):
        for number in range(10, 2000):
            pending.append(client.move.send(number, "a", "b", 1))
    errors = []
    for one in pending:
        with pytest.raises(rsm.RsmError) as caught:
            one.result(10)
        errors.append(caught.value)
    assert isinstance(errors[0], rsm.StorageError)
    assert all(isinstance(error, rsm.StorageError | rsm.Closed) for error in errors)
    thread.join(10)
    assert [type(end) for end in ends] == [rsm.Closed]
    for call in (client.snapshot, client.numbers, client.status, lambda: client.move(1, "a", "b", 1)):
        with pytest.raises(rsm.Closed, match="cannot sync"):
            call()
    client.close()
    again = open_on(disk)
    assert again.numbers() == [0, 1, 2]
    again.close()


def test_less_durability_still_says_when_closing_could_not_sync(quiet: None) -> None:
    """`durability="os"` acknowledges before the sync; the sync at close is the last chance to notice."""
    disk = FaultDisk()
    client = open_on(disk, durability="os")
    book(client, range(3))
    disk.fail_sync_at = disk.syncs + 1
    with pytest.raises(rsm.Closed, match="cannot sync"):
        client.close()
    client.close()


def test_less_durability_means_fewer_syncs() -> None:
    """With "os" no command waits for the disk; with "fsync" each batch does."""
    counts = {}
    for durability in ("os", "fsync"):
        disk = FaultDisk()
        client = open_on(disk, durability=durability)
        before = disk.syncs
        for number in range(10):
            client.move(number, "a", "b", 1)
        counts[durability] = disk.syncs - before
        client.close()
    assert counts["os"] == 0
    assert counts["fsync"] >= 10
