"""The power goes at every write and every sync of a log's history: nothing acknowledged is lost, nothing else is
invented.
"""

from __future__ import annotations

import contextlib

import pytest

from rsm.errors import CorruptFile
from rsm.node.storage.journal import Journal
from rsm.node.storage.scan import scan
from rsm.testing.disk import FaultDisk, PowerCut, Survival
from tests.faults.journal_story import LOG, Story, entry, open_log

# What survives, and in how many ways of it: by default, and when there is time.
WAYS = [
    (Survival.NOTHING, 1, 1),
    (Survival.EVERYTHING, 1, 1),
    (Survival.TORN, 8, 100),
    (Survival.REORDERED, 16, 250),
]


def length_of_story() -> tuple[int, int]:
    disk = FaultDisk()
    Story(disk).tell()
    return disk.writes, disk.syncs


def told_until_cut(disk: FaultDisk) -> Story | None:
    """Tell the story until the power goes; None if that was before there was a log at all."""
    story = None
    try:
        story = Story(disk)
        story.tell()
    except PowerCut:
        return story
    raise AssertionError("the power never went")


def read_until_refused(disk: FaultDisk) -> int:
    """The last index that a reader gets before it meets the place at which the log is refused."""
    last = 0
    with contextlib.suppress(CorruptFile):
        for scanned in scan(disk, LOG):
            last = scanned.entry.index
        return -1
    return last


def live_on(journal: Journal, disk: FaultDisk) -> None:
    """What was recovered is a working log: it takes an entry, syncs it, and has it after another power cut."""
    journal.append([entry(journal.last_index + 1, 99)])
    last = journal.sync()
    found = open_log(disk.restart(Survival.NOTHING))
    assert found.last_index == last
    assert list(found.read(last)) == [entry(last, 99)]


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize(("survival", "seeds", "seeds_of_soak"), WAYS, ids=lambda way: getattr(way, "value", ""))
def test_a_power_cut_at_every_operation(
    operation: str, survival: Survival, seeds: int, seeds_of_soak: int, soak: bool
) -> None:
    """Whatever survives of the unsynced bytes and names, the log is one that may be, or is refused with its place."""
    writes, syncs = length_of_story()
    refused = 0
    opened = 0
    for number in range(1, (writes if operation == "write" else syncs) + 1):
        disk = FaultDisk()
        setattr(disk, f"cut_at_{operation}", number)
        story = told_until_cut(disk)
        for seed in range(seeds_of_soak if soak else seeds):
            found_disk = disk.restart(survival, seed=1000 * number + seed)
            try:
                found = open_log(found_disk)
            except CorruptFile as error:
                # A hole in front of bytes that arrived: no longer a torn end by the definition, so it is refused.
                if survival is not Survival.REORDERED:
                    raise
                if error.offset < 0 or not error.path.startswith("log/"):
                    raise
                refused += 1
                continue
            opened += 1
            if story is None:
                story = Story(FaultDisk())
            story.judge(found)
            live_on(found, found_disk)
    assert opened > 2 * refused


def test_the_story_is_long_enough() -> None:
    """The history crosses segments, cuts, compacts and resets: the counts would shrink if it no longer did."""
    writes, syncs = length_of_story()
    assert writes > 35
    assert syncs > 25


def test_a_second_crash_during_recovery() -> None:
    """Recovery itself is cut at each of its operations; the next one still finds everything."""
    writes, _ = length_of_story()
    for number in range(3, writes, 3):
        disk = FaultDisk()
        disk.cut_at_write = number
        story = told_until_cut(disk) or Story(FaultDisk())
        torn = disk.restart(Survival.TORN, seed=number)
        for operation in ("write", "sync"):
            for again in range(1, 9):
                second = torn.clone()
                setattr(second, f"cut_at_{operation}", again)
                try:
                    open_log(second)
                except PowerCut:
                    pass
                else:
                    break
                for survival in Survival:
                    story.judge(open_log(second.restart(survival, seed=again)))


def test_the_disk_model_bites() -> None:
    """Entries that were acknowledged without a sync are lost on this disk, and the judgement says so."""
    disk = FaultDisk()
    story = Story(disk)
    story.append(5)
    story.world.durable = 5
    story.judge(open_log(disk.restart(Survival.EVERYTHING)))
    with pytest.raises(AssertionError, match="lost: ends at 0, acknowledged to 5"):
        story.judge(open_log(disk.restart(Survival.NOTHING)))


def test_the_process_dies_after_every_step() -> None:
    """Without a power cut: what the next process finds and calls durable is durable, also what was never synced."""
    for number in range(1, len(Story(FaultDisk()).steps()) + 1):
        disk = FaultDisk()
        story = Story(disk)
        for step in story.steps()[:number]:
            step()
        found = open_log(disk)
        story.judge(found)
        again = open_log(disk.restart(Survival.NOTHING))
        assert (again.first_index, again.last_index, again.last_chain) == (
            found.first_index,
            found.last_index,
            found.last_chain,
        )
