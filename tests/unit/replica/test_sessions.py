"""Sessions: each command once, in order; retries get the answer that was given, and what is dropped is unknown."""

from __future__ import annotations

import msgspec

from rsm.limits import SESSION_ANSWER_BYTES_MAX, SESSIONS_MAX
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.batch import CLOSE_SESSION, FLAG_HASH_POINT, KEEP_ALIVE, OPEN_SESSION, encode_call, join_item
from rsm.replica.sessions import ANSWER_OVERHEAD_BYTES, Session
from tests.machines import SECOND, Everything, Log, contents


def test_a_retry_gets_the_first_answer_and_does_nothing() -> None:
    """Same session, same sequence, same command: the cached answer, byte for byte, and no second effect."""
    log = Log()
    session = log.open()
    first = log.send(session, "put", "a", 1)
    log.send(session, "put", "a", 2)
    state = contents(log.replica)
    assert log.send(session, "put", "a", 1, sequence=1) == first
    assert log.send(session, "put", "a", 1, sequence=1) == first
    assert contents(log.replica) == state


def test_rejections_are_cached_like_results() -> None:
    """A command that was rejected stays rejected for its retries, even when it would succeed now."""
    log = Log()
    session = log.open()
    first = log.send(session, "drop", "a")
    assert first.status == Status.REJECTED
    log.send(session, "put", "a", 1)
    assert log.send(session, "drop", "a", sequence=1) == first
    assert log.replica.query("word", ["a"]) == b"\x01"


def test_a_gap_runs_nothing_and_the_missing_command_heals_it() -> None:
    """A number above the next one is sent back; numbers after the gap in the same batch too."""
    log = Log()
    session = log.open()
    items = [join_item(session, number, 0, encode_call("put", 1, [f"k{number}", number])) for number in (2, 3, 1, 2)]
    statuses = [answer.status for answer in log.entry(items).answers]
    assert statuses == [Status.SEQUENCE_GAP, Status.SEQUENCE_GAP, Status.OK, Status.OK]
    assert contents(log.replica)["words"] == {"k1": 1, "k2": 2}


def test_the_same_number_with_another_payload_is_an_error() -> None:
    """Other values, another command or another version under a used number: SEQUENCE_REUSED, nothing runs."""
    log = Log()
    session = log.open()
    log.send(session, "put", "a", 1)
    state = contents(log.replica)
    assert log.send(session, "put", "a", 2, sequence=1).status == Status.SEQUENCE_REUSED
    assert log.send(session, "drop", "a", sequence=1).status == Status.SEQUENCE_REUSED
    assert log.send(session, "put", "a", 1, sequence=1, version=2).status == Status.SEQUENCE_REUSED
    assert contents(log.replica) == state


def kept_numbers(log: Log, session: int) -> list[int]:
    """Of which commands a session holds the answers."""
    return [sequence for sequence, *_ in log.replica.sessions[session].record().answers]


def test_answers_below_the_lowest_unanswered_are_dropped() -> None:
    """What the client no longer waits for is forgotten: a retry of it has an unknown outcome, and is not run."""
    log = Log()
    session = log.open()
    for number in range(1, 6):
        log.send(session, "put", "a", number)
    log.send(session, "put", "a", 6, lowest=4)
    assert kept_numbers(log, session) == [4, 5, 6]
    assert log.send(session, "put", "a", 3, sequence=3).status == Status.SESSION_EXPIRED
    assert log.send(session, "put", "a", 4, sequence=4).status == Status.OK
    # A number from the future drops no answer that is still to be fetched.
    log.send(session, "put", "a", 7, lowest=2**63)
    assert kept_numbers(log, session) == [7]


