"""Answers that wait until a quorum has confirmed the state that gave them (`ack="confirmed"`).

An answer is given by one node, and that may be the one whose state differs. Who cannot live with that asks for a
confirmed one: it is kept here, beside the leader, until a hash point at or behind its entry has one root at a quorum,
and that root is the leader's own. The root covers results too, so the answer is then a majority's.

One hash point at a time is on its way for this, and all that was applied before it share it: the batch that brings the
first such command is one itself, and the next one follows when that is confirmed and more has come meanwhile.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from rsm.errors import Busy
from rsm.limits import CONFIRMATION_BYTES_MAX, CONFIRMATIONS_WAITING_MAX
from rsm.node.requests import Request
from rsm.replica.answer import Answer

__all__ = ["Confirming"]


class _Kept(NamedTuple):
    at: int  # the index of its entry
    request: Request
    answers: list[Answer]
    size: int


class Confirming:
    """The requests of one leadership that were applied and are not confirmed."""

    def __init__(self) -> None:
        self.commands = 0  # of the requests that wait
        self._bytes = 0  # of these commands and their answers
        self._kept: deque[_Kept] = deque()
        self._wanted_index = 0  # the newest entry with commands to confirm that was proposed
        self._hash_index = 0  # the newest hash point that was

    def begin(self) -> None:
        """A leadership begins: whatever it knows was proposed by others."""
        self._wanted_index = self._hash_index = 0

    def refusal(self) -> Busy | None:
        """Why no more can be kept now."""
        if self.commands < CONFIRMATIONS_WAITING_MAX and self._bytes < CONFIRMATION_BYTES_MAX:
            return None
        return Busy(f"{self.commands} commands wait until their answers are confirmed", retry_seconds=0.05)

    # --- hash points --------------------------------------------------------------------------------------------------

    def want(self, index: int) -> None:
        """Commands of this entry, which is being proposed, are to be confirmed."""
        self._wanted_index = index

    def proposed_hash_point(self, index: int) -> None:
        """This entry is one."""
        self._hash_index = index

    def wants_hash_point(self, compared_index: int) -> bool:
        """Whether the next batch should be one: something waits for it, and no other is on its way."""
        return self._wanted_index > self._hash_index <= compared_index

    def is_waiting(self, compared_index: int) -> bool:
        """Whether roots that come in should be looked at now, and not with the next tick."""
        return self._wanted_index > compared_index

    # --- answers ------------------------------------------------------------------------------------------------------

    def keep(self, index: int, request: Request, answers: list[Answer]) -> None:
        """The request was applied at `index`, with these answers."""
        size = len(request.items) + sum(len(answer.body) for answer in answers)
        self._kept.append(_Kept(index, request, answers, size))
        self.commands += len(answers)
        self._bytes += size

    def release(self, compared_index: int) -> None:
        """A quorum has this leader's own root at an index: give all answers up to there."""
        while self._kept and self._kept[0].at <= compared_index:
            kept = self._take()
            kept.request.complete(kept.at, kept.answers)

    def fail(self, error: Exception) -> None:
        """Nobody can vouch for the answers here. Another leader remembers them, and has them confirmed in its turn."""
        while self._kept:
            self._take().request.fail(error)

    def _take(self) -> _Kept:
        kept = self._kept.popleft()
        self.commands -= len(kept.answers)
        self._bytes -= kept.size
        return kept
