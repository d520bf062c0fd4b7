"""The judge of a simulation is silent about sound histories and names each rule that a planted fault breaks."""

from __future__ import annotations

from typing import Any

import pytest

from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError
from rsm.node.storage.journal import Journal
from rsm.replica.answer import Answer
from rsm.replica.batch import ACTIVATE, OPEN_SESSION, encode_call, join_batch, join_item
from rsm.replica.replica import Replica
from rsm.state.leaf import encode
from rsm.testing.disk import FaultDisk, Survival
from rsm.testing.invariants import Judge, survives
from rsm.testing.workload import Call
from tests.machines import SEED, START, Bank


def entries(*texts: str, term: int = 1, first: int = 1) -> list[Entry]:
    return [Entry(first + place, term, RecordKind.BATCH, text.encode()) for place, text in enumerate(texts)]


class Node:
    """A node as the judge sees it: a real journal, and numbers to set."""

    def __init__(self, number: int, log: list[Entry]) -> None:
        self.number = number
        self.disk = FaultDisk()
        self.journal = Journal.open(self.disk, "log")
        self.journal.append(log)
        self.journal.sync()
        self.replica: Any = Replica(Bank)
        self.term, self.is_leader, self.commit_index, self.applied_index = 1, False, 0, 0

    def apply(self, index: int) -> Node:
        self.commit_index = self.applied_index = index
        return self


LOG = entries("a", "b", "c")


def judged(*nodes: Node) -> list[str]:
    judge = Judge(lambda: 1.0)
    for node in nodes:
        judge.observe(node.number, 1, node)
    return [violation.rule for violation in judge.violations]


def test_nodes_that_agree_break_nothing() -> None:
    """A leader and followers that lag differently, with an uncommitted end that differs in term."""
    leader = Node(1, [*LOG, *entries("d", term=2, first=4)]).apply(3)
    leader.is_leader, leader.term = True, 2
    assert judged(Node(2, LOG[:2]).apply(1), leader, Node(3, [*LOG, *entries("x", first=4)]).apply(2)) == []


def test_two_leaders_of_a_term() -> None:
    """Both are named."""
    first, second = Node(1, LOG), Node(2, LOG)
    first.is_leader = second.is_leader = True
    judge = Judge(lambda: 7.5)
    for node in (first, second):
        judge.observe(node.number, 1, node)
    assert [(one.rule, one.nodes, one.time) for one in judge.violations] == [("one leader a term", (1, 2), 7.5)]


def test_another_entry_applied() -> None:
    """The first to apply an index decides; whoever applies something else there is found."""
    other = Node(2, entries("a", "B", "c")).apply(3)
    assert "state machine safety" in judged(Node(1, LOG).apply(3), other)


def test_logs_that_match_in_term_and_differ() -> None:
    """Same index and term, other entries before: nobody has applied anything yet."""
    assert judged(Node(1, LOG), Node(2, entries("a", "B", "c"))) == ["log matching"]


def test_a_leader_without_what_is_committed() -> None:
    """It ends too early, or holds something else."""
    short, other = Node(2, LOG[:2]), Node(3, [*LOG[:2], *entries("C", first=3, term=2)])
    for node in (short, other):
        node.is_leader, node.term = True, 3
        assert judged(Node(1, LOG).apply(3), node) == ["leader completeness"]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("commit_index", 1, "commit index is monotonic"),
        ("term", 0, "terms rise"),
        ("applied_index", 1, "applied index is monotonic"),
        ("applied_index", 3, "only what is committed is applied"),
    ],
)
def test_numbers_that_fall(field: str, value: int, rule: str) -> None:
    """Numbers of one process only rise, and nothing is applied before it is committed."""
    node = Node(1, LOG).apply(2)
    judge = Judge(lambda: 1.0)
    judge.observe(1, 1, node)
    setattr(node, field, value)
    judge.observe(1, 1, node)
    assert rule in [violation.rule for violation in judge.violations]


def test_a_new_process_begins_lower() -> None:
    """What a node has committed and applied is not on its disk; after a restart it counts up again."""
    node = Node(1, LOG).apply(2)
    judge = Judge(lambda: 1.0)
    judge.observe(1, 1, node)
    judge.observe(1, 2, node.apply(0))
    assert judge.violations == []


