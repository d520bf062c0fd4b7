"""One member on a bench: an engine over a fake journal, whose messages and syncs are the test's own business."""

from __future__ import annotations

import random
from typing import Any, TypeVar

from rsm.codec.record import Entry, RecordKind
from rsm.raft.cluster import ClusterEngine
from rsm.raft.configuration import Configuration
from rsm.raft.messages import AppendEntries, AppendReply, Message, PreVote, RequestVote, VoteReply
from tests.unit.raft.fake_journal import FakeJournal, FullDisk
from tests.unit.raft.network import ELECTION, HEARTBEAT, configuration_of

__all__ = ["Bench", "append", "batch", "group", "settle"]

M = TypeVar("M", bound=Message)


def batch(index: int, term: int, text: bytes = b"") -> Entry:
    """An entry whose payload says what it is."""
    return Entry(index, term, RecordKind.BATCH, text or b"%d of term %d" % (index, term))


def append(
    term: int,
    previous: tuple[int, int],
    *entries: Entry,
    commit: int = 0,
    start: int = 0,
    round_number: int = 0,
) -> AppendEntries:
    """A leader's message behind (index, term)."""
    return AppendEntries(term, *previous, commit, round_number, start or previous[0] + 1, entries)


class Bench:
    """The member, its disk, and what it has done: `applied`, `reads`, `truncated`, and `sent`, taken by `take`."""

    def __init__(
        self,
        number: int = 1,
        configuration: Configuration | None = None,
        terms: list[int] | None = None,
        *,
        base: int = 0,
        term: int | None = None,
        vote: int | None = None,
        is_recovering: bool = False,
    ) -> None:
        """`terms` are those of the entries that its log holds behind `base`."""
        self.number = number
        self.now = 0.0
        self.configuration = configuration or configuration_of(1, 2, 3)
        self.journal = FakeJournal(base, 1 if base else 0, self.configuration)
        for index, entry_term in enumerate(terms or [], base + 1):
            self.journal.append([batch(index, entry_term)])
        self.journal.reopen()
        self.term = self.journal.last_term if term is None else term
        self.vote = vote
        self.is_marked = is_recovering
        self.restart()

    def restart(self) -> None:
        """A new process on the same disk."""
        journal = self.journal
        journal.reopen()
        self.sent: list[tuple[int, Message]] = []
        self.applied: list[Entry] = []
        self.reads: list[tuple[object, int]] = []
        self.truncated: list[int] = []
        self.snapshots: list[int] = []
        self.engine = ClusterEngine(
            self.number,
            journal,
            term=self.term,
            vote=self.vote,
            configurations=journal.configurations() or [(0, self.configuration)],
            commit_index=journal.base_index,
            is_recovering=self.is_marked,
            now=self.now,
            heartbeat_seconds=HEARTBEAT,
            election_seconds=ELECTION,
            chance=random.Random(self.number),
        )

    @property
    def log(self) -> list[tuple[int, int]]:
        """Index and term of every entry in the journal."""
        return [(entry.index, entry.term) for entry in self.journal.entries]

    def flush(self, *, sync: bool = True) -> None:
        """Carry out what is ready; with `sync`, everything is durable afterwards."""
        for _ in range(3):
            ready = self.engine.ready()
            if ready.hard_state is not None:
                self.term, self.vote = ready.hard_state
            if ready.truncate_from:
                self.truncated.append(ready.truncate_from)
                self.journal.truncate_from(ready.truncate_from)
            try:
                self.journal.append(ready.persist)
                self.sent += ready.messages
            except FullDisk:
                self.engine.refused(self.journal.last_index + 1)
            if ready.has_recovered:
                self.is_marked = False
            self.applied += ready.committed
            self.reads += ready.reads
            self.snapshots = list(ready.snapshots)
            if sync:
                self.sync()

    def sync(self) -> None:
        """The disk has written everything."""
        self.journal.sync()
        self.engine.durable(self.journal.durable_index)

    def receive(self, sender: int, message: Message, *, sync: bool = True) -> None:
        """Something arrives, and what follows is carried out."""
        self.engine.receive(sender, message, self.now)
        self.flush(sync=sync)

    def wait(self, seconds: float) -> None:
        """Time passes, in ticks."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + HEARTBEAT / 2)
            self.engine.tick(self.now)
            self.flush()

    def take(self, kind: type[M]) -> list[tuple[int, M]]:
        """The messages of this kind since the last call; all others are forgotten."""
        sent, self.sent = self.sent, []
        return [(receiver, message) for receiver, message in sent if isinstance(message, kind)]

    def replies(self) -> list[AppendReply]:
        """Its answers to leaders since the last call."""
        return [message for _, message in self.take(AppendReply)]

    def elect(self, *voters: int, weak: tuple[int, ...] = ()) -> None:
        """Let it stand in an election in which these grant their votes."""
        self.take(Message)
        term = self.stand()
        for voter in voters:
            self.receive(voter, VoteReply(term, True, True, voter in weak, 0))
        for _, request in self.take(RequestVote)[:1]:
            for voter in voters:
                self.receive(voter, VoteReply(request.term, False, True, voter in weak, 0))

    def stand(self) -> int:
        """Wait until it asks for pre-votes; for which term."""
        for _ in range(100):
            if asked := self.take(PreVote):
                return asked[0][1].term
            self.wait(HEARTBEAT)
        raise AssertionError(f"node {self.number} does not stand")

    def acknowledge(self, number: int, index: int, *, sync: bool = True, **changes: Any) -> None:
        """A member says that it has everything up to here."""
        fields: dict[str, Any] = {
            "previous_index": index,
            "match_index": index,
            "hint_index": 0,
            "round": 0,
            "is_recovering": False,
            "root_index": 0,
            "root": b"",
            "applied_index": 0,
        }
        reply = AppendReply(self.engine.term, changes.pop("accepted", True), **(fields | changes))
        self.receive(number, reply, sync=sync)


def group(*numbers: int, **options: Any) -> dict[int, Bench]:
    """Members of one group, on benches that `settle` connects."""
    configuration = configuration_of(*numbers)
    return {number: Bench(number, configuration, **options) for number in numbers}


def settle(benches: dict[int, Bench], rounds: int = 20) -> None:
    """Deliver messages until there are no more, or for so many rounds."""
    for _ in range(rounds):
        mail = [(bench.number, *sent) for bench in benches.values() for sent in bench.take(Message)]
        if not mail:
            return
        for sender, receiver, message in mail:
            if receiver in benches:
                benches[receiver].receive(sender, message)
