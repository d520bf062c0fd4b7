"""What must hold after every event of a simulation, whatever fails; a violation names the rule, the time and the nodes.

The judge keeps the *canonical log*: each entry as the first node to apply it had it. From then on every node that
applies an index must have the same chain of entries up to there, a new leader must hold it, and what clients were told
must lie in it. None of this asks the code under test whether it is right: the chains are computed anew, and every so
often the bytes that would survive a power cut are read back from the simulated disks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Set
from typing import Any, Final, Protocol

import msgspec

from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes, RsmError
from rsm.machine.machine import StateMachine
from rsm.node.storage.disk import Disk
from rsm.node.storage.journal import Journal
from rsm.node.storage.scan import scan
from rsm.replica.answer import Status
from rsm.replica.batch import decode_batch
from rsm.replica.replica import Replica
from rsm.testing.workload import Call

__all__ = ["UNCHECKED", "Judge", "Observed", "Violation", "chain_of", "survives"]

# The rule of a "violation" that is none: something could not be checked.
UNCHECKED: Final = "unchecked"


class Violation(msgspec.Struct, frozen=True):
    """One broken rule. `nodes`: who is involved; `index`: where in the log, 0 for nowhere."""

    rule: str
    time: float
    nodes: tuple[int, ...]
    index: int
    what: str

    def __str__(self) -> str:
        where = f" at index {self.index}" if self.index else ""
        who = f" (nodes {', '.join(map(str, self.nodes))})" if self.nodes else ""
        return f"{self.time:.6f}: {self.rule}{where}{who}: {self.what}"


class Observed(Protocol):
    """A running node, as the judge looks at it."""

    @property
    def term(self) -> int: ...
    @property
    def is_leader(self) -> bool: ...
    @property
    def commit_index(self) -> int: ...
    @property
    def applied_index(self) -> int: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def replica(self) -> Replica: ...


class _Seen:
    """What was last seen of one process."""

    __slots__ = ("applied", "commit", "end", "process", "root_index", "term")

    def __init__(self, process: int) -> None:
        self.process = process
        self.term = 0
        self.commit = 0
        self.applied = 0
        self.root_index = 0
        self.end = (0, 0)


class Judge:
    """Watches a cluster. `violations` are in the order found; a run ends at the first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.violations: list[Violation] = []
        self.entries: list[Entry] = []  # the canonical log: index i at place i - 1
        self.chains: list[bytes] = [ZERO_CHAIN]  # after index i at place i
        self.roots: dict[int, tuple[int, bytes]] = {}  # index -> (node, root)
        self.leaders: dict[int, int] = {}  # term -> node
        self.checks = 0
        # Where states differ on purpose: what is right at an index, and who may have something else.
        self.truth: Callable[[int], bytes | None] | None = None
        self.is_tainted: Callable[[int], bool] = lambda _: False
        self._clock = clock
        self._seen: dict[int, _Seen] = {}
        # By index and term: each entry as first logged by anybody, and the term of the one before it.
        self._logged: dict[tuple[int, int], tuple[Entry, int]] = {}
        self._ends: dict[tuple[int, int], tuple[int, bytes]] = {}  # (index, term) -> (node, chain)

    def broken(self, rule: str, what: str, nodes: Iterable[int] = (), index: int = 0) -> None:
        """Record a violation."""
        self.violations.append(Violation(rule, self._clock(), tuple(nodes), index, what))

    @property
    def last_index(self) -> int:
        """How far the log is known to be committed."""
        return len(self.entries)

    # --- one node, after something happened to it ---------------------------------------------------------------------

    def observe(self, node: int, process: int, member: Observed) -> None:
        """Look at a node; `process` counts its restarts."""
        self.checks += 1
        seen = self._seen.get(node)
        if seen is None or seen.process != process:
            seen = self._seen[node] = _Seen(process)
        if member.term < seen.term:
            self.broken("terms rise", f"from {seen.term} to {member.term}", [node])
        if member.is_leader:
            self._see_leader(node, member)
        seen.term = member.term
        if member.commit_index < seen.commit:
            self.broken("commit index is monotonic", f"from {seen.commit} to {member.commit_index}", [node])
        seen.commit = member.commit_index
        if member.applied_index > member.commit_index:
            self.broken(
                "only what is committed is applied",
                f"applied {member.applied_index}, committed {member.commit_index}",
                [node],
            )
        journal = member.journal
        if not journal.is_usable:
            return
        end = (journal.last_index, journal.last_term)
        if end != seen.end:
            seen.end = end
            self._see_end(node, end, journal)
        if member.applied_index != seen.applied:
            self._see_applied(node, seen.applied, member)
            seen.applied = member.applied_index

    def _see_leader(self, node: int, member: Observed) -> None:
        leader = self.leaders.get(member.term)
        if leader == node:
            return
        if leader is not None:
            self.broken("one leader a term", f"two lead in term {member.term}", sorted((leader, node)))
            return
        self.leaders[member.term] = node
        journal, last = member.journal, self.last_index
        if not journal.is_usable:
            return
        if journal.last_index < last:
            self.broken(
                "leader completeness",
                f"the leader of term {member.term} ends at {journal.last_index}, but {last} is committed",
                [node],
                journal.last_index + 1,
            )
        elif chain_of(journal, last) not in (None, self.chains[last]):
            self.broken("leader completeness", f"the leader of term {member.term} holds another log", [node], last)

    def _see_applied(self, node: int, before: int, member: Observed) -> None:
        applied, journal = member.applied_index, member.journal
        if applied < before:
            self.broken("applied index is monotonic", f"from {before} to {applied}", [node])
            return
        if applied > self.last_index:
            self._extend(node, applied, journal.term_at(applied))
        if applied <= self.last_index and chain_of(journal, applied) not in (None, self.chains[applied]):
            self.broken("state machine safety", "applied another log than the others", [node], applied)
        for index, root in member.replica.roots.items():
            if (index <= before and index in self.roots) or self.is_tainted(node):
                continue
            if self.truth is not None:
                true_root = self.truth(index) if index > before else None
                if true_root not in (None, root):
                    self.broken("equal roots", f"{root.hex()}, the log gives another", [node], index)
                continue
            other = self.roots.setdefault(index, (node, root))
            if other[1] != root:
                self.broken("equal roots", f"{other[1].hex()} and {root.hex()}", sorted({other[0], node}), index)

    def _extend(self, node: int, index: int, term: int) -> None:
        """Add to the canonical log what was logged up to an index; the node itself may have removed it since."""
        new: list[Entry] = []
        while index > self.last_index:
            logged = self._logged.get((index, term))
            if logged is None:
                self.broken("state machine safety", "applied what no node has logged", [node], index)
                return
            entry, term = logged
            new.append(entry)
            index -= 1
        for entry in reversed(new):
            self.entries.append(entry)
            self.chains.append(next_chain(self.chains[-1], entry.index, entry.term, entry.kind, entry.payload))

    def _see_end(self, node: int, end: tuple[int, int], journal: Journal) -> None:
        chain = journal.last_chain
        other = self._ends.setdefault(end, (node, chain))
        if other[1] != chain:
            self.broken("log matching", f"two logs with term {end[1]} there", sorted({other[0], node}), end[0])
        first = last = journal.last_index
        while first >= journal.first_index and (first, journal.term_at(first)) not in self._logged:
            first -= 1
        with contextlib.suppress(BadBytes):  # flipped bits: what is there was seen when it was written
            for entry in journal.read(first + 1, last):
                self._logged[entry.index, entry.term] = entry, journal.term_at(entry.index - 1)

    # --- what clients are told ----------------------------------------------------------------------------------------

    def answered(self, index: int, holders: list[int], quorum: int) -> None:
        """A leader gives the answers of the entry at `index`; `holders` have it on their disks."""
        if index > self.last_index:
            self.broken("acknowledged is applied", f"nobody has applied index {index}", [], index)
        if len(holders) < quorum:
            self.broken(
                "acknowledged is durable on a quorum", f"only nodes {holders} hold it, {quorum} must", holders, index
            )

    # --- at the end ---------------------------------------------------------------------------------------------------

    def replay(self, machine: type[StateMachine], calls: list[Call], doubtful: Set[int] = frozenset()) -> None:
        """Run the canonical log once more, and compare: roots, answers, one effect for each command, order in time.

        `doubtful`: requests that were answered by a node whose state differed on purpose.
        """
        replica = Replica(machine)
        replica.is_lone = False
        effects: dict[tuple[int, int], tuple[int, Any]] = {}
        expected: dict[int, int] = {}
        for entry in self.entries:
            answers = replica.apply(entry).answers
            if entry.kind is not RecordKind.BATCH:
                continue
            for item, answer in zip(decode_batch(entry.payload).items, answers, strict=True):
                session, sequence = item[0], item[1]
                if session and sequence == expected.get(session, 1) and answer.status != Status.SESSION_EXPIRED:
                    expected[session] = sequence + 1
                    effects[session, sequence] = entry.index, answer
        for index, root in sorted(replica.roots.items()):
            node, theirs = self.roots.get(index, (0, root))
            if theirs != root:
                self.broken("replay gives the same root", f"{root.hex()}, was {theirs.hex()}", [node], index)
        if replica.difference is not None:
            index = replica.difference.index
            self.broken("replay gives the same root", "another one was confirmed by a quorum", [], index)
        self._compare(calls, effects, doubtful)

    def _compare(self, calls: list[Call], effects: dict[tuple[int, int], tuple[int, Any]], doubtful: Set[int]) -> None:
        settled: list[tuple[Call, int]] = []
        for call in calls:
            if call.kind != "command" or call.answer is None:
                continue
            effect = effects.get((call.session, call.sequence))
            if effect is None or effect[0] > call.index:
                self.broken(
                    "acknowledged commands are not lost",
                    f"{call.name}{call.values}, {call.sequence} of session {call.session}, is not in the log",
                    [],
                    call.index,
                )
            elif effect[1] != call.answer and call.request not in doubtful:
                self.broken(
                    "one answer a command",
                    f"{call.name}{call.values} took effect as {effect[1]}, its client was told {call.answer}",
                    [],
                    effect[0],
                )
            else:
                settled.append((call, effect[0]))
        self._check_order(settled)

    def _check_order(self, settled: list[tuple[Call, int]]) -> None:
        """What was answered before a call was made took effect before it."""
        by_return = sorted(settled, key=lambda pair: (pair[0].returned or 0.0, pair[1]))
        latest, place = 0, 0
        for call, index in sorted(settled, key=lambda pair: pair[0].called):
            while place < len(by_return) and (by_return[place][0].returned or 0.0) < call.called:
                latest = max(latest, by_return[place][1])
                place += 1
            if index < latest:
                self.broken(
                    "real-time order",
                    f"{call.name}{call.values} took effect before what was answered earlier",
                    [],
                    index,
                )


def chain_of(journal: Journal, index: int) -> bytes | None:
    """The chain after an entry; None where the log does not reach, or is damaged."""
    if index == journal.last_index:
        return journal.last_chain
    if not journal.first_index - 1 <= index < journal.last_index:
        return None
    try:
        return journal.chain_at(index)
    except BadBytes:
        return None


def survives(disk: Disk, path: str, index: int, chain: bytes) -> bool:
    """Whether the log in a directory holds the entry at `index`, with this chain behind it; reads it from the disk."""
    try:
        log = scan(disk, path)
        for scanned in log:
            if scanned.entry.index == index:
                return scanned.chain == chain
    except RsmError:
        return False
    # Compacted away: then a snapshot holds it.
    return index < log.first_index
