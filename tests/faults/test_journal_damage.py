"""Every bit of a log flipped, the log cut at every length and zeroed from every sector: never silently another log."""

from __future__ import annotations

import itertools

import pytest

from rsm.codec.record import Entry, RecordKind, encode_record
from rsm.errors import CorruptFile
from rsm.limits import SECTOR_BYTES
from rsm.node.storage.journal import Journal
from rsm.node.storage.scan import scan
from rsm.node.storage.segment import END_MARK
from rsm.testing.disk import FaultDisk
from tests.faults.journal_story import CLUSTER, LOG, entry

# The last payload ends with more than a sector of zeros: with a flipped bit before them, it looks most like a torn one.
ZERO_ENDED = Entry(9, 2, RecordKind.BATCH, b"ends with zeros" + bytes(1100))
ENTRIES = [entry(index, 1 + index // 4, f"payload {index}".encode()) for index in range(1, 9)]


def log(entries: list[Entry], *, segment_bytes: int = 600, closed: bool = True) -> FaultDisk:
    """A synced log; `closed` trims the space written ahead, otherwise the process died."""
    disk = FaultDisk()
    journal = Journal.open(disk, LOG, group_id=3, cluster_id=CLUSTER, segment_bytes=segment_bytes)
    for item in entries:
        journal.append([item], compress=False)
    journal.sync()
    if closed:
        journal.close()
    return disk


def reopened(disk: FaultDisk) -> Journal:
    return Journal.open(disk, LOG, group_id=3, cluster_id=CLUSTER)


def with_content(disk: FaultDisk, path: str, content: bytes) -> FaultDisk:
    changed = disk.clone()
    changed.put(path, content)
    return changed


def judged(disk: FaultDisk) -> tuple[list[Entry], tuple[str, int] | None]:
    """What a reader gets, and the file and offset at which the log is refused."""
    entries = []
    try:
        for scanned in scan(disk, LOG):
            entries.append(scanned.entry)
    except CorruptFile as error:
        return entries, (error.path, error.offset)
    return entries, None


def used_bytes(disk: FaultDisk, path: str) -> int:
    return len(disk.contents(path).rstrip(b"\0"))


@pytest.mark.parametrize(
    ("entries", "segment_bytes", "closed"),
    [
        (ENTRIES, 600, True),
        (ENTRIES[:4], 2048, False),
        ([*ENTRIES[:2], Entry(3, 1, RecordKind.BATCH, ZERO_ENDED.payload)], 4096, False),
        ([Entry(1, 1, RecordKind.BATCH, ZERO_ENDED.payload)], 600, True),
    ],
    ids=["segments", "written ahead", "zero-ended", "zero-ended closed"],
)
def test_every_flipped_bit(entries: list[Entry], segment_bytes: int, closed: bool, soak: bool) -> None:
    """A flip in a record is refused with its file, even in the last one; a flip in the zeros behind costs nothing."""
    disk = log(entries, segment_bytes=segment_bytes, closed=closed)
    for path in disk.paths():
        used = used_bytes(disk, path)
        size = len(disk.contents(path))
        # In the space written ahead every position of a byte in a sector is like any other: one sector and the end do.
        behind = itertools.chain(range(used, min(size, used + 2 * SECTOR_BYTES)), range(max(used, size - 64), size))
        bits = range(used * 8)
        if not soak and entries[-1].payload == ZERO_ENDED.payload:
            # Within a payload's zeros one byte is like another: each is flipped, but not in each of its bits.
            zeros = disk.contents(path)
            bits = [bit for bit in bits if zeros[bit // 8] or bit % 8 == bit // 8 % 8]
        for bit in itertools.chain(bits, (8 * byte + byte % 8 for byte in behind)):
            disk.flip_bit(path, bit)
            found, refused_at = judged(disk)
            if refused_at is None:
                assert bit >= used * 8, f"bit {bit} of {path} was not noticed"
                assert found == entries
            else:
                assert refused_at[0] == path
                assert refused_at[1] <= bit // 8
            disk.flip_bit(path, bit)
    assert judged(disk) == (entries, None)


def test_opening_judges_as_scanning_does() -> None:
    """For a sample of flips: what the scan refuses, opening refuses, at the same place and leaving the bytes alone."""
    disk = log(ENTRIES, closed=False)
    for path in disk.paths():
        for bit in range(0, len(disk.contents(path)) * 8, 37):
            disk.flip_bit(path, bit)
            expected, place = judged(disk)
            if place is not None:
                before = {name: disk.contents(name) for name in disk.paths()}
                with pytest.raises(CorruptFile) as caught:
                    reopened(disk)
                assert (caught.value.path, caught.value.offset) == place
                assert {name: disk.contents(name) for name in disk.paths()} == before
                disk.flip_bit(path, bit)
            else:
                copy = disk.clone()
                assert list(reopened(copy).read(1)) == expected == ENTRIES
                disk.flip_bit(path, bit)


@pytest.mark.parametrize("closed", [True, False])
def test_the_log_cut_at_every_length(closed: bool) -> None:
    """The last segment: a beginning of the log, reported unless the cut is between two records; any other: refused."""
    disk = log(ENTRIES, segment_bytes=700, closed=closed)
    *sealed, last = disk.paths()
    content = disk.contents(last)
    used = used_bytes(disk, last)
    ends = {scanned.offset: scanned.entry.index - 1 for scanned in scan(disk, LOG) if scanned.path == last}
    ends[used] = len(ENTRIES)
    head_end = min(ends)
    for length in range(len(content)):
        cut = with_content(disk, last, content[:length])
        if length < head_end:
            with pytest.raises(CorruptFile, match="segment head"):
                reopened(cut)
            continue
        found = reopened(cut)
        whole = max(end for end in ends if end <= length)
        assert list(found.read(1)) == ENTRIES[: ends[whole]]
        if length in ends or length > used:
            assert found.recovery.torn == ()
        else:
            (torn,) = found.recovery.torn
            assert (torn.path, torn.offset) == (last, whole)
            assert 0 < torn.bytes <= length - whole
    for path in sealed:
        content = disk.contents(path)
        for length in range(len(content)):
            with pytest.raises(CorruptFile):
                reopened(with_content(disk, path, content[:length]))


@pytest.mark.parametrize("closed", [True, False])
def test_the_log_zeroed_from_every_sector(closed: bool) -> None:
    """In the last segment that is a torn end: cut, reported, and appended to; in a sealed one it is damage."""
    entries = [entry(index, 1, bytes([index]) * (300 + 211 * index)) for index in range(1, 9)]
    disk = log(entries, segment_bytes=6000, closed=closed)
    *sealed, last = disk.paths()
    assert sealed
    content = disk.contents(last)
    used = used_bytes(disk, last)
    starts = {scanned.offset: scanned.entry.index for scanned in scan(disk, LOG) if scanned.path == last}
    tears = 0
    for boundary in range(0, len(content), SECTOR_BYTES):
        zeroed = with_content(disk, last, content[:boundary].ljust(len(content), b"\0"))
        if boundary < min(starts):
            with pytest.raises(CorruptFile):
                reopened(zeroed)
            continue
        found = reopened(zeroed)
        lost_from = next((index for start, index in starts.items() if start >= boundary), len(entries) + 1)
        if boundary < used:
            lost_from = max(index for start, index in [*starts.items(), (0, 0)] if start < boundary)
        assert list(found.read(1)) == entries[: lost_from - 1]
        assert len(found.recovery.torn) == (boundary < used)
        tears += boundary < used
        found.append([entry(lost_from, 7)])
        found.sync()
        found.close()
        again = reopened(zeroed)
        assert list(again.read(lost_from)) == [entry(lost_from, 7)]
        assert again.recovery.torn == ()
    assert tears > 3
    for path in sealed:
        content = disk.contents(path)
        for boundary in range(0, len(content), SECTOR_BYTES):
            with pytest.raises(CorruptFile):
                reopened(with_content(disk, path, content[:boundary].ljust(len(content), b"\0")))


def test_zeros_that_do_not_reach_the_end_are_corruption() -> None:
    """One zeroed sector in the middle, with data after it, is not what a torn write leaves."""
    entries = [entry(index, 1, bytes([index]) * 700) for index in range(1, 9)]
    disk = log(entries, segment_bytes=100_000)
    (path,) = disk.paths()
    content = disk.contents(path)
    for boundary in range(0, len(content) - 2 * SECTOR_BYTES, SECTOR_BYTES):
        holed = bytearray(content)
        holed[boundary : boundary + SECTOR_BYTES] = bytes(SECTOR_BYTES)
        with pytest.raises(CorruptFile) as caught:
            reopened(with_content(disk, path, bytes(holed)))
        assert caught.value.offset <= boundary + SECTOR_BYTES


def test_a_record_whose_mark_alone_is_missing_is_torn() -> None:
    """The last sector of a write may hold only the end mark: without it the record was never finished."""
    for length in range(SECTOR_BYTES):
        disk = log([Entry(1, 1, RecordKind.BATCH, b"x" * length)], segment_bytes=4096, closed=False)
        (path,) = disk.paths()
        if used_bytes(disk, path) % SECTOR_BYTES == 1:
            break
    content = disk.contents(path)
    used = used_bytes(disk, path)
    assert used % SECTOR_BYTES == 1
    found = reopened(with_content(disk, path, content[: used - 1].ljust(len(content), b"\0")))
    assert found.last_index == 0
    assert len(found.recovery.torn) == 1
    # In the middle of a sector it cannot have gone missing by a power cut.
    disk = log([Entry(1, 1, RecordKind.BATCH, b"x" * (length - 1))], segment_bytes=4096, closed=False)
    content = disk.contents(path)
    with pytest.raises(CorruptFile, match="end mark"):
        reopened(with_content(disk, path, content[: used - 2].ljust(len(content), b"\0")))


@pytest.mark.parametrize("more", [b"\0", bytes(2000), b"x", b"x" * 63, b"x" * 64, b"x" * 600 + bytes(600)])
def test_a_sealed_segment_ends_with_its_last_record(more: bytes) -> None:
    """Zeros or anything else behind it are not what the journal leaves."""
    disk = log(ENTRIES)
    path = disk.paths()[0]
    with pytest.raises(CorruptFile, match="sealed") as caught:
        reopened(with_content(disk, path, disk.contents(path) + more))
    assert (caught.value.path, caught.value.offset) == (path, len(disk.contents(path)))


def test_a_torn_end_leaves_nothing_behind() -> None:
    """The cut removes all of it: a shorter entry in its place is not followed by the rest of the longer one."""
    disk = log([entry(1), Entry(2, 1, RecordKind.BATCH, b"long" * 1000)], segment_bytes=8192, closed=False)
    (path,) = disk.paths()
    content = disk.contents(path)
    torn = with_content(disk, path, content[:3072].ljust(len(content), b"\0"))
    found = reopened(torn)
    assert [tail.path for tail in found.recovery.torn] == [path]
    found.append([entry(2)])
    found.sync()
    again = reopened(torn.restart())
    assert list(again.read(1)) == [entry(1), entry(2)]
    assert again.recovery.torn == ()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"chain": b"x" * 16}, "chain"),
        ({"index": 4}, "index 4 follows index 2"),
        ({"index": 2}, "index 2 follows index 2"),
        ({"term": 1}, "term 1 after term 2"),
        ({"group_id": 4}, "group 4"),
        ({"kind": RecordKind.CHUNK}, "CHUNK"),
    ],
    ids=str,
)
def test_a_whole_record_in_the_wrong_place(wrong: dict[str, object], reason: str) -> None:
    """With every checksum right, an entry of another history, place or group is refused, even as the last one."""
    disk = log([entry(1), entry(2, 2)])
    (path,) = disk.paths()
    with_three = log([entry(1), entry(2, 2), entry(3, 2)])
    third = list(scan(with_three, LOG))[-1]
    fields: dict[str, object] = {"index": 3, "term": 2, "group_id": 3, "kind": third.entry.kind, "chain": third.chain}
    right = encode_record(payload=third.entry.payload, **fields) + END_MARK  # type: ignore[arg-type]
    assert reopened(with_content(disk, path, disk.contents(path) + right)).last_index == 3
    record = encode_record(payload=third.entry.payload, **{**fields, **wrong}) + END_MARK  # type: ignore[arg-type]
    with pytest.raises(CorruptFile, match=reason) as caught:
        reopened(with_content(disk, path, disk.contents(path) + record))
    assert caught.value.offset == len(disk.contents(path))


def test_a_missing_segment_is_noticed() -> None:
    """Any but the first, which compaction may have removed, and the last, which nothing points to."""
    disk = log(ENTRIES, segment_bytes=400)
    paths = disk.paths()
    assert len(paths) > 3
    for path in paths[1:-1]:
        holed = disk.clone()
        holed.unlink(path)
        with pytest.raises(CorruptFile, match="begins at index"):
            reopened(holed)


def test_segments_of_two_logs_do_not_mix() -> None:
    """A segment of the same name from another history breaks the chain and is refused."""
    disk = log(ENTRIES)
    other = log([entry(index, 1, f"another {index}".encode()) for index in range(1, 9)])
    for path in disk.paths()[1:]:
        if path in other.paths():
            mixed = with_content(disk, path, other.contents(path))
            with pytest.raises(CorruptFile, match="does not continue"):
                reopened(mixed)
    renamed = disk.clone()
    renamed.put("log/00000000000000000099.log", disk.contents(disk.paths()[-1]))
    with pytest.raises(CorruptFile, match="begins at index"):
        reopened(renamed)
