"""The log in front of the journal: what is here, what the journal has to do, and what is durable of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rsm.codec.record import Entry
from rsm.raft.log import RaftLog
from tests.unit.raft.bench import batch
from tests.unit.raft.fake_journal import FakeJournal
from tests.unit.raft.network import configuration_of


def carried_out(log: RaftLog, journal: FakeJournal) -> int:
    """What `take` names is done; where it cut."""
    cut, entries = log.take()
    if cut:
        journal.truncate_from(cut)
    journal.append(entries)
    return cut


def a_log(*terms: int, base: int = 0, recent_bytes_max: int = 1000) -> tuple[RaftLog, FakeJournal]:
    """A log whose journal holds entries of these terms, durably."""
    journal = FakeJournal(base, 1 if base else 0)
    journal.append([batch(index, term) for index, term in enumerate(terms, base + 1)])
    journal.reopen()
    return RaftLog(journal, recent_bytes_max=recent_bytes_max), journal


def test_what_is_appended_is_taken_once_and_in_order() -> None:
    """`take` names each entry once, and a cut before the entries that take the place of those cut."""
    log, journal = a_log(1, 1, 1)
    log.append([batch(4, 2), batch(5, 2)])
    assert carried_out(log, journal) == 0
    assert log.take() == (0, [])
    log.cut_from(3)
    log.append([batch(3, 3)])
    assert log.take() == (3, [batch(3, 3)])


def test_entries_that_were_never_taken_are_cut_without_the_journal() -> None:
    """What the journal has not seen it need not remove."""
    log, _ = a_log(1, 1)
    log.append([batch(3, 2), batch(4, 2)])
    log.cut_from(4)
    assert log.take() == (0, [batch(3, 2)])
    assert (log.last_index, log.last_term) == (3, 2)


def test_two_cuts_before_a_take_are_one() -> None:
    """The journal is cut where the deeper one was."""
    log, journal = a_log(1, 1, 1, 1)
    log.cut_from(4)
    log.append([batch(4, 2)])
    log.cut_from(2)
    log.append([batch(2, 3)])
    assert carried_out(log, journal) == 2
    assert [entry.term for entry in journal.entries] == [1, 3]


def test_a_sync_that_knows_nothing_of_a_cut_says_nothing_of_what_came_after_it() -> None:
    """A sync may end between a cut and its being carried out: the journal's index is then that of the old entries."""
    log, journal = a_log(1, 1, 1)
    log.cut_from(2)
    log.append([batch(2, 2), batch(3, 2)])
    assert not log.synced(journal.durable_index)
    assert log.durable_index == 1
    carried_out(log, journal)
    assert not log.synced(journal.durable_index)
    assert log.durable_index == 1
    assert log.synced(journal.sync())
    assert log.durable_index == 3


def test_a_refused_entry_was_never_there() -> None:
    """After a full disk the log ends where the journal does, and goes on there."""
    log, journal = a_log(1)
    log.append([batch(2, 1), batch(3, 1)])
    _, entries = log.take()
    journal.append(entries[:1])
    log.refuse(3)
    assert (log.last_index, log.term_at(3)) == (2, None)
    log.append([batch(3, 2)])
    assert log.take() == (0, [batch(3, 2)])


def test_terms_outside_of_the_log_are_unknown() -> None:
    """The entry before the first one has a term, index 0 has term 0 in a log from the start, all else has none."""
    log, _ = a_log(2, 2, base=10)
    assert [log.term_at(index) for index in (0, 9, 10, 11, 12, 13)] == [None, None, 1, 2, 2, None]
    assert a_log(2)[0].term_at(0) == 0


def test_a_snapshot_takes_the_place_of_everything() -> None:
    """After it was installed the log is empty behind it, and nothing is left for the journal to do."""
    log, journal = a_log(1, 1)
    log.append([batch(3, 1)])
    log.cut_from(2)
    journal.reset(10, 4, configuration_of(1))
    log.restart_after(10, 4)
    assert (log.last_index, log.last_term, log.durable_index, log.take()) == (10, 4, 10, (0, []))
    assert (log.term_at(10), log.term_at(11), log.term_at(2)) == (4, None, None)


def test_a_read_is_bounded_in_bytes_and_gives_one_entry_at_least() -> None:
    """A message holds some entries, and one that is larger than the bound goes alone."""
    log, _ = a_log()
    log.append([batch(index, 1, b"x" * 100) for index in (1, 2, 3)])
    assert [entry.index for entry in log.read(1, 3, 250)] == [1, 2]
    assert [entry.index for entry in log.read(2, 3, 1)] == [2]


def test_only_applied_durable_entries_leave_memory() -> None:
    """Beyond the bound the oldest are let go, but none that has to be applied or is not on the disk."""
    log, journal = a_log(recent_bytes_max=300)
    log.append([batch(index, 1, b"x" * 100) for index in range(1, 11)])
    carried_out(log, journal)
    log.forget(10)
    assert log.term_at(1) == 1
    assert log._recent_first == 1  # nothing is durable
    log.synced(journal.sync())
    log.forget(2)
    assert log._recent_first == 3
    log.forget(10)
    assert log._recent_bytes <= 300
    assert next(iter(log.read(1, 10, 10_000))).index == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "cut", "take", "sync", "refuse", "forget"]), st.integers(0, 10)),
        max_size=40,
    )
)
def test_it_is_a_list_with_a_journal_behind_it(steps: list[tuple[str, int]]) -> None:
    """Whatever is appended, cut, taken, synced, refused and forgotten: it reads as a list would, and never takes an
    entry for durable that the journal does not hold synced.
    """
    log, journal = a_log(recent_bytes_max=40)
    plain: list[Entry] = []
    applied = 0
    for term, (step, number) in enumerate(steps, 1):
        if step == "append":
            new = [batch(len(plain) + 1 + place, term) for place in range(number)]
            if new:
                log.append(new)
                plain += new
        elif step == "cut" and applied < len(plain):
            index = max(applied + 1, len(plain) - number)
            log.cut_from(index)
            del plain[index - 1 :]
        elif step == "take":
            carried_out(log, journal)
            assert journal.entries == plain
        elif step == "sync":
            journal.sync()
            log.synced(journal.durable_index)
        elif step == "refuse":
            cut, entries = log.take()
            if cut:
                journal.truncate_from(cut)
            if entries:
                journal.append(entries[: number % len(entries)])
                log.refuse(journal.last_index + 1)
                del plain[journal.last_index :]
        elif step == "forget":
            applied = max(applied, min(log.durable_index, applied + number))
            log.forget(applied)
        assert (log.last_index, log.last_term) == (len(plain), plain[-1].term if plain else 0)
        assert [log.term_at(index) for index in range(1, len(plain) + 2)] == [entry.term for entry in plain] + [None]
        durable = journal.entries[: journal.durable_index]
        assert plain[: log.durable_index] == durable[: log.durable_index]
        assert log.durable_index <= len(durable)
        held = [entry for index in range(1, len(plain) + 1) for entry in log.read(index, index, 1)]
        assert held == plain
