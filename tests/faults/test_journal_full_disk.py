"""The disk says no: full at every byte, a sync that fails at every place. Nothing is lost, nothing lies, and it is
said.
"""

from __future__ import annotations

import contextlib

import pytest

from rsm.codec.record import Entry
from rsm.errors import Closed, StorageError
from rsm.node.storage.journal import Journal
from rsm.testing.disk import FaultDisk, Survival
from tests.faults.journal_story import LOG, Story, entry, open_log


def accepts(journal: Journal, batch: list[Entry]) -> bool:
    try:
        journal.append(batch)
    except StorageError as error:
        return "full" not in str(error)
    return True


def test_a_full_disk_at_every_byte(soak: bool) -> None:
    """Nothing of a refused append counts; what was accepted stays; with space again the log goes on where it was."""
    probe = FaultDisk()
    open_log(probe).close()
    start = probe.used_bytes()
    refused = 0
    step = 1 if soak else 7
    for space in range(start, start + 5_000, step):
        disk = FaultDisk()
        journal = open_log(disk)
        journal.close()
        disk.space_bytes = space
        journal = open_log(disk)
        accepted = []
        for index in range(1, 12):
            batch = [entry(journal.last_index + 1), entry(journal.last_index + 2)]
            last = journal.last_index
            if not accepts(journal, batch):
                refused += 1
                assert journal.last_index == last
                assert list(journal.read(1)) == accepted
                if index % 2:
                    # The accepted ones can still be made durable on a full disk, and survive.
                    journal.sync()
                    assert list(open_log(disk.restart(Survival.TORN, seed=space)).read(1)) == accepted
                disk.space_bytes = None
                journal.append(batch)
            accepted += batch
        journal.sync()
        assert list(open_log(disk.restart(Survival.NOTHING)).read(1)) == accepted
        journal.close()
    assert refused > 3_000 / step


def test_opening_on_a_full_disk() -> None:
    """A new log that does not fit is refused, leaves no half of itself, and works once there is space."""
    disk = FaultDisk()
    disk.space_bytes = 100
    with pytest.raises(StorageError, match="full"):
        open_log(disk)
    assert disk.paths() == []
    disk.space_bytes = None
    journal = open_log(disk)
    journal.append([entry(1)])
    assert journal.sync() == 1


def refuses_everything(journal: Journal) -> None:
    for use in (
        lambda: journal.append([entry(journal.last_index + 1)]),
        journal.sync,
        lambda: journal.truncate_from(journal.first_index),
        lambda: journal.compact_to(journal.last_index),
        lambda: journal.reset(100, 1, bytes(16)),
        lambda: journal.read(journal.first_index),
        lambda: journal.chain_at(journal.last_index),
    ):
        with pytest.raises(StorageError, match="stopped after a failure"):
            use()


def told_until_failure(disk: FaultDisk) -> Story | None:
    """Tell the story until a sync fails; None if that was before there was a log at all."""
    story = None
    try:
        story = Story(disk)
        story.tell()
    except StorageError as error:
        if "device failed" not in str(error):
            raise
        return story
    raise AssertionError("no sync failed")


def test_a_failing_sync_at_every_place() -> None:
    """It ends the journal. What was acknowledged is there after the restart, also after a power cut behind it."""
    clean = FaultDisk()
    Story(clean).tell()
    for number in range(1, clean.syncs + 1):
        disk = FaultDisk()
        disk.fail_sync_at = number
        story = told_until_failure(disk)
        if story is None:
            story = Story(FaultDisk())
        else:
            with contextlib.suppress(Closed):
                refuses_everything(story.journal)
        for survival in Survival:
            if survival is not Survival.REORDERED:
                story.judge(open_log(disk.restart(survival, seed=number)))
        # The process closes what it has and starts again, without a power cut: the cache may still show what was lost.
        story.journal.close()
        found = open_log(disk)
        story.judge(found)
        story.judge(open_log(disk.restart(Survival.NOTHING)))
        found.append([entry(found.last_index + 1, 99)])
        last = found.sync()
        assert open_log(disk.restart(Survival.NOTHING)).last_index == last


def test_a_closed_journal_says_so() -> None:
    """Every use after close is the caller's mistake, by name; closing twice is none."""
    journal = open_log(FaultDisk())
    journal.append([entry(1)])
    journal.close()
    journal.close()
    for use in (lambda: journal.append([entry(2)]), journal.sync, lambda: journal.read(1)):
        with pytest.raises(Closed, match=LOG):
            use()
