"""The journal as its users see it: what it takes, what it gives back, and what it refuses."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError, CorruptFile, LimitExceeded, WrongMachine
from rsm.limits import APPEND_BYTES_MAX, ENTRY_BYTES_MAX, PREALLOCATION_BYTES
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.journal import Journal
from rsm.testing.disk import FaultDisk, Survival


def entry(index: int, term: int = 1, payload: bytes = b"payload") -> Entry:
    return Entry(index, term, RecordKind.BATCH, payload)


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    return [entry(index, term, f"entry {index} of {term}".encode()) for index in range(first, last + 1)]


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    """On a real disk: across segments, before and after closing, whole and in part."""
    path = str(tmp_path / "log")
    written = entries(1, 40) + entries(41, 90, term=3)
    with Journal.open(OsDisk(), path, segment_bytes=1000) as journal:
        assert (journal.first_index, journal.last_index, journal.last_term, journal.durable_index) == (1, 0, 0, 0)
        assert journal.append(written[:1]) == 1
        assert journal.append([]) == 1
        for item in written[1:]:
            journal.append([item])
        assert journal.durable_index < 90
        assert list(journal.read(1)) == written
        assert journal.sync() == journal.durable_index == 90
    assert len(list((tmp_path / "log").iterdir())) > 5
    with Journal.open(OsDisk(), path) as journal:
        assert journal.recovery.entries == 90
        assert journal.recovery.torn == ()
        assert (journal.first_index, journal.last_index, journal.last_term) == (1, 90, 3)
        assert list(journal.read(1)) == written
        assert list(journal.read(39, 42)) == written[38:42]
        assert list(journal.read(91)) == []
        chain = ZERO_CHAIN
        assert journal.chain_at(0) == chain
        assert journal.term_at(0) == 0
        for item in written:
            chain = next_chain(chain, item.index, item.term, item.kind, item.payload)
            assert journal.chain_at(item.index) == chain
            assert journal.term_at(item.index) == item.term
        assert journal.last_chain == chain


def test_reading_stops_at_a_bound() -> None:
    """Payload bytes are bounded, but one entry always comes."""
    journal = Journal.open(FaultDisk(), "log")
    journal.append([entry(index, 1, bytes(100)) for index in range(1, 11)])
    for bytes_max, count in ((0, 1), (99, 1), (100, 1), (199, 1), (200, 2), (550, 5), (10_000, 10)):
        assert len(list(journal.read(1, bytes_max=bytes_max))) == count
    assert len(list(journal.read(3, 6, bytes_max=10_000))) == 4


@pytest.mark.parametrize("compress", [False, True])
def test_large_payloads(compress: bool) -> None:
    """Several megabytes in one entry, many small ones around it; compressed, they take little room."""
    disk = FaultDisk()
    journal = Journal.open(disk, "log")
    written = [entry(1), entry(2, 1, b"large" * 500_000), *entries(3, 2000)]
    journal.append(written, compress=compress)
    assert list(journal.read(1)) == written
    assert (journal.stored_bytes < 1_000_000) == compress
    journal.close()
    assert list(Journal.open(disk, "log").read(1)) == written


def test_what_cannot_follow_is_refused() -> None:
    """A gap, a repetition, a falling term, in the middle of an append: and nothing of it was taken."""
    journal = Journal.open(FaultDisk(), "log")
    journal.append(entries(1, 3, term=2))
    for wrong in ([entry(3, 2)], [entry(5, 2)], [entry(4, 1)], [entry(4, 2), entry(6, 2)], [entry(4, 3), entry(5, 2)]):
        with pytest.raises(CallerError, match="cannot follow"):
            journal.append(wrong)
        assert journal.last_index == 3
    assert list(journal.read(1)) == entries(1, 3, term=2)


def test_bounds_are_kept() -> None:
    """An entry and an append have a largest size; beyond it nothing is written."""
    journal = Journal.open(FaultDisk(), "log")
    with pytest.raises(LimitExceeded):
        journal.append([entry(1, 1, bytes(ENTRY_BYTES_MAX + 1))])
    payload = bytes(ENTRY_BYTES_MAX)
    with pytest.raises(LimitExceeded):
        journal.append([entry(index, 1, payload) for index in range(1, APPEND_BYTES_MAX // ENTRY_BYTES_MAX + 2)])
    assert journal.last_index == 0


def test_outside_the_log_is_an_error() -> None:
    """Indexes that were never written, or are no longer held, are the caller's mistake."""
    journal = Journal.open(FaultDisk(), "log", segment_bytes=300)
    for item in entries(1, 20):
        journal.append([item])
    first = journal.compact_to(9)
    assert 1 < first <= 10
    for use in (journal.term_at, journal.chain_at, journal.read, journal.truncate_from):
        for index in (first - 2, 0, -1):
            with pytest.raises(CallerError, match=f"holds {first} to 20"):
                use(index)
    for use in (journal.term_at, journal.chain_at):
        with pytest.raises(CallerError):
            use(21)
    assert journal.term_at(first - 1) == 1
    assert journal.chain_at(first - 1) == journal.chain_at(first - 1)
    with pytest.raises(CallerError):
        journal.read(1, 21)
    with pytest.raises(CallerError):
        journal.truncate_from(22)
    with pytest.raises(CallerError):
        journal.reset(first - 2, 1, bytes(16))


