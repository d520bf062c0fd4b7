"""Agreement: a case is decided by a majority of equal claims or not at all, and is the same wherever it is folded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.codec.chain import ZERO_CHAIN
from rsm.errors import BadBytes
from rsm.limits import ATTEST_SECONDS, CASES_KEPT, CODE_DIGEST_LENGTH_MAX, FAULT_LENGTH_MAX, REEXECUTE_SECONDS
from rsm.replica.agreement import Agreement, Case, Word, summary
from rsm.replica.answer import Status
from rsm.replica.batch import ATTEST, CONFIRMED, DISPUTE, RETURNED
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts, restore
from rsm.state.leaf import encode
from tests.machines import SECOND, Everything, Log, contents

GOOD, BAD, ODD = bytes(16), bytes([1]) * 16, bytes([2]) * 16
SCHEMA, OTHER_SCHEMA = b"s" * 16, b"t" * 16
INDEX = 64


def word(root: bytes = GOOD, rerun: bytes = b"", *, version: int = 1, schema: bytes = SCHEMA, fault: str = "") -> Word:
    return Word(root, rerun, version, schema, "c0de", fault)


def case_of(voters: int, *words: Word | None, index: int = INDEX) -> tuple[Agreement, Case]:
    """A case in which voters 1, 2 and so on have said this; None for one that has not spoken."""
    agreement = Agreement()
    agreement.dispute(index, tuple(range(1, voters + 1)), index + 1)
    for number, one in enumerate(words, 1):
        if one is not None:
            agreement.attest(index, number, one, index + 1 + number)
    return agreement, agreement.cases[index]


# --- the table, row by row --------------------------------------------------------------------------------------------


def test_attesting_until_a_majority_gives_one_root() -> None:
    """Two of three are enough; whoever has another root differs, also if it says so later."""
    agreement, case = case_of(3, word(BAD))
    assert (case.state, case.minority, case.is_open) == ("attesting", (), True)
    agreement.attest(INDEX, 2, word(), 70)
    assert (case.state, case.minority) == ("attesting", ())
    agreement.attest(INDEX, 3, word(), 71)
    assert (case.state, case.root, case.changed_at, case.minority, case.out) == ("decided", GOOD, 71, (1,), (1,))
    late = case_of(3, word(), word())
    assert late[1].minority == ()
    late[0].attest(INDEX, 3, word(BAD), 90)
    assert late[1].minority == (3,)


def test_when_all_have_spoken_without_a_majority_they_run_the_log_again() -> None:
    """One against one, and two against two: nobody is in the minority, and there is more time."""
    for words in ((word(), word(BAD)), (word(), word(), word(BAD), word(BAD)), (word(), word(BAD), word(ODD))):
        agreement, case = case_of(len(words), *words)
        assert (case.state, case.minority) == ("reexecuting", ())
        assert case.deadline == agreement.deadline == REEXECUTE_SECONDS * SECOND


def test_when_time_is_up_they_run_the_log_again() -> None:
    """A voter that says nothing is not waited for longer than the deadline, in log time."""
    agreement, case = case_of(3, word(BAD))
    agreement.pass_time(80, ATTEST_SECONDS * SECOND - 1)
    assert case.state == "attesting"
    agreement.pass_time(81, ATTEST_SECONDS * SECOND)
    assert (case.state, case.changed_at) == ("reexecuting", 81)
    agreement.pass_time(82, (ATTEST_SECONDS + REEXECUTE_SECONDS) * SECOND)
    assert (case.state, case.minority, agreement.deadline) == ("undecided", (), None)


def test_running_again_decides_what_happened_once() -> None:
    """Both come to the same root this time: whoever had another one before differs."""
    agreement, case = case_of(2, word(), word(BAD))
    agreement.attest(INDEX, 2, word(BAD, GOOD), 80)
    assert (case.state, case.minority) == ("decided", (2,))
    assert case.words[2] == word(BAD, GOOD)


def test_running_again_with_the_same_difference_decides_nothing() -> None:
    """It is their code, and nobody can say whose is right: undecided, and nobody differs."""
    agreement, case = case_of(2, word(), word(BAD))
    agreement.attest(INDEX, 1, word(GOOD, GOOD), 80)
    assert case.state == "reexecuting"
    agreement.attest(INDEX, 2, word(BAD, BAD), 81)
    assert (case.state, case.minority, agreement.deadline) == ("undecided", (), None)
    assert set(summary(case)["reruns"]) == {"1", "2"}


def test_a_late_word_decides_what_was_undecided() -> None:
    """A voter that was away speaks when all was given up."""
    agreement, case = case_of(3, word(), word(BAD))
    agreement.pass_time(80, 10 * SECOND)
    agreement.pass_time(81, 100 * SECOND)
    assert case.state == "undecided"
    agreement.attest(INDEX, 3, word(), 82)
    assert (case.state, case.minority, case.changed_at) == ("decided", (2,), 82)


def test_what_a_majority_finds_in_its_own_memory_is_no_minority() -> None:
    """Handlers that write behind the containers' back do so everywhere: an alarm, and the cluster goes on."""
    for reruns in (b"", GOOD):
        agreement, case = case_of(3, word(fault="x"), word(rerun=reruns, fault="x"))
        assert (case.state, case.minority, case.is_common_fault) == ("undecided", (), True)
        agreement.attest(INDEX, 3, word(), 80)
        assert (case.state, case.minority) == ("undecided", ())
    agreement, case = case_of(5, word(), word(), word(rerun=GOOD, fault="x"))
    assert (case.state, case.minority) == ("decided", (3,))
    agreement.attest(INDEX, 4, word(fault="x"), 80)
    assert (case.state, case.minority) == ("decided", (3, 4))
    agreement.attest(INDEX, 5, word(fault="x"), 81)
    assert (case.state, case.minority, case.out) == ("undecided", (), ())


