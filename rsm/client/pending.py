"""Answers on their way: one object that a thread waits on and an event loop awaits.

A command in flight costs one small object: no lock and no event exist until somebody waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakKeyDictionary, ref

import msgspec

from rsm.errors import CallerError
from rsm.machine.calls import Pending
from rsm.machine.definition import CommandSpec
from rsm.node.submissions import Submission
from rsm.replica.answer import Answer, Status, raise_answer

R = TypeVar("R")
OK = int(Status.OK)
# Two threads that are the first to wait for the same answer must share one list.
_first_waiter = threading.Lock()


class Mailbox:
    """Wakes awaiters of one event loop from the runner's thread: once for all answers of a batch, not once each."""

    _of_loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)  # weak, or the entry in `_of_loops` would keep its own key alive
        self._futures: deque[asyncio.Future[None]] = deque()
        self._is_due = False

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Mailbox:
        """The mailbox of a loop; call it in the loop's own thread."""
        mailbox = cls._of_loops.get(loop)
        if mailbox is None:
            mailbox = cls._of_loops[loop] = cls(loop)
        return mailbox

    def post(self, future: asyncio.Future[None]) -> None:
        """From any thread: have the loop finish this future. A loop that has closed has nobody left to wake."""
        self._futures.append(future)
        if not self._is_due:
            self._is_due = True
            loop = self._loop()
            with contextlib.suppress(RuntimeError):
                if loop is not None:
                    loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_due = False  # before looking: what is posted from here on asks for another delivery
        while self._futures:
            future = self._futures.popleft()
            if not future.done():
                future.set_result(None)


class PendingAnswer(Submission, Pending[R], Generic[R]):
    """One command on its way, and its answer."""

    __slots__ = ("_answer", "_decode", "_error", "_waiters", "_what")

    def __init__(
        self,
        what: str,
        decode: Callable[[bytes], R],
        session: int = 0,
        call: bytes = b"",
        key: str | None = None,
        spec: CommandSpec | None = None,
        values: list[Any] | None = None,
    ) -> None:
        self.index = 0
        self.session = session
        self.call = call
        self.key = key
        self.spec = spec
        self.values = values
        self._what = what
        self._decode = decode
        self._answer: Answer | None = None
        self._error: BaseException | None = None
        self._waiters: list[Callable[[], None]] | None = None

    # --- told by the runtime, from its thread ---------------------------------------------------------------------

    def complete(self, answer: Answer) -> None:
        """The answer is here."""
        self._answer = answer
        if self._waiters is not None:
            self._wake()

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        self._error = error
        if self._waiters is not None:
            self._wake()

    def _wake(self) -> None:
        waiters = self._waiters or []
        while waiters:
            waiters.pop()()

    # --- asked by callers -----------------------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether the answer is here, or will never be."""
        return self._answer is not None or self._error is not None

    def result(self, timeout_seconds: float | None = None) -> R:
        """Wait for the answer. Raises what the command decided; `TimeoutError` leaves the command on its way."""
        if not self.done():
            lock = threading.Lock()
            lock.acquire()
            self._when_done(lock.release)
            # A deadline that has passed already is no error; neither is one beyond what the platform can wait for.
            longest = threading.TIMEOUT_MAX if timeout_seconds is None else timeout_seconds
            if not lock.acquire(timeout=min(max(0.0, longest), threading.TIMEOUT_MAX)):
                raise TimeoutError(f"{self._what}: no answer within {timeout_seconds} s; it may still take effect")
        return self._value()

    def __await__(self) -> Generator[Any, None, R]:
        if not self.done():
            loop = asyncio.get_running_loop()
            mailbox = Mailbox.of(loop)
            future: asyncio.Future[None] = loop.create_future()
            self._when_done(lambda: mailbox.post(future))
            yield from future
        return self._value()

    def _when_done(self, wake: Callable[[], None]) -> None:
        # The waiter is listed before we look again, and the runtime looks for waiters after it has set the answer: one
        # of the two always sees the other. `list.pop` hands each waiter to exactly one side.
        with _first_waiter:
            waiters = self._waiters
            if waiters is None:
                waiters = self._waiters = []
        waiters.append(wake)
        if self.done():
            try:
                waiters.remove(wake)
            except ValueError:
                return  # the runtime has it
            wake()

    def _value(self) -> R:
        answer = self._answer
        if answer is None:
            error = self._error
            if error is None:
                raise CallerError(f"{self._what}: no answer yet")
            raise error
        if answer.status != OK:
            raise_answer(answer, self._what)
        try:
            return self._decode(answer.body)
        except msgspec.ValidationError as error:
            raise CallerError(
                f"{self._what}: took effect, but its result is not what its annotation says: {error}"
            ) from None


class ConfirmedAnswer(PendingAnswer[R]):
    """One that a quorum is to have confirmed."""

    __slots__ = ()
    wants_confirmation = True


DONE = Answer(OK, b"")


class PendingValue(PendingAnswer[R]):
    """Something other than a command's answer that is on its way, and will be a value of this process."""

    __slots__ = ("_held",)

    def __init__(self, what: str) -> None:
        super().__init__(what, _nothing)

    def finish(self, value: R) -> None:
        """It is here."""
        self._held = value
        self.complete(DONE)

    def _value(self) -> R:
        if self._error is not None and self._answer is None:
            raise self._error
        return self._held


def _nothing(_: bytes) -> Any:
    return None
