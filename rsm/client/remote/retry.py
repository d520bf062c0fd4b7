"""The session core: what a client keeps so that each of its commands takes effect once, in order, whatever is lost.

Theory of operation. A session's commands are numbered from 1 when they are first taken for sending. Until its answer is
here a command stays listed under its number; `rewind` (after a reconnect, or when another node leads) makes everything
that is listed go out again, in order, before anything new. The replicas do the rest: the next number runs, an earlier
one gets the answer that was given, a later one is a gap. So a command may be sent, and answered, any number of times.

A gap means that something before it got lost, so it too makes everything unanswered go out again. Several frames are on
their way at once, and when the first is lost all others report the gap: only the first report may rewind, or each would
cause another round of the same. Each rewind therefore begins a *round*, and what a frame of an earlier round has to say
about gaps is old news.

No I/O, no clock, no locks: `push` may be called from any thread (appending to a deque is atomic), everything else from
one.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from rsm.errors import Busy, SessionExpired
from rsm.limits import (
    CLIENT_BYTES_PER_FRAME,
    CLIENT_COMMANDS_PER_FRAME,
    COMMANDS_IN_FLIGHT_MAX,
    SESSION_COMMANDS_SENT_MAX,
)
from rsm.node.submissions import SMALL_COMMAND_BYTES, Submission
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import ITEM_HEAD, encode_uint, join_item

__all__ = ["SessionCore", "Taken"]

GAP: Final = int(Status.SEQUENCE_GAP)
EXPIRED: Final = int(Status.SESSION_EXPIRED)
# What numbers and head add to a command, at most.
ITEM_OVERHEAD_BYTES: Final = 28


_SHORT: Final = struct.Struct(">BH").pack
_LONG: Final = struct.Struct(">BI").pack


def _numbers(first: int, end: int) -> Callable[[int], bytes]:
    """`encode_uint` for numbers of this range; where they all have one length, a third of its price."""
    if first >= 1 << 16 and end <= 1 << 32:
        return partial(_LONG, 0x1A)
    if first >= 1 << 8 and end <= 1 << 16:
        return partial(_SHORT, 0x19)
    return encode_uint


class Taken(msgspec.Struct, frozen=True, gc=False):
    """Commands to send in one frame: `count` items, numbered from `first_sequence`, encoded one behind the other; all
    of them want to be confirmed, or none.
    """

    first_sequence: int
    count: int
    items: bytes
    round: int
    wants_confirmation: bool = False


class SessionCore:
    """One session as its client sees it. `number` 0: it has none yet, and nothing can be taken."""

    def __init__(self, number: int = 0, *, commands_max: int = COMMANDS_IN_FLIGHT_MAX) -> None:
        self.number = number
        self.round = 0
        self.retries = 0  # commands that were sent again
        self.large_bytes_done = 0  # of the large commands that got their answer or error, so far
        self.is_expired = False
        self._commands_max = commands_max
        self._waiting: deque[Submission] = deque()  # not numbered yet
        self._sent: dict[int, Submission] = {}  # by number: sent at least once, not answered
        self._next_sequence = 1
        self._cursor = 1  # what goes out next; below `_next_sequence` it is sent again
        self._lowest = 1  # everything below is answered
        self._round_lowest = 1  # what that was when the round began
        self._session_round = 0  # the first round of this session

    # --- commands in ----------------------------------------------------------------------------------------------

    def push(self, submission: Submission) -> None:
        """Add a command behind those that wait; `Busy` if there are too many."""
        if len(self._waiting) + len(self._sent) >= self._commands_max:
            raise Busy(f"{self._commands_max} commands of this session are on their way", retry_seconds=0.01)
        self._waiting.append(submission)

    @property
    def unanswered(self) -> int:
        """How many commands wait for their answer, sent or not."""
        return len(self._waiting) + len(self._sent)

    @property
    def lowest_unanswered(self) -> int:
        """The number below which the client needs no answers any more."""
        return self._lowest

    @property
    def sent(self) -> int:
        """How many commands were sent and are not answered."""
        return len(self._sent)

    @property
    def ready(self) -> int:
        """How many commands could be taken now, about."""
        if self._cursor < self._next_sequence:
            return self._next_sequence - self._cursor
        return min(len(self._waiting), SESSION_COMMANDS_SENT_MAX - len(self._sent)) if self._is_open else 0

    @property
    def _is_open(self) -> bool:
        return self.number != 0 and not self.is_expired

    # --- frames out -----------------------------------------------------------------------------------------------

    def take(
        self, commands_max: int = CLIENT_COMMANDS_PER_FRAME, bytes_max: int = CLIENT_BYTES_PER_FRAME
    ) -> Taken | None:
        """The next commands to send, at least one if there is one; what must be sent again comes first, and alone."""
        if self._cursor < self._next_sequence:
            return self._take_again(commands_max, bytes_max)
        if not self._waiting or not self._is_open:
            return None
        waiting, sent = self._waiting, self._sent
        first = sequence = self._next_sequence
        end = sequence + min(commands_max, SESSION_COMMANDS_SENT_MAX - len(sent), len(waiting))
        head, lowest = ITEM_HEAD + encode_uint(self.number), encode_uint(self._lowest)
        numbers = _numbers(sequence, end)
        parts: list[bytes] = []
        size = 0
        wants_confirmation = waiting[0].wants_confirmation
        while sequence < end:
            submission = waiting[0]
            call = submission.call
            size += len(call) + ITEM_OVERHEAD_BYTES
            if (size > bytes_max and parts) or submission.wants_confirmation is not wants_confirmation:
                break
            if submission.key is None:
                parts += (head, numbers(sequence), lowest, call)
            else:
                parts.append(join_item(self.number, sequence, self._lowest, call, submission.key))
            sent[sequence] = waiting.popleft()
            sequence += 1
        if sequence == first:
            return None
        self._next_sequence = self._cursor = sequence
        return Taken(first, sequence - first, b"".join(parts), self.round, wants_confirmation)

    def _take_again(self, commands_max: int, bytes_max: int) -> Taken | None:
        sent = self._sent
        while self._cursor < self._next_sequence and self._cursor not in sent:
            self._cursor += 1  # answered meanwhile
        first = sequence = self._cursor
        parts: list[bytes] = []
        size = 0
        wants_confirmation = False
        # A number that was answered meanwhile ends the frame: the numbers in one have no holes.
        while sequence - first < commands_max and (submission := sent.get(sequence)) is not None:
            size += len(submission.call) + ITEM_OVERHEAD_BYTES
            if not parts:
                wants_confirmation = submission.wants_confirmation
            elif size > bytes_max or submission.wants_confirmation is not wants_confirmation:
                break
            parts.append(join_item(self.number, sequence, self._lowest, submission.call, submission.key))
            sequence += 1
        if sequence == first:
            return self.take(commands_max, bytes_max)
        self._cursor = sequence
        self.retries += sequence - first
        return Taken(first, sequence - first, b"".join(parts), self.round, wants_confirmation)

    def rewind(self) -> None:
        """What was sent may be lost: everything unanswered goes out again, in order, before anything new."""
        self._cursor = self._round_lowest = self._lowest
        self.round += 1

    # --- answers in -----------------------------------------------------------------------------------------------

    def answered(self, taken: Taken, answers: Sequence[Answer], index: int = 0) -> int:
        """Complete the commands of a frame; returns how many. Those that are complete already stay as they are.

        A gap completes nothing and rewinds, unless the frame is of an earlier round. After `SESSION_EXPIRED` nothing
        new is taken: see `is_expired`, `fail_waiting` and `restart`.
        """
        if taken.round < self._session_round:
            return 0  # of the session before: its numbers say nothing of this one
        sent, first_sequence = self._sent, taken.first_sequence
        completed = 0
        is_gap = False
        sequence = first_sequence
        for answer in answers:
            status = answer.status
            if status == GAP:
                is_gap = True
            else:
                submission = sent.pop(sequence, None)
                if submission is not None:
                    completed += 1
                    if len(submission.call) > SMALL_COMMAND_BYTES:
                        self.large_bytes_done += len(submission.call)
                    if status == EXPIRED:
                        self.is_expired = True
                    submission.index = index
                    submission.complete(answer)
            sequence += 1
        lowest = self._lowest
        while lowest < self._next_sequence and lowest not in sent:
            lowest += 1
        self._lowest = lowest
        if self._cursor < lowest:
            self._cursor = lowest
        if is_gap and taken.round == self.round:
            if first_sequence == lowest == self._round_lowest and answers[0].status == GAP:
                # All before it is answered, and still the cluster misses something: sending again would never end.
                self.is_expired = True
                lost = SessionExpired("outcome unknown: the cluster has lost this session's place")
                return completed + self.fail_all(lost)
            self.rewind()
        return completed

    # --- the end of a session -------------------------------------------------------------------------------------

    def fail_waiting(self) -> int:
        """The session has ended: say so for what was never sent (it had no effect). Returns how many."""
        return self.fail_all(SessionExpired("not sent: the session had ended before"), sent=False)

    def fail_all(self, error: BaseException, *, sent: bool = True) -> int:
        """There will be no answers: tell everybody who waits (`sent`: also for what was sent). Returns how many."""
        failed: list[Submission] = []
        if sent:
            failed += self._sent.values()
            self._sent.clear()
            self._lowest = self._cursor = self._next_sequence
        for _ in range(len(self._waiting)):
            failed.append(self._waiting.popleft())
        for submission in failed:
            if len(submission.call) > SMALL_COMMAND_BYTES:
                self.large_bytes_done += len(submission.call)
            submission.fail(error)
        return len(failed)

    def restart(self, number: int) -> None:
        """Go on as another session, with what waits. Nothing of the old one may be unanswered."""
        if self._sent:
            raise ValueError(f"{len(self._sent)} commands of session {self.number} have no answer yet")
        self.number = number
        self.is_expired = False
        self.round += 1
        self._session_round = self.round
        self._next_sequence = self._cursor = self._lowest = self._round_lowest = 1