def test_returned_is_not_out_any_more() -> None:
    """Only a root behind the case counts, and only of one that was in the minority."""
    agreement, case = case_of(3, word(BAD), word(), word())
    agreement.returned(1, INDEX, 80)
    agreement.returned(2, INDEX + 64, 81)
    assert (agreement.out(), case.returned) == ({1: INDEX}, {})
    agreement.returned(1, INDEX + 64, 82)
    assert (agreement.out(), case.returned, case.minority, case.out) == ({}, {1: 82}, (1,), ())


# --- what counts, and what does not -----------------------------------------------------------------------------------


def test_the_first_word_stands() -> None:
    """Who said one root cannot say another; a rerun can be added once."""
    agreement, case = case_of(2, word(BAD))
    agreement.attest(INDEX, 1, word(GOOD), 70)
    agreement.attest(INDEX, 1, word(GOOD, ODD), 71)
    agreement.attest(INDEX, 1, word(GOOD, GOOD), 72)
    assert case.words == {1: word(BAD, ODD)}


def test_only_voters_of_the_case_are_heard() -> None:
    """A learner, a node that joined later, an index that is not disputed."""
    agreement, case = case_of(2)
    agreement.attest(INDEX, 3, word(), 70)
    agreement.attest(INDEX + 64, 1, word(), 71)
    assert case.words == {}
    assert list(agreement.cases) == [INDEX]


def test_a_fault_is_no_claim_and_is_a_difference() -> None:
    """Who does not trust its own state differs, although its sums are those of the majority."""
    _, case = case_of(3, word(fault="a bucket changed"), word(), word())
    assert case.minority == (1,)
    _, case = case_of(3, word(fault="a bucket changed"), word())
    assert (case.state, case.minority) == ("attesting", ())
    assert case.unchecked == {3: "it has not attested"}


