"""Term and vote never go back: not by a power cut, not by rot, not by a caller."""

from __future__ import annotations

import contextlib

import pytest

from rsm.errors import CallerError, Closed, CorruptFile, StorageError
from rsm.node.storage.term_file import SLOT_BYTES, TermFile, read_term
from rsm.testing.disk import FaultDisk, PowerCut, Survival

HISTORY = [(1, None), (1, "node-2"), (4, None), (5, "node-1"), (9, None)]


def saved(disk: FaultDisk) -> TermFile:
    file = TermFile.open(disk, "term", group_id=2)
    for term, vote in HISTORY:
        file.save(term, vote)
    return file


def test_what_was_saved_is_read() -> None:
    """A new file has term 0 and no vote; afterwards the last pair comes back."""
    disk = FaultDisk()
    with TermFile.open(disk, "term", group_id=2) as file:
        assert (file.term, file.vote) == (0, None)
    for term, vote in HISTORY:
        with TermFile.open(disk, "term", group_id=2) as file:
            file.save(term, vote)
        with TermFile.open(disk, "term", group_id=2) as file:
            assert (file.term, file.vote) == (term, vote)


def test_a_reader_sees_the_newest_pair_and_changes_nothing() -> None:
    """One slot is enough; with none, or no file, there is nothing to say."""
    disk = FaultDisk()
    saved(disk).close()
    whole = disk.contents("term")
    for kept in (whole, bytes(SLOT_BYTES) + whole[SLOT_BYTES:], whole[:SLOT_BYTES]):
        disk.put("term", kept)
        assert read_term(disk, "term") == read_term(disk, "term", group_id=2) == HISTORY[-1]
        assert disk.contents("term") == kept
    with pytest.raises(CorruptFile, match="of group 3"):
        read_term(disk, "term", group_id=3)
    disk.put("term", bytes(2 * SLOT_BYTES))
    with pytest.raises(CorruptFile, match="no slot holds"):
        read_term(disk, "term")
    with pytest.raises(CorruptFile, match="gone"):
        read_term(disk, "no-term")


def test_only_forward() -> None:
    """A falling term and a second vote in one term are refused; the same pair again is nothing new."""
    disk = FaultDisk()
    file = TermFile.open(disk, "term")
    file.save(3, "a")
    syncs = disk.syncs
    file.save(3, "a")
    assert disk.syncs == syncs
    for term, vote in ((2, None), (2, "a"), (3, "b"), (3, None)):
        with pytest.raises(CallerError):
            file.save(term, vote)
    assert (file.term, file.vote) == (3, "a")
    file.close()
    with pytest.raises(Closed):
        file.save(4, None)


def saves_before_the_cut(disk: FaultDisk) -> int:
    saves = 0
    with contextlib.suppress(PowerCut):
        file = TermFile.open(disk, "term", group_id=2)
        for term, vote in HISTORY:
            file.save(term, vote)
            saves += 1
    return saves


def test_a_power_cut_at_every_operation() -> None:
    """Whatever survives: the pair that was saved, or the one that was just being saved, and never both slots bad."""
    clean = FaultDisk()
    saved(clean)
    pairs = [(0, None), *HISTORY]
    for operation, count in (("write", clean.writes), ("sync", clean.syncs)):
        for number in range(1, count + 1):
            disk = FaultDisk()
            setattr(disk, f"cut_at_{operation}", number)
            reached = saves_before_the_cut(disk)
            for survival in Survival:
                for seed in range(5):
                    found = TermFile.open(disk.restart(survival, seed=seed), "term", group_id=2)
                    assert (found.term, found.vote) in pairs[reached : reached + 2]


def test_every_flipped_bit() -> None:
    """One bit anywhere costs nothing, since the pair lies in both slots; and it is repaired at once."""
    disk = FaultDisk()
    saved(disk).close()
    content = disk.contents("term")
    assert len(content) == 2 * SLOT_BYTES
    for bit in [*range(120 * 8), *range(SLOT_BYTES * 8, (SLOT_BYTES + 120) * 8), *range(0, len(content) * 8, 509)]:
        disk.flip_bit("term", bit)
        with TermFile.open(disk, "term", group_id=2) as found:
            assert (found.term, found.vote) == HISTORY[-1]
        disk = disk.restart(Survival.NOTHING)
        assert disk.contents("term")[:SLOT_BYTES] == disk.contents("term")[SLOT_BYTES:]


def test_both_slots_bad_is_corruption() -> None:
    """Then nobody knows the vote, and the node must not start."""
    disk = FaultDisk()
    saved(disk).close()
    disk.flip_bit("term", 30 * 8)
    disk.flip_bit("term", (SLOT_BYTES + 31) * 8)
    with pytest.raises(CorruptFile, match="no slot"):
        TermFile.open(disk, "term", group_id=2)
    for content in (b"", bytes(2 * SLOT_BYTES), b"x" * 100):
        disk.put("term", content)
        with pytest.raises(CorruptFile):
            TermFile.open(disk, "term", group_id=2)


def test_the_wrong_file_is_refused() -> None:
    """Another group's file, or none where there must be one."""
    disk = FaultDisk()
    saved(disk).close()
    with pytest.raises(CorruptFile, match="group 3"):
        TermFile.open(disk, "term", group_id=3)
    with pytest.raises(StorageError, match="no such file"):
        TermFile.open(disk, "other", create=False)


def test_a_failing_sync_ends_the_file() -> None:
    """The pair does not count, and nothing can be saved until the file is opened anew."""
    for number in (1, 2):
        disk = FaultDisk()
        file = saved(disk)
        disk.fail_sync_at = disk.syncs + number
        with pytest.raises(StorageError, match="device failed"):
            file.save(10, "a")
        assert (file.term, file.vote) == HISTORY[-1]
        with pytest.raises(StorageError, match="after a failure"):
            file.save(11, "a")
        found = TermFile.open(disk, "term", group_id=2)
        assert (found.term, found.vote) in (HISTORY[-1], (10, "a"))
        pair = (found.term, found.vote)
        again = TermFile.open(disk.restart(Survival.NOTHING), "term", group_id=2)
        assert (again.term, again.vote) == pair
