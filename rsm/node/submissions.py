"""The bounded queue between callers and the runner: commands wait here until the next batch takes them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from threading import get_ident
from typing import Any, ClassVar, Final

from rsm.errors import Busy, CallerError
from rsm.limits import BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, BYTES_IN_FLIGHT_MAX, COMMANDS_IN_FLIGHT_MAX
from rsm.machine.definition import CommandSpec
from rsm.replica.answer import Answer
from rsm.replica.batch import ITEM_HEAD, encode_uint, join_item
from rsm.replica.sessions import Session


class Submission:
    """One command on its way into the log. `call` is name, version and values as encoded. Who has just validated
    that also gives `spec` and `values`, which it decodes to. Session 0 is the leader's own. `index` is that of the
    entry that answers it, set before it is told.

    Whoever waits for the answer derives from this class: one object a command, from the caller to the answer and back.
    `wants_confirmation` is of the class, so that it costs no command anything: whether a cluster is to answer only when
    a quorum has confirmed a state behind the command.
    """

    __slots__ = ("call", "index", "key", "session", "spec", "values")
    wants_confirmation: ClassVar[bool] = False

    def __init__(self, session: int, call: bytes, key: str | None = None) -> None:
        self.index = 0
        self.session = session
        self.call = call
        self.key = key
        self.spec: CommandSpec | None = None
        self.values: list[Any] | None = None

    def complete(self, answer: Answer) -> None:
        """The command is durable and applied; this is its answer."""

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""


# So small that only the number of those that wait needs a bound.
SMALL_COMMAND_BYTES: Final = BYTES_IN_FLIGHT_MAX // COMMANDS_IN_FLIGHT_MAX


class Submissions:
    """First in, first out; at most `COMMANDS_IN_FLIGHT_MAX` wait, large ones of `BYTES_IN_FLIGHT_MAX`. One consumer."""

    def __init__(self) -> None:
        self._queue: deque[Submission] = deque()
        self._condition = threading.Condition(threading.Lock())
        self._is_consumer_asleep = False
        self._refusal: Callable[[], BaseException] | None = None
        self._is_woken = False
        self._large_bytes = 0  # of the large commands that wait; small ones are bounded by their number
        self.consumer_ident = 0  # the thread that takes; it would wait for itself if it put

    def put(self, submission: Submission) -> None:
        """Add a command. When the queue is full, a thread waits; a running event loop gets `Busy` instead."""
        if get_ident() == self.consumer_ident:
            raise CallerError("a handler cannot send commands to its own machine: call a plain method, or ctx.schedule")
        # No lock on this way: appending to a deque is atomic, and the flags are read after it. The consumer sets its
        # flag before it looks at the queue; one that refuses takes what is left after that. So nobody is overlooked.
        size = len(submission.call)
        if len(self._queue) >= COMMANDS_IN_FLIGHT_MAX or size > SMALL_COMMAND_BYTES:
            self._wait_for_room(size)
        self._queue.append(submission)
        if self._is_consumer_asleep or self._refusal is not None:
            self._rouse(submission)

    def _wait_for_room(self, size: int) -> None:
        with self._condition:
            while self._is_full(size) and self._refusal is None:
                if _in_event_loop():
                    raise Busy(f"{len(self._queue)} commands are waiting", retry_seconds=0.01)
                self._condition.wait(0.05)
            if size > SMALL_COMMAND_BYTES:
                self._large_bytes += size

    def _is_full(self, size: int) -> bool:
        if len(self._queue) >= COMMANDS_IN_FLIGHT_MAX:
            return True
        return size > SMALL_COMMAND_BYTES and self._large_bytes + size > BYTES_IN_FLIGHT_MAX

    def _rouse(self, submission: Submission) -> None:
        with self._condition:
            if self._refusal is not None:
                try:
                    self._queue.remove(submission)
                except ValueError:
                    return  # it was taken, and will be told
                raise self._refusal()
            self._is_consumer_asleep = False
            self._condition.notify_all()

    def wake(self) -> None:
        """Let a sleeping consumer look around."""
        with self._condition:
            self._is_woken = True
            self._is_consumer_asleep = False
            self._condition.notify_all()

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Accept no more, for this reason; what waits can still be taken."""
        with self._condition:
            self._refusal = error
            self._condition.notify_all()

    def take(self, timeout_seconds: float, commands_max: int = BATCH_COMMANDS_MAX) -> list[Submission]:
        """The next batch's worth of commands, bounded in number and bytes; empty when the time is up or `wake` came."""
        queue = self._queue
        if not queue and timeout_seconds > 0:
            self._sleep(timeout_seconds)
        taken: list[Submission] = []
        size = 0
        while queue and len(taken) < commands_max:
            length = len(queue[0].call)
            size += length
            if taken and size > BATCH_BYTES_MAX:
                break
            taken.append(queue.popleft())
            if length > SMALL_COMMAND_BYTES:
                with self._condition:
                    self._large_bytes -= length
        return taken

    def _sleep(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        with self._condition:
            while True:
                self._is_consumer_asleep = True
                left = deadline - time.monotonic()
                if self._queue or self._is_woken or left <= 0:
                    break
                self._condition.wait(left)
            self._is_consumer_asleep = False
            self._is_woken = False


def join_items(
    sessions: Mapping[int, Session], submissions: Iterable[Submission]
) -> tuple[list[bytes], list[Any] | None]:
    """Batch items for submissions: encoded, and decoded if every submission knows what its call decodes to.

    A session's numbers go on from where the log stands; all before them are answered.
    """
    runs: dict[int, tuple[bytes, bytes, int, count[int]]] = {}
    items = []
    decoded: list[Any] | None = []
    for submission in submissions:
        number = submission.session
        run = runs.get(number)
        if run is None:
            session = sessions.get(number)
            first = 0 if number == 0 else 1 if session is None else session.next_sequence
            run = (ITEM_HEAD + encode_uint(number), encode_uint(first), first, count(first, 1 if number else 0))
            runs[number] = run
        head, lowest, first, sequences = run
        sequence = next(sequences)
        if submission.key is None:
            items.append(head + encode_uint(sequence) + lowest + submission.call)
        else:
            items.append(join_item(number, sequence, first, submission.call, submission.key))
        spec = submission.spec
        if spec is None or submission.key is not None:
            decoded = None
        elif decoded is not None:
            decoded.append([number, sequence, first, spec.name, spec.version, submission.values])
    return items, decoded


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