@pytest.mark.parametrize("odd", [word(BAD, version=2), word(BAD, schema=OTHER_SCHEMA), word(version=2, fault="x")])
def test_roots_of_another_version_or_schema_are_unchecked(odd: Word) -> None:
    """They cannot be compared, so their node is never in the minority; and they make no majority with others."""
    _, case = case_of(3, word(), word(), odd)
    assert (case.state, case.minority) == ("decided", ())
    assert "another state schema" in case.unchecked[3]
    _, case = case_of(3, word(), word(GOOD, version=2), word(GOOD, schema=OTHER_SCHEMA))
    assert (case.state, case.minority) == ("reexecuting", ())


def test_a_root_that_is_not_known_any_more_is_unchecked() -> None:
    """A node that was restored behind the index agrees with nobody, and differs from nobody."""
    _, case = case_of(3, word(), word(), word(b""))
    assert case.minority == ()
    assert case.unchecked == {3: "it no longer knows its root there"}
    _, case = case_of(3, word(b""), word(b""), word(BAD))
    assert (case.state, case.minority) == ("reexecuting", ())


def test_cases_are_bounded() -> None:
    """A new one takes the place of the oldest that is closed; with none closed there is no room."""
    agreement = Agreement()
    for number in range(1, CASES_KEPT + 1):
        agreement.dispute(number, (1, 2, 3), number)
    agreement.dispute(CASES_KEPT + 1, (1, 2, 3), 90)
    assert CASES_KEPT + 1 not in agreement.cases
    for voter in (1, 2):
        agreement.attest(5, voter, word(), 91)
    agreement.dispute(CASES_KEPT + 1, (1, 2, 3), 92)
    assert len(agreement.cases) == CASES_KEPT
    assert 5 not in agreement.cases
    assert CASES_KEPT + 1 in agreement.cases
    agreement.dispute(1, (4,), 93)
    assert agreement.cases[1].voters == (1, 2, 3)


# --- the fold ---------------------------------------------------------------------------------------------------------

WORDS = st.builds(
    Word,
    st.sampled_from((b"", GOOD, GOOD, BAD, ODD)),
    st.sampled_from((b"", b"", GOOD, BAD)),
    st.sampled_from((1, 1, 1, 2)),
    st.sampled_from((SCHEMA, SCHEMA, SCHEMA, OTHER_SCHEMA)),
    st.sampled_from(("c0de", "beef")),
    st.sampled_from(("", "", "", "a scrub")),
)
INDEXES = st.integers(1, 4).map(lambda number: number * 64)
STEPS = st.one_of(
    st.tuples(st.just("dispute"), INDEXES, st.integers(1, 5)),
    st.tuples(st.just("attest"), INDEXES, st.integers(1, 6), WORDS),
    st.tuples(st.just("attest"), INDEXES, st.integers(1, 6), WORDS),
    st.tuples(st.just("attest"), INDEXES, st.integers(1, 6), WORDS),
    st.tuples(st.just("returned"), INDEXES, st.integers(1, 6)),
    st.tuples(st.just("time"), st.integers(0, 40)),
)


@dataclass
class Fold:
    """Steps, folded."""

    agreement: Agreement
    clock: int = 0
    at: int = 1000

    def step(self, step: tuple[Any, ...]) -> None:
        self.at += 1
        match step:
            case ("dispute", index, voters):
                self.agreement.dispute(index, tuple(range(1, voters + 1)), self.at)
            case ("attest", index, node, said):
                self.agreement.attest(index, node, said, self.at)
            case ("returned", index, node):
                self.agreement.returned(node, index, self.at)
            case ("time", seconds):
                self.clock += seconds * SECOND
                self.agreement.pass_time(self.at, self.clock)

    def reload(self) -> None:
        """Through a snapshot."""
        packed, self.agreement = self.agreement.encode(), Agreement()
        self.agreement.restore(packed, self.clock)


