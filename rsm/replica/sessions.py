"""Sessions: each client's commands take effect once each, in the order they were sent.

A session expects its sequence numbers one after another. The next one runs; an earlier one is a retry and gets its
cached answer; a later one means that a command got lost on the way, and is sent back for the client to start again from
the gap. With every command the client says the lowest sequence that it still waits for; answers below that are dropped.
Answers are also dropped, oldest first, when a session holds more than `SESSION_ANSWER_BYTES_MAX`; their retries get
"outcome unknown". A session ends when it is closed, or when the log's clock says that it was silent for its time to
live.

The table is one container of the store like any other (leaf key: session number, value: the whole record), but its
ledger is brought up to date at hash points and cuts only: hashing an answer window after every batch would cost more
than running the commands.
"""

from __future__ import annotations

from collections import Counter, deque
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from rsm.limits import SESSION_ANSWER_BYTES_MAX
from rsm.replica.answer import Answer, Status
from rsm.state.leaf import ABSENT, ALGORITHM, SUM_MASK, bucket_of, leaf_hash
from rsm.state.ledger import Ledger
from rsm.state.types import Struct

ANSWER_OVERHEAD_BYTES = 64  # what an answer costs in memory besides its body


class SessionRecord(Struct, frozen=True):
    """A session as it lies in snapshots. `answers`: (sequence, fingerprint, status, body), by sequence."""

    principal: str
    ttl: int
    last_active: int
    next_sequence: int
    lowest: int
    answers: tuple[tuple[int, int, int, bytes], ...]


class Session:
    """One live session. Times in nanoseconds of log time; `ttl` 0 never expires."""

    __slots__ = (
        "_answers",
        "_fingerprints",
        "answer_bytes",
        "last_active",
        "lowest",
        "next_sequence",
        "number",
        "principal",
        "touched_at",
        "ttl",
    )

    def __init__(self, number: int, principal: str, ttl: int, now: int) -> None:
        self.number = number
        self.principal = principal
        self.ttl = ttl
        self.last_active = now
        self.next_sequence = 1
        self.lowest = 1  # answers below are gone
        # Of the sequence numbers from `lowest` to the last one, without a gap.
        self._answers: deque[Answer] = deque()
        self._fingerprints: deque[int] = deque()
        self.answer_bytes = 0
        self.touched_at = 0  # the last index that changed it; not state, only saves work within a batch

    def earlier(self, sequence: int, fingerprint: int) -> Answer:
        """The answer to a sequence number that is not the next one."""
        if sequence > self.next_sequence:
            return Answer(Status.SEQUENCE_GAP, b"")
        place = sequence - self.lowest
        if place < 0:
            return Answer(Status.SESSION_EXPIRED, b"")
        if self._fingerprints[place] != fingerprint:
            return Answer(Status.SEQUENCE_REUSED, b"")
        return self._answers[place]

    def remember(self, fingerprint: int, answer: Answer, lowest_unanswered: int) -> None:
        """Cache the answer of the next sequence number and drop what the client no longer waits for."""
        sequence = self.next_sequence
        self._answers.append(answer)
        self._fingerprints.append(fingerprint)
        self.next_sequence = sequence + 1
        self.answer_bytes += len(answer.body) + ANSWER_OVERHEAD_BYTES
        # In line: with thousands of commands in flight almost every one drops an answer.
        while self.lowest < sequence and (
            self.lowest < lowest_unanswered or self.answer_bytes > SESSION_ANSWER_BYTES_MAX
        ):
            self._fingerprints.popleft()
            self.answer_bytes -= len(self._answers.popleft().body) + ANSWER_OVERHEAD_BYTES
            self.lowest += 1

    def record(self) -> SessionRecord:
        """The session as state."""
        numbered = zip(count(self.lowest), self._fingerprints, self._answers, strict=False)
        answers = tuple((sequence, mark, int(answer.status), answer.body) for sequence, mark, answer in numbered)
        return SessionRecord(self.principal, self.ttl, self.last_active, self.next_sequence, self.lowest, answers)

    @classmethod
    def restored(cls, number: int, record: SessionRecord) -> Session:
        """A live session from its record."""
        self = cls(number, record.principal, record.ttl, record.last_active)
        self.next_sequence, self.lowest = record.next_sequence, record.lowest
        for _, mark, status, body in record.answers:
            self._fingerprints.append(mark)
            self._answers.append(Answer(status, body))
            self.answer_bytes += len(body) + ANSWER_OVERHEAD_BYTES
        return self