def test_terms_after_a_truncation() -> None:
    """A term that began behind the cut begins anew where its next entry is written."""
    journal = Journal.open(FaultDisk(), "log")
    journal.append(entries(1, 3) + entries(4, 6, term=2) + entries(7, 8, term=3))
    journal.truncate_from(2)
    assert journal.last_term == 1
    journal.append(entries(2, 5, term=2))
    assert [journal.term_at(index) for index in range(6)] == [0, 1, 2, 2, 2, 2]
    journal.truncate_from(1)
    assert (journal.last_index, journal.last_term, journal.last_chain) == (0, 0, ZERO_CHAIN)
    journal.append(entries(1, 2, term=2))
    assert [journal.term_at(index) for index in range(3)] == [0, 2, 2]


def test_a_truncation_during_a_read_is_noticed() -> None:
    """A reader gets what it was promised or an error, never entries of two histories."""
    journal = Journal.open(FaultDisk(), "log", segment_bytes=300)
    for item in entries(1, 20):
        journal.append([item])
    reader = journal.read(1)
    got = [next(reader)]
    journal.truncate_from(15)
    for item in entries(15, 20, term=2):
        journal.append([item])
    with pytest.raises(CallerError, match="truncated while"):
        got.extend(reader)
    assert got == entries(1, len(got))


def test_another_cluster_or_group_is_refused() -> None:
    """A log is opened only by those it belongs to."""
    disk = FaultDisk()
    Journal.open(disk, "log", group_id=1, cluster_id=b"a" * 16).close()
    for group_id, cluster_id in ((2, b"a" * 16), (1, b"b" * 16)):
        with pytest.raises(WrongMachine, match="belongs to group 1 of cluster 6161"):
            Journal.open(disk, "log", group_id=group_id, cluster_id=cluster_id)
    Journal.open(disk, "log", group_id=1, cluster_id=b"a" * 16).close()


def test_a_log_that_should_be_there() -> None:
    """Without `create`, a missing or emptied log is damage."""
    disk = FaultDisk()
    disk.mkdir("log")
    with pytest.raises(CorruptFile, match="no segment"):
        Journal.open(disk, "log", create=False)
    Journal.open(disk, "log").close()
    Journal.open(disk, "log", create=False).close()