@given(st.lists(STEPS, max_size=60), st.sets(st.integers(0, 60), max_size=4))
def test_any_sequence_gives_the_same_cases_everywhere(steps: list[tuple[Any, ...]], reloads: set[int]) -> None:
    """On every node, restored from a snapshot anywhere on the way or not; never a minority without a majority."""
    one, other = Fold(Agreement()), Fold(Agreement())
    decided: dict[int, tuple[bytes, int, bytes]] = {}
    for place, step in enumerate(steps):
        one.step(step)
        other.step(step)
        if place in reloads:
            other.reload()
        assert one.agreement.cases == other.agreement.cases
        assert list(one.agreement.cases) == list(other.agreement.cases)
        assert one.agreement.encode() == other.agreement.encode()
        assert one.agreement.deadline == other.agreement.deadline
        for case in one.agreement.cases.values():
            check(case, one.clock)
            if case.state == "decided":  # once and for all
                claim = (case.root, case.version, case.schema)
                assert decided.setdefault(case.index, claim) == claim
            elif case.index in decided:
                assert case.is_common_fault


def check(case: Case, clock: int) -> None:
    """What holds of every case at any time."""
    claims = Counter(said.claim for said in case.words.values() if said.claim is not None)
    alive = {said.root for said in case.words.values() if not said.fault}  # what nobody has in service decides nothing
    best = max((count for claim, count in claims.items() if claim[0] in alive), default=0)
    faults = sum(bool(said.fault) for said in case.words.values())
    assert (case.state == "decided") == (best >= case.quorum and faults < case.quorum)
    assert set(case.words) <= set(case.voters)
    if case.is_open:
        assert clock < case.deadline
    if case.state != "decided":
        assert case.minority == case.out == ()
        return
    agreeing = [number for number, said in case.words.items() if said.claim == (case.root, case.version, case.schema)]
    assert len(agreeing) >= case.quorum > len(case.voters) // 2
    for number in case.minority:
        said = case.words[number]
        assert (said.version, said.schema) == (case.version, case.schema)
        assert said.fault or said.root not in (b"", case.root)
    assert set(case.returned) <= set(case.minority)
    assert not set(case.unchecked) & set(case.minority)
    assert summary(case)["minority"] == list(case.minority)


# --- in a log ---------------------------------------------------------------------------------------------------------


def attest_values(index: int, node: int, said: Word) -> list[Any]:
    return [index, node, said.root, said.rerun, said.version, said.schema, said.code, said.fault]


def disputed() -> Log:
    """A log with a case that is decided: node 3 differs at index 5."""
    log = Log()
    session = log.open()
    for number in range(4):
        log.send(session, "put", f"k{number}", number)
    assert log.lead(DISPUTE, 5, [1, 2, 3]).status == Status.OK
    for node, root in ((1, GOOD), (3, BAD), (2, GOOD)):
        assert log.lead(ATTEST, *attest_values(5, node, word(root))).status == Status.OK
    return log


def test_entries_of_a_log_make_and_decide_a_case() -> None:
    """The leader's commands are the steps; none of it is in the state or its root."""
    log = disputed()
    (case,) = log.replica.agreement.cases.values()
    assert (case.state, case.minority, case.voters) == ("decided", (3,), (1, 2, 3))
    assert log.lead(RETURNED, 3, 8).status == Status.OK
    assert case.out == ()
    assert case.returned == {3: log.replica.index}
    assert not any("agreement" in name for name in contents(log.replica))


def test_an_open_case_makes_time_pass_in_the_log() -> None:
    """Its deadline is due like a timer, so that an idle leader writes an entry then."""
    log = Log()
    log.tick()
    log.lead(DISPUTE, 1, [1, 2, 3])
    due = log.replica.next_due()
    assert due == log.now + ATTEST_SECONDS * SECOND
    log.tick(ATTEST_SECONDS)
    assert log.replica.agreement.cases[1].state == "reexecuting"