def test_answers_are_dropped_oldest_first_when_there_are_too_many_bytes() -> None:
    """A session keeps SESSION_ANSWER_BYTES_MAX of answers, always the newest, whatever its size."""
    log = Log()
    session = log.open()
    size = 100_000
    call = encode_call("put", 1, ["a", 1])
    for number in range(1, 31):
        log.replica.sessions[session].remember(number, Answer(0, bytes(size)), 0)
    kept = log.replica.sessions[session]
    assert kept.answer_bytes <= SESSION_ANSWER_BYTES_MAX < kept.answer_bytes + size + ANSWER_OVERHEAD_BYTES
    assert kept_numbers(log, session)[-1] == 30
    assert len(kept_numbers(log, session)) == SESSION_ANSWER_BYTES_MAX // (size + ANSWER_OVERHEAD_BYTES)
    kept.remember(31, Answer(0, bytes(2 * SESSION_ANSWER_BYTES_MAX)), 0)
    assert kept_numbers(log, session) == [31]
    assert log.entry([join_item(session, 30, 0, call)]).answers[0].status == Status.SESSION_EXPIRED


def test_sessions_do_not_see_each_other() -> None:
    """Numbers count per session: two clients use the same ones."""
    log = Log()
    first, second = log.open("ann"), log.open("bob")
    assert log.run(first, "put", "a", 1) is None
    assert log.run(second, "put", "a", 2) == 1
    assert log.next_sequence(first) == log.next_sequence(second) == 2


def test_closing_runs_the_session_end_handler_once() -> None:
    """The handler sees whose session it was; afterwards the session is gone, and closing again does nothing."""
    log = Log()
    session = log.open("ann")
    assert log.close(session).status == Status.OK
    assert contents(log.replica)["words"] == {"ended ann": session}
    assert log.values_of_events() == [["ended", session, "ann"]]
    assert log.close(session).status == Status.OK
    assert len(log.events()) == 1
    assert log.send(session, "put", "a", 1, sequence=1).status == Status.SESSION_EXPIRED


def test_a_session_end_handler_that_raises_is_rolled_back_and_the_session_ends_all_the_same() -> None:
    """No handler keeps a session alive: its changes go, the session goes, the log names the failure once."""
    log = Log()
    session = log.open("bad")
    log.close(session)
    assert contents(log.replica)["words"] == {}
    assert log.values_of_events() == []
    assert session not in log.replica.sessions
    assert [(failure.name, failure.index) for failure in log.applied[-1].failures] == [("on_session_end", 3)]


def test_silence_expires_a_session_in_log_time() -> None:
    """A session ends in the first entry whose stamp is at least its time to live after its last command."""
    log = Log()
    session = log.open("ann", ttl_seconds=10)
    log.tick(9)
    log.run(session, "put", "a", 1)
    log.tick(9.999)
    assert session in log.replica.sessions
    assert log.replica.next_due() is not None
    assert log.replica.next_due() <= log.now + 10 * SECOND
    applied = log.tick(0.001)
    assert session not in log.replica.sessions
    assert log.values_of_events() == [["ended", session, "ann"]]
    assert log.events()[0][1].index == applied.index
    assert log.replica.next_due() is None


def test_any_word_from_a_client_keeps_its_session() -> None:
    """A client that repeats a command whose answer it did not get is not silent; nor is one that says nothing else."""
    log = Log()
    session = log.open("ann", ttl_seconds=10)
    log.run(session, "put", "a", 1)
    for _ in range(3):
        log.now += 6 * SECOND
        assert log.send(session, "put", "a", 1, sequence=1).status == Status.OK
    for _ in range(3):
        log.now += 6 * SECOND
        assert log.send(session, KEEP_ALIVE).status == Status.OK
    log.now += 10 * SECOND
    assert log.send(session, KEEP_ALIVE, sequence=5).status == Status.SESSION_EXPIRED


def test_a_command_in_the_batch_that_expires_its_session_does_not_run() -> None:
    """Expiry comes before the commands of a batch: too late is too late, on every replica."""
    log = Log()
    session = log.open("ann", ttl_seconds=10)
    log.now += 10 * SECOND
    assert log.send(session, "put", "a", 1, sequence=1).status == Status.SESSION_EXPIRED
    assert contents(log.replica)["words"] == {"ended ann": session}