def test_roots_that_differ() -> None:
    """Equal logs, another state."""
    first, second = Node(1, LOG).apply(2), Node(2, LOG).apply(2)
    first.replica.roots, second.replica.roots = {2: b"a" * 16}, {2: b"b" * 16}
    assert judged(first, second) == ["equal roots"]


def test_answers_of_what_too_few_disks_hold() -> None:
    """A quorum must hold what is answered."""
    judge = Judge(lambda: 1.0)
    judge.observe(1, 1, Node(1, LOG).apply(3))
    judge.answered(3, [1, 2], 2)
    assert judge.violations == []
    judge.answered(3, [1], 2)
    judge.answered(4, [1, 2], 2)
    assert [one.rule for one in judge.violations] == ["acknowledged is durable on a quorum", "acknowledged is applied"]


def test_what_survives_is_read_from_the_disk() -> None:
    """Synced entries survive a power cut, others do not, and a damaged record is not taken for one."""
    node = Node(1, LOG)
    chains = [node.journal.chain_at(index) for index in range(4)]
    node.journal.append(entries("d", first=4))
    found = node.disk.restart(Survival.NOTHING)
    assert [survives(found, "log", index, chains[index]) for index in (1, 2, 3)] == [True] * 3
    assert not survives(found, "log", 4, node.journal.last_chain)
    assert not survives(found, "log", 3, chains[2])
    (path,) = (path for path in found.paths() if path.endswith(".log"))
    found.flip_bit(path, 8 * (len(found.contents(path).rstrip(b"\0")) - 1))
    assert not survives(found, "log", 3, chains[3])
    with pytest.raises(CallerError):
        node.journal.chain_at(9)


def history(judge: Judge, *amounts: int) -> list[Call]:
    """A canonical log of deposits by one session, and the calls that its client made."""
    definition = Bank.definition
    batches = [
        [join_item(0, 0, 0, encode_call(ACTIVATE, 1, [definition.name, 1, definition.schema(), SEED]))],
        [join_item(0, 0, 0, encode_call(OPEN_SESSION, 1, ["", 10**12]))],
        *([join_item(1, n, 0, encode_call("deposit", 1, ["ann", amount]))] for n, amount in enumerate(amounts, 1)),
    ]
    log = [Entry(i, 1, RecordKind.BATCH, join_batch(1, START + i, 0, items)) for i, items in enumerate(batches, 1)]
    judge.observe(1, 1, Node(1, log).apply(len(log)))
    calls, total = [], 0
    for number, amount in enumerate(amounts):
        total += amount
        call = Call(number, 1, "command", "deposit", ["ann", amount], float(number), number + 0.5, number + 3)
        call.answer, call.session, call.sequence = Answer(0, encode(total)), 1, number + 1
        calls.append(call)
    return calls


def replayed(change: Any) -> list[str]:
    judge = Judge(lambda: 1.0)
    calls = history(judge, 5, 7, 9)
    change(calls)
    judge.replay(Bank, calls)
    return [violation.rule for violation in judge.violations]


def test_a_history_that_the_log_explains() -> None:
    """Nothing is found, also for a retry that was answered later and a call without an answer."""

    def change(calls: list[Call]) -> None:
        calls[0].index = 5
        calls[2].returned = calls[2].answer = None

    assert replayed(change) == []


def test_an_acknowledged_command_that_is_not_in_the_log() -> None:
    """It was lost."""

    def change(calls: list[Call]) -> None:
        calls[2].sequence = 4

    assert replayed(change) == ["acknowledged commands are not lost"]


def test_an_answer_that_the_log_does_not_give() -> None:
    """A double effect shows as another answer."""

    def change(calls: list[Call]) -> None:
        calls[1].answer = Answer(0, encode(19))

    assert replayed(change) == ["one answer a command"]


def test_an_order_that_time_rules_out() -> None:
    """What was answered before a call was made took effect before it."""

    def change(calls: list[Call]) -> None:
        calls[0].called, calls[0].returned = 10.0, 11.0

    assert replayed(change) == ["real-time order"]