def test_a_snapshot_carries_the_cases() -> None:
    """Who is restored from it knows them, and goes on as the others do."""
    log = disputed()
    log.lead(DISPUTE, 6, [1, 2, 3])
    log.entry([], flags=1)
    restored = Replica(Everything)
    restore(restored, list(parts(log.replica, ZERO_CHAIN)))
    assert restored.agreement.cases == log.replica.agreement.cases
    assert restored.agreement.deadline == log.replica.agreement.deadline
    assert restored.root() == log.replica.root()
    for replica in (restored, log.replica):
        replica.agreement.pass_time(20, log.now + 10 * SECOND)
    assert restored.agreement.cases == log.replica.agreement.cases
    assert restored.agreement.cases[6].state == "reexecuting"


BAD_ENTRIES: list[tuple[str, list[Any]]] = [
    (DISPUTE, []),
    (DISPUTE, [5]),
    (DISPUTE, ["5", [1]]),
    (DISPUTE, [5, 1]),
    (DISPUTE, [5, []]),
    (DISPUTE, [5, [1, "2"]]),
    (DISPUTE, [5, [1, True]]),
    (DISPUTE, [5, [1, 1, 1]]),
    (DISPUTE, [5, [0, 1]]),
    (DISPUTE, [5, [-1]]),
    (DISPUTE, [5, list(range(1, 2000))]),
    (DISPUTE, [0, [1]]),
    (DISPUTE, [-64, [1]]),
    (DISPUTE, [10**6, [1]]),
    (DISPUTE, [2**63 - 1, [1]]),
    (DISPUTE, [True, [1]]),
    (RETURNED, [1]),
    (RETURNED, [3, 10**6]),
    (RETURNED, [3, -1]),
    (RETURNED, ["3", 8]),
    (CONFIRMED, [10**6, GOOD]),
    (CONFIRMED, [0, GOOD]),
    (ATTEST, []),
    (ATTEST, attest_values(5, 2, word(b"short"))),
    (ATTEST, attest_values(5, 2, word(rerun=b"short"))),
    (ATTEST, attest_values(5, 2, word(schema=b""))),
    (ATTEST, attest_values(5, 2, word(version=-1))),
    (ATTEST, attest_values(5, 2, word(fault="x" * (FAULT_LENGTH_MAX + 1)))),
    (ATTEST, attest_values(5, 2, Word(GOOD, b"", 1, SCHEMA, "c" * (CODE_DIGEST_LENGTH_MAX + 1), ""))),
    (ATTEST, [5, 2, GOOD, None, 1, SCHEMA, "", ""]),
    (ATTEST, [5, 2, "root", b"", 1, SCHEMA, "", ""]),
]


@pytest.mark.parametrize(("name", "values"), BAD_ENTRIES)
def test_malformed_entries_are_invalid_and_harmless(name: str, values: list[Any]) -> None:
    """Whatever a log holds, the answer is INVALID and nothing has changed: no case, no confirmed index."""
    log = disputed()
    before, confirmed = log.replica.agreement.encode(), log.replica.confirmed_index
    assert log.lead(name, *values).status == Status.INVALID
    assert log.replica.agreement.encode() == before
    assert log.replica.confirmed_index == confirmed
    log.tick(1)


def test_values_of_any_size_do_not_stop_a_snapshot() -> None:
    """Numbers as large as a log can hold are kept and written out again."""
    log = Log()
    log.now = 2**63 - 1
    log.tick()
    log.lead(DISPUTE, 1, [2**63 - 1, 2])
    log.lead(ATTEST, *attest_values(1, 2, word(version=2**63 - 1)))
    log.entry([], flags=1)
    restored = Replica(Everything)
    restore(restored, list(parts(log.replica, ZERO_CHAIN)))
    assert restored.agreement.cases == log.replica.agreement.cases


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc0",
        encode([[1]]),
        encode([["1", [1], 0, 0]]),
        encode([[1, [1], 0, 0, "no such state"]]),
        encode([[number, [1], 0, 0] for number in range(CASES_KEPT + 1)]),
    ],
)
def test_verdicts_that_cannot_be_read_are_refused(packed: bytes) -> None:
    """A snapshot with something else in their place is damaged."""
    with pytest.raises(BadBytes, match="verdicts"):
        Agreement().restore(packed, 0)