def test_space_is_written_ahead_and_given_back() -> None:
    """While open the file ends in zeros, up to a whole step; closed, it ends with its last record."""
    disk = FaultDisk()
    journal = Journal.open(disk, "log")
    journal.append([entry(1)])
    (path,) = disk.paths()
    assert len(disk.contents(path)) == PREALLOCATION_BYTES
    writes = disk.writes
    for item in entries(2, 100):
        journal.append([item])
    assert disk.writes == writes + 99
    assert len(disk.contents(path)) == PREALLOCATION_BYTES
    used = journal.stored_bytes
    journal.close()
    assert len(disk.contents(path)) == used


def test_one_sync_covers_many_appends() -> None:
    """Group commit: a sync for any number of entries, none when there is nothing new."""
    disk = FaultDisk()
    journal = Journal.open(disk, "log")
    syncs = disk.syncs
    for item in entries(1, 50):
        journal.append([item])
    assert journal.durable_index == 0
    assert journal.sync() == 50
    assert journal.sync() == 50
    assert disk.syncs == syncs + 1


def test_syncing_while_appending(tmp_path: Path) -> None:
    """A second thread syncs all the time while segments fill, roll, are truncated and compacted."""
    journal = Journal.open(OsDisk(), str(tmp_path / "log"), segment_bytes=20_000)
    failures: list[BaseException] = []
    seen: list[int] = []
    stop = threading.Event()

    def sync() -> None:
        try:
            while not stop.is_set():
                seen.append(journal.sync())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=sync)
    thread.start()
    index = 0
    try:
        for turn in range(150):
            term = turn + 1
            journal.append(entries(index + 1, index + 20, term))
            index += 20
            if turn % 10 == 9:
                journal.truncate_from(index - 4)
                index -= 5
            if turn % 20 == 19:
                journal.compact_to(index - 200)
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert len(set(seen)) > 2
    assert journal.last_index == index
    last = list(journal.read(journal.first_index))
    journal.close()
    with Journal.open(OsDisk(), str(tmp_path / "log")) as again:
        assert list(again.read(again.first_index)) == last


steps = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 6), st.integers(0, 2)),
    st.tuples(st.just("truncate"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("compact"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("reset"), st.integers(0, 10), st.just(0)),
    st.tuples(st.sampled_from(["sync", "reopen", "kill", "cut"]), st.just(0), st.just(0)),
)


@given(st.lists(steps, max_size=40))
def test_against_a_list(story: list[tuple[str, int, int]]) -> None:
    """Any sequence of operations, restarts and power cuts leaves what a plain list holds."""
    disk = FaultDisk()
    journal = Journal.open(disk, "log", segment_bytes=500)
    base, term, model = 0, 1, list[Entry]()
    for name, number, more in story:
        if name == "append":
            term += more
            new = entries(journal.last_index + 1, journal.last_index + number, term)
            journal.append(new)
            model += new
        elif name == "truncate" and model:
            keep = number % len(model)
            index = model[keep].index
            if index >= journal.first_index:
                journal.truncate_from(index)
                del model[keep:]
        elif name == "compact":
            journal.compact_to(base + number)
        elif name == "reset":
            base, model = journal.last_index + number, []
            journal.reset(base, term, b"c" * 16)
        elif name == "sync":
            journal.sync()
        elif name == "reopen":
            journal.close()
            journal = Journal.open(disk, "log", segment_bytes=500)
        elif name == "kill":
            journal = Journal.open(disk, "log", segment_bytes=500)
        elif name == "cut":
            durable = journal.durable_index
            disk = disk.restart(Survival.NOTHING)
            journal = Journal.open(disk, "log", segment_bytes=500)
            assert journal.last_index == durable
            model = [item for item in model if item.index <= durable]
        assert journal.last_index == base + len(model)
        assert journal.first_index <= max(base + 1, journal.last_index + 1)
        held = list(journal.read(journal.first_index))
        assert held == model[journal.first_index - base - 1 :]
        for item in held:
            assert journal.term_at(item.index) == item.term