class SessionTable(dict[int, Session]):
    """All live sessions by number; a container of the store."""

    def __init__(self) -> None:
        super().__init__()
        self._record: Any = None  # containers get a recorder; sessions are never rolled back and ignore it
        self._counts: Counter[str] = Counter()  # sessions of each principal
        self._due: list[tuple[int, int]] = []  # a heap of (no later than this session expires, number)
        schema = f"{ALGORITHM}; int -> SessionRecord/1"
        self._ledger = SessionLedger("rsm.sessions", "sessions", schema, int, SessionRecord, self)

    def open(self, number: int, principal: str, ttl: int, now: int) -> None:
        """Begin a session."""
        self._ledger.touch(number)
        self._add(Session(number, principal, ttl, now))

    def end(self, number: int) -> None:
        """Forget a session."""
        self._ledger.touch(number)
        self._remove(number)

    def of_principal(self, principal: str) -> int:
        """How many sessions a principal has."""
        return self._counts[principal]

    def touch(self, session: Session, index: int, now: int) -> None:
        """Tell that a session is about to change in the batch at `index`; once a batch and session is enough."""
        self._ledger.touch(session.number)
        session.touched_at = index
        session.last_active = now

    def _add(self, session: Session) -> None:
        self._remove(session.number)
        self[session.number] = session
        self._counts[session.principal] += 1
        self._watch(session)

    def _remove(self, number: int) -> None:
        session = self.pop(number, None)
        if session is not None:
            self._counts[session.principal] -= 1
            if not self._counts[session.principal]:
                del self._counts[session.principal]

    def _watch(self, session: Session) -> None:
        if session.ttl:
            heappush(self._due, (session.last_active + session.ttl, session.number))

    def expired(self, now: int) -> int | None:
        """The number of the session that expired first, by (time, number), or None. It stays until it is ended."""
        due = self._due
        while due and due[0][0] <= now:
            at, number = due[0]
            session = self.get(number)
            if session is not None and session.last_active + session.ttl == at:
                return number
            heappop(due)  # it has ended, or was active since: look again at its new time
            if session is not None:
                self._watch(session)
        return None

    def next_due(self) -> int | None:
        """A log time before which no session expires."""
        return self._due[0][0] if self._due else None

    def _leaf(self, leaf_key: Any, default: Any) -> Any:
        session = self.get(leaf_key)
        return default if session is None else session.record()

    def _restore(self, leaf_key: Any, old: Any) -> None:
        if old is ABSENT:
            self._remove(leaf_key)
            self._due = [pair for pair in self._due if pair[1] != leaf_key]
            heapify(self._due)
        else:
            self._add(Session.restored(leaf_key, old))

    def _empty(self) -> None:
        self.clear()
        self._counts.clear()
        self._due.clear()


class SessionLedger(Ledger):
    """A ledger that hashes late: it remembers which sessions changed, and the hashes that its sums contain."""

    __slots__ = ("_booked", "_changed")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._changed: set[int] = set()
        self._booked: dict[int, int] = {}

    def touch(self, number: int) -> None:
        """A session is about to change: open cuts get its record as it still is."""
        if self.overlays:
            old = self.leaf(number, ABSENT)
            for overlay in self.overlays:
                overlay.note(bucket_of(number), number, old)
        self._changed.add(number)

    def settle(self) -> None:
        """Bring the sums up to date."""
        for number in self._changed:
            record = self.leaf(number, ABSENT)
            bucket = bucket_of(number)
            change = -self._booked.pop(number, 0)
            if record is ABSENT:
                self._leave(bucket, number)
            else:
                self._booked[number] = leaf_hash(number, record, self.seed)
                change += self._booked[number]
                self._join(bucket, number)
            self.sums[bucket] = (self.sums[bucket] + change) & SUM_MASK
        self._changed.clear()

    def load(self, leaves: list[tuple[Any, Any]]) -> None:
        """Add sessions that are being restored, and book them."""
        for number, record in leaves:
            self.container._restore(number, record)
            self._changed.add(number)
        self.settle()

    def clear(self) -> None:
        """Forget everything, as before a restore."""
        super().clear()
        self._changed.clear()
        self._booked.clear()
