"""Reading a log that somebody else owns: everything verified, nothing changed."""

from __future__ import annotations

import pytest

from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError, CorruptFile, StorageError
from rsm.limits import SCAN_LISTINGS_MAX, SCAN_LOOKS_MAX
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.journal import Journal
from rsm.node.storage.scan import export, scan
from rsm.testing.disk import FaultDisk, Survival


def entries(first: int, last: int) -> list[Entry]:
    return [
        Entry(index, 1 + index // 7, RecordKind.BATCH, b"entry %d" % index * 20) for index in range(first, last + 1)
    ]


def machine(disk: FaultDisk, last: int = 30) -> Journal:
    """A machine's directory with a log of several segments, still open."""
    directory = MachineDirectory.create(disk, "machine", machine="bank", cluster_id=b"c" * 16, group_id=2)
    journal = directory.open_journal(segment_bytes=1500)
    for item in entries(1, last):
        journal.append([item])
    journal.sync()
    return journal


def test_a_scan_yields_the_log() -> None:
    """From the machine's directory or its log directory; once and again; with the chains and places of the journal."""
    disk = FaultDisk()
    journal = machine(disk)
    before = {path: disk.contents(path) for path in disk.paths()}
    writes, syncs = disk.writes, disk.syncs
    for path in ("machine", "machine/log"):
        log = scan(disk, path)
        for _ in range(2):
            scanned = list(log)
            assert [item.entry for item in scanned] == entries(1, 30)
            assert [item.chain for item in scanned] == [journal.chain_at(index) for index in range(1, 31)]
            assert (log.first_index, log.last_index, log.last_term, log.torn) == (1, 30, 5, None)
            assert log.last_chain == journal.last_chain
            assert (log.head.cluster_id, log.head.group_id) == (b"c" * 16, 2)
        assert len({item.path for item in scanned}) == len(log.paths) > 3
        for item in scanned:
            assert disk.contents(item.path)[item.offset : item.offset + 2] == b"rm"
    assert {path: disk.contents(path) for path in disk.paths()} == before
    assert (disk.writes, disk.syncs) == (writes, syncs)


def test_a_scan_may_start_late() -> None:
    """Whole segments before the wanted index are skipped; what is read is still verified from its segment's head."""
    disk = FaultDisk()
    journal = machine(disk)
    log = scan(disk, "machine", first=20)
    scanned = [item.entry for item in log]
    assert 1 < scanned[0].index <= 20
    assert scanned == entries(scanned[0].index, 30)
    journal.compact_to(12)
    log = scan(disk, "machine")
    assert log.first_index == journal.first_index > 1
    assert [item.entry for item in log] == entries(journal.first_index, 30)


def test_a_torn_end_is_reported_and_left() -> None:
    """The scan ends before it, says where it is and how long, and does not cut it."""
    disk = FaultDisk()
    journal = machine(disk)
    journal.close()
    path = disk.paths()[-2]
    assert path.startswith("machine/log/")
    content = disk.contents(path)
    last = list(scan(disk, "machine"))[-1]
    disk.put(path, content[: last.offset + 70])
    log = scan(disk, "machine")
    assert [item.entry for item in log] == entries(1, 29)
    assert log.torn is not None
    assert (log.torn.path, log.torn.offset, log.torn.bytes) == (path, last.offset, 70)
    assert disk.contents(path) == content[: last.offset + 70]


@pytest.mark.parametrize("size", [200, 250_000])
def test_entries_appended_during_a_scan_are_read(size: int) -> None:
    """An end that was read as zeros a moment ago is no damage when it has been written since; the scan goes on."""
    disk = FaultDisk()
    directory = MachineDirectory.create(disk, "machine", machine="bank")
    journal = directory.open_journal()

    def append() -> None:
        first = journal.last_index + 1
        journal.append([Entry(index, 1, RecordKind.BATCH, bytes([index]) * size) for index in range(first, first + 5)])

    append()
    got = []
    for item in scan(disk, "machine"):
        got.append(item.entry)
        if len(got) == journal.last_index < 20:
            append()
    assert got == list(journal.read(1, len(got)))
    # Where the space written ahead ended when the scan began, it may end as well.
    assert len(got) == 20 if size == 200 else len(got) > 5


def test_a_segment_sealed_during_a_scan_ends_there() -> None:
    """The space written ahead is cut off when a segment is sealed; the scan ends with the last entry it held."""
    disk = FaultDisk()
    directory = MachineDirectory.create(disk, "machine", machine="bank")
    journal = directory.open_journal(segment_bytes=1500)
    journal.append(entries(1, 3))
    log = scan(disk, "machine")
    got = []
    for item in log:
        got.append(item.entry)
        journal.append(entries(journal.last_index + 1, journal.last_index + 4))
    assert got == entries(1, len(got))
    assert len(got) < journal.last_index
    assert log.torn is None


def test_what_compaction_removes_during_a_scan_is_read() -> None:
    """A scan holds its segments open, and one that begins late begins where the log begins then."""
    disk = FaultDisk()
    journal = machine(disk)
    late = scan(disk, "machine")
    got = []
    for item in scan(disk, "machine"):
        got.append(item.entry)
        journal.compact_to(30)
    assert got == entries(1, 30)
    assert [item.entry for item in late] == entries(journal.first_index, 30)
    assert late.first_index == journal.first_index > 1
    export(disk, "machine", "exported")
    assert [item.entry for item in scan(disk, "exported")] == entries(journal.first_index, 30)


@pytest.mark.parametrize("times", [1, SCAN_LISTINGS_MAX - 1, SCAN_LISTINGS_MAX])
def test_a_segment_that_vanishes_before_it_was_opened(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is listed anew, but not for ever."""
    disk = FaultDisk()
    journal = machine(disk, 60)
    listed = disk.listdir
    left = [times]

    def list_and_remove(path: str) -> list[str]:
        names = listed(path)
        if path == "machine/log" and left[0]:
            left[0] -= 1
            journal.compact_to(int(names[1][:20]) - 1)
        return names

    monkeypatch.setattr(disk, "listdir", list_and_remove)
    if times == SCAN_LISTINGS_MAX:
        with pytest.raises(StorageError, match="no such file"):
            scan(disk, "machine")
    else:
        log = scan(disk, "machine")
        assert [item.entry for item in log] == entries(journal.first_index, 60)


def test_a_write_under_way_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks torn while somebody has the log open is looked at again; what stays so is torn."""
    disk = FaultDisk()
    machine(disk)
    last = list(scan(disk, "machine"))[-1]
    whole = disk.contents(last.path)
    looks: list[float] = []

    def finish_the_write(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            disk.open(last.path).pwrite(whole, 0)

    monkeypatch.setattr("time.sleep", finish_the_write)
    disk.put(last.path, whole[: last.offset + 70])
    log = scan(disk, "machine")
    assert [item.entry for item in log] == entries(1, 30)
    assert (log.torn, len(looks)) == (None, 2)
    disk.put(last.path, whole[: last.offset + 70])
    assert [item.entry for item in log] == entries(1, 29)
    assert log.torn is not None
    assert len(looks) == 2 + SCAN_LOOKS_MAX - 1
    restarted = disk.restart(Survival.EVERYTHING)
    assert len(list(scan(restarted, "machine"))) == 29
    assert len(looks) == 2 + SCAN_LOOKS_MAX - 1


def test_damage_is_raised_at_its_place() -> None:
    """Everything before it is yielded first."""
    disk = FaultDisk()
    machine(disk)
    bad = list(scan(disk, "machine"))[17]
    disk.flip_bit(bad.path, (bad.offset + 80) * 8)
    got = []
    with pytest.raises(CorruptFile) as caught:
        got.extend(item.entry for item in scan(disk, "machine"))
    assert (caught.value.path, caught.value.offset) == (bad.path, bad.offset)
    assert got == entries(1, 17)


@pytest.mark.parametrize(("first", "last"), [(None, None), (1, 30), (1, 1), (30, 30), (11, 22), (11, None), (None, 22)])
def test_an_export_is_a_log(first: int | None, last: int | None) -> None:
    """One file, with the same entries and chains, that can be scanned and exported again."""
    disk = FaultDisk()
    journal = machine(disk)
    count = export(disk, "machine", "exported", first, last)
    log = scan(disk, "exported")
    scanned = list(log)
    assert [item.entry for item in scanned] == entries(first or 1, last or 30)
    assert [item.chain for item in scanned] == [journal.chain_at(item.entry.index) for item in scanned]
    assert log.torn is None
    assert count == len(scanned)
    assert disk.restart().contents("exported") == disk.contents("exported")
    export(disk, "exported", "again")
    assert disk.contents("again") == disk.contents("exported")
    assert "exported.tmp" not in disk.paths()


def test_an_export_that_cannot_be() -> None:
    """A range that is not there, a target that is, a damaged source, a full disk: an error, and no file."""
    disk = FaultDisk()
    journal = machine(disk)
    journal.compact_to(10)
    before = disk.paths()
    for first, last in ((1, 20), (20, 31), (31, None), (25, 24)):
        with pytest.raises(CallerError, match="the log holds"):
            export(disk, "machine", "exported", first, last)
    with pytest.raises(CallerError, match="exists already"):
        export(disk, "machine", "machine/identity")
    disk.space_bytes = disk.used_bytes() + 700
    with pytest.raises(StorageError, match="full"):
        export(disk, "machine", "exported")
    disk.space_bytes = None
    bad = list(scan(disk, "machine"))[10]
    disk.flip_bit(bad.path, bad.offset * 8)
    with pytest.raises(CorruptFile):
        export(disk, "machine", "exported")
    assert disk.paths() == before


def test_what_is_no_log() -> None:
    """A missing path, an empty directory, some other file."""
    disk = FaultDisk()
    disk.mkdir("empty")
    disk.put("other", b"some other file" * 100)
    with pytest.raises(StorageError, match="no such file"):
        scan(disk, "missing")
    with pytest.raises(StorageError, match="no log here"):
        scan(disk, "empty")
    with pytest.raises(CorruptFile, match="segment head"):
        scan(disk, "other")


def test_export_stops_where_it_is_told() -> None:
    """Damage behind the last entry that is wanted does not stop it: that is how what is good is saved."""
    disk = FaultDisk()
    journal = Journal.open(disk, "log")
    journal.append([Entry(index=index, term=1, kind=RecordKind.NOOP, payload=b"x" * 50) for index in range(1, 6)])
    journal.close()
    (name,) = disk.listdir("log")
    damaged = bytearray(disk.contents(f"log/{name}"))
    damaged[[item.offset for item in scan(disk, "log")][3] + 70] ^= 1
    disk.put(f"log/{name}", bytes(damaged))
    assert export(disk, "log", "good.log", None, 3) == 3
    assert [item.entry.index for item in scan(disk, "good.log")] == [1, 2, 3]
    with pytest.raises(CorruptFile):
        export(disk, "log", "all.log", None, 4)
