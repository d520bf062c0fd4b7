"""A client of the game: it runs the whole world by itself, from the log, and sends orders.

`rsm.observe` brings the world in (snapshot and tail, roots checked at every turn, healed if it differs) and runs it in
the caller's thread, inside `next`; `rsm.connect` takes orders out. They are sent without waiting; a second thread waits
for the answers, measures them, and tells whoever asked in which turn an order runs, or why it does not.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import rsm
from demos.rts_lockstep.clients.measuring import Measures
from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.records import Phase, Say
from demos.rts_lockstep.units import NOBODY

# Who has ordered nothing for so long says so, and how he gets along.
REPORT_SECONDS: Final = 2.0
# How long answers are waited for in one go; and in all, before the client gives up on one.
ANSWER_SECONDS: Final = 1.0
ANSWER_SECONDS_MAX: Final = 60.0
CONNECT_SECONDS: Final = 10.0
# Whoever waits for so many answers is heard when they come, and makes no more of them by reporting himself; and who
# waits for so many orders of his own need not wait for another: the match cannot be reached.
UNANSWERED_MAX: Final = 8
ORDERS_UNANSWERED_MAX: Final = 256
STOP_SECONDS_MAX: Final = 5.0

Settled = Callable[[int | None, str], None]
# What was asked for with the world of turn `stamp` was answered after so many seconds: turn or None, and why not.
OnAnswer = Callable[[int, int | None, float, str], None]


class Moment(NamedTuple):
    """What one entry of the log came to. `is_turn`: a turn has run in it (or a snapshot has replaced the world)."""

    update: rsm.Update
    turn: int
    is_turn: bool


class _Asked(NamedTuple):
    answer: rsm.Pending[Any]
    sent_at: float
    stamp: int
    settled: Settled | None


class Player:
    """A player with the game's token, or a spectator without one; a context manager.

    `principal`: whose seat it is; the same one takes it again later. `wish`: a seat to prefer. `is_seated` False: it is
    taken by `sit_down`, not at once. `record`: a directory for what is observed, which `rsm desync` and `rsm log` read.
    `on_answer` hears, in another thread, of all that is answered. Raises `rsm.Unreachable`, or `rsm.Rejected` with what
    is wrong with the token.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        name: str = "",
        token: str = "",
        *,
        principal: str = "",
        record: Path | None = None,
        trace: bool = False,
        wish: int = NOBODY,
        is_seated: bool = True,
        on_answer: OnAnswer = lambda stamp, turn, seconds, reason: None,
    ) -> None:
        self.name = name
        self.measures = Measures()
        self.number: int | None = None
        self._token, self._wish = token, wish
        self._on_answer = on_answer
        self._asked: queue.Queue[_Asked | None] = queue.Queue()
        self._reported_at = 0.0
        self._unanswered = 0  # roughly: two threads count
        self._worked_seconds = 0.0  # since the last turn
        principal = principal or name
        with contextlib.ExitStack() as stack:
            if token:
                self._orders = stack.enter_context(
                    rsm.connect(Game, addresses, principal=principal, timeout_seconds=CONNECT_SECONDS)
                )
            self.observer = stack.enter_context(
                rsm.observe(
                    Game, addresses, principal=principal, record=None if record is None else str(record), trace=trace
                )
            )
            if token and is_seated:  # last: a seat taken by somebody who then cannot play is one all others wait for
                self.sit_down()
            self._stack = stack.pop_all()
        self._answers = threading.Thread(target=self._wait_for_answers, name="answers", daemon=True)
        self._answers.start()

    @property
    def machine(self) -> Game:
        """The game as this client has it; it stands still between two calls of `next`."""
        return self.observer.machine

    def next(self, timeout_seconds: float | None = None) -> Moment | None:
        """The next entry, applied; None if none came in time. Reports itself when that is due."""
        before, worked = self.machine.last_turn, time.thread_time()
        update = self.observer.next(timeout_seconds)
        self._worked_seconds += time.thread_time() - worked
        self._report_if_due(at_turn=False)
        if update is None:
            return None
        turn = self.machine.last_turn
        is_turn = update.snapshot or turn != before
        if is_turn:
            status = self.observer.status
            self.measures.stepped(self._worked_seconds, status.applied_index - update.index)
            self._worked_seconds = 0.0
        return Moment(update, turn, is_turn)

    def sit_down(self) -> None:
        """Take a seat, which begins the match if it is the last; `rsm.Rejected` if there is none."""
        self.number = self._orders.join(self._token, self.name, self._wish)

    # --- what a player says -------------------------------------------------------------------------------------------

    def order(self, *says: Say, settled: Settled | None = None) -> None:
        """Give orders, without waiting. `settled` hears of it, in another thread: the turn they run in, or None and why
        not. Whoever has no seat hears that.
        """
        if self.number is None:
            if settled is not None:
                settled(None, "spectators give no orders")
            return
        if self._unanswered >= ORDERS_UNANSWERED_MAX:
            if settled is not None:
                settled(None, f"{self._unanswered} of your orders are not answered yet")
            return
        machine, measures = self.machine, self.measures
        self._reported_at = time.monotonic()
        self._ask(
            self._orders.act.send(
                machine.last_turn, says, measures.round_trip_ms(), measures.frame_ms(machine.turn_ms)
            ),
            settled,
        )

    def pause(self, wanted: bool) -> None:
        """Stop the match, or let it go on."""
        if self.number is not None:
            self._ask(self._orders.pause.send(wanted))

    def vote(self, against: int) -> None:
        """Vote to go on without a player who is missing."""
        if self.number is not None:
            self._ask(self._orders.vote.send(against))

    def report(self) -> None:
        """With the turn that has just come: say that one is there, unless that was said of late."""
        self._report_if_due(at_turn=True)

    def _report_if_due(self, *, at_turn: bool) -> None:
        # Sent right after a turn, what many clients say comes in one entry of the log. Without turns, half a second
        # later at the latest.
        late = 0.0 if at_turn else 0.5
        if (
            self.number is not None
            and self.machine.phase == Phase.RUNNING
            and self._unanswered < UNANSWERED_MAX
            and time.monotonic() - self._reported_at >= REPORT_SECONDS + late
        ):
            self.order()

    # --- answers ------------------------------------------------------------------------------------------------------

    def _ask(self, answer: rsm.Pending[Any], settled: Settled | None = None) -> None:
        self._unanswered += 1
        self._asked.put(_Asked(answer, time.monotonic(), self.machine.last_turn, settled))

    def _wait_for_answers(self) -> None:
        while (asked := self._asked.get()) is not None:
            turn, reason = None, ""
            try:
                turn = _patiently(asked.answer)
                self.measures.answered(time.monotonic() - asked.sent_at)
            except rsm.Rejected as rejected:
                reason = str(rejected)
                if "taken from elsewhere" in reason:  # whoever came last has it: to take it back would never end
                    self.number = None
                elif "this session has no seat" in reason:  # the one before has ended, as after a long absence
                    with contextlib.suppress(rsm.RsmError):  # it is being closed
                        again = self._orders.join.send(self._token, self.name)
                        self._unanswered += 1
                        self._asked.put(_Asked(again, time.monotonic(), asked.stamp, None))
            except (rsm.RsmError, TimeoutError) as error:
                reason = str(error)
            self._unanswered -= 1
            number = turn if type(turn) is int else None
            self._on_answer(asked.stamp, number, time.monotonic() - asked.sent_at, reason)
            if asked.settled is not None:
                asked.settled(number, reason)

    def close(self) -> None:
        """Leave. The seat stays ours: the others wait, or vote."""
        self._asked.put(None)
        self._answers.join(STOP_SECONDS_MAX)
        self._stack.close()

    def __enter__(self) -> Player:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _patiently(answer: rsm.Pending[Any]) -> Any:
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    while True:
        try:
            return answer.result(ANSWER_SECONDS)
        except TimeoutError:
            if time.monotonic() > deadline:
                raise