def test_sessions_expire_in_order_of_time_then_number_and_only_so_many_at_once() -> None:
    """At most TIMERS_PER_ENTRY_MAX end before one batch; identities of their events rise and are unique."""
    log = Log()
    items = [join_item(0, 0, 0, encode_call(OPEN_SESSION, 1, [f"p{n}", (20 - n % 7) * SECOND])) for n in range(100)]
    numbers = [decode(answer.body) for answer in log.entry(items).answers]
    log.tick(100)
    assert len(log.replica.sessions) == 100 - 64
    assert log.replica.next_due() is not None
    assert log.replica.next_due() <= log.now
    log.tick()
    assert not log.replica.sessions
    expected = sorted(numbers, key=lambda number: (20 - numbers.index(number) % 7, number))
    assert [value[1] for value in log.values_of_events()] == expected
    identities = [(e.index, e.position, e.step, e.number) for _, e in log.events()]
    assert identities == sorted(set(identities))


def test_restored_sessions_expire_as_the_others_do() -> None:
    """What a snapshot carries of a session is all that decides about its end: same root before and after."""
    log = Log()
    sessions = [log.open(f"p{n}", ttl_seconds=10 + n) for n in range(5)]
    for _ in range(4):
        log.now += 3 * SECOND
        for session in sessions[:3]:
            log.send(session, "put", "a", 1, sequence=log.next_sequence(session))
    log.entry([], FLAG_HASH_POINT)
    restored = log.restored()
    for _ in range(8):
        log.now += 3 * SECOND
        root = log.entry([], FLAG_HASH_POINT).root
        assert restored.apply(log.entries[-1]).root == root
    assert not log.replica.sessions
    assert not restored.sessions


def test_sessions_end_while_a_snapshot_is_being_read() -> None:
    """A cut shows the sessions as they were, also those that ended, changed or began before their bucket was read."""
    from rsm.replica.replica import Replica
    from rsm.replica.snapshot import parts, restore

    log = Log()
    ending, changing = log.open("ann"), log.open("bob")
    log.run(changing, "put", "a", 1)
    root = log.entry([], FLAG_HASH_POINT).root
    stream = parts(log.replica, bytes(16))
    records = [next(stream)]
    log.close(ending)
    log.run(changing, "put", "a", 2)
    log.open("eve")
    records += list(stream)
    restored = Replica(Everything)
    restore(restored, records)
    assert restored.root() == root
    assert sorted(restored.sessions) == [ending, changing]
    assert restored.sessions[changing].next_sequence == 2


def test_there_is_a_bound_on_sessions(monkeypatch: object) -> None:
    """The session above SESSIONS_MAX is refused with a reason; one that closes makes room."""
    from rsm.replica import system_commands

    assert SESSIONS_MAX >= 10_000
    log = Log()
    before = system_commands.SESSIONS_MAX
    system_commands.SESSIONS_MAX = 3  # type: ignore[misc]
    try:
        sessions = [log.open() for _ in range(3)]
        answer = log.lead(OPEN_SESSION, "", 0)
        assert (answer.status, decode(answer.body)) == (Status.REJECTED, ["there are 3 sessions already", -1])
        log.lead(CLOSE_SESSION, sessions[0])
        assert log.open() == 4
    finally:
        system_commands.SESSIONS_MAX = before  # type: ignore[misc]


def test_sessions_are_part_of_the_root() -> None:
    """Two replicas that differ only in what a session was answered have different roots."""
    log = Log()
    session = log.open("ann")
    log.run(session, "put", "a", 1)
    other = log.replayed()
    assert other.root() == log.replica.root()
    other.sessions.touch(other.sessions[session], other.index + 1, log.now)
    record = other.sessions[session].record()
    [(sequence, fingerprint, status, _)] = record.answers
    answers = ((sequence, fingerprint, status, b"\x07"),)
    other.sessions[session] = Session.restored(session, msgspec.structs.replace(record, answers=answers))
    assert other.root() != log.replica.root()
