"""The observer: a read-only copy of a cluster's machine in this process, or its events, in the order of the log.

Theory of operation. A thread receives (`rsm.client.observing.receiving`); everything else happens in the thread of the
caller, inside `next`: one entry is applied for each update (`rsm.client.observing.applying`), so that between two
updates the machine stands still. A root of the node that comes with an entry, and every root that the log says a quorum
has confirmed, is compared with the observer's own. A difference is told at once; then the observer waits for a
confirmed snapshot (`rsm.client.observing.healing`), goes on up to its index, says where the two states differ, and
takes the snapshot's.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

from rsm.client.observing.applying import Following
from rsm.client.observing.observed import ObserverStatus, Update
from rsm.client.observing.receiving import Receiver
from rsm.client.observing.record import Record
from rsm.client.pending import Mailbox
from rsm.client.tool import Access
from rsm.errors import CallerError, Closed, RsmError
from rsm.machine.machine import StateMachine
from rsm.node.log import describe
from rsm.replica.replica import Replica

__all__ = ["Observer"]

M = TypeVar("M", bound=StateMachine)


class Observer(Generic[M]):
    """Made by `rsm.observe`. One thread, or one task, uses it; `close` is for any. A context manager, also an
    asynchronous one. It belongs to its process: in one that was forked from it, it is closed.
    """

    def __init__(
        self,
        machine: type[M],
        access: Access,
        receiver: Receiver,
        make: Callable[[], Replica],
        replica: Replica | None,
        record: Record | None,
    ) -> None:
        """`replica` is where it begins, None for events only. Entries that `record` holds behind it come first."""
        self._receiver = receiver
        self._inbox = receiver.inbox
        self._following = Following(machine.definition, access, receiver, make, replica, record)
        self._failure: BaseException | None = None
        self._is_closed = False
        self._process = os.getpid()
        # Held for one step, so that nobody closes the files of a record under it; the thread itself may (a signal).
        self._stepping = threading.RLock()
        self._end_forgotten = weakref.finalize(self, _end_forgotten, receiver, self._following, self._process)

    # --- what it is asked ---------------------------------------------------------------------------------------------

    @property
    def machine(self) -> M:
        """The machine as of the last update, to be read: its queries are plain methods. Another object after each
        snapshot. `CallerError` for an observer of events only.
        """
        replica = self._following.replica
        if replica is None:
            raise CallerError("an observer of events only has no machine")
        return cast(M, replica.machine)

    @property
    def index(self) -> int:
        """The index of the last entry that has been applied; of events only, up to which all have been handed out."""
        return self._following.index

    @property
    def event_number(self) -> int:
        """How many events the log had emitted up to the last update: the number of the newest."""
        return self._following.event_number

    @property
    def status(self) -> ObserverStatus:
        """Where it stands."""
        receiver = self._receiver
        bytes_in, bytes_out = receiver.traffic()
        return ObserverStatus(
            index=self.index,
            applied_index=max(receiver.applied_index, self.index),
            address=receiver.address,
            roots_checked=self._following.roots_checked,
            snapshots=self._following.snapshots,
            reconnects=max(0, receiver.subscriptions - 1),
            skipped=receiver.skipped,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            round_trips=receiver.connections + receiver.subscriptions,
            error=receiver.error,
        )

    def next(self, timeout_seconds: float | None = None) -> Update | None:
        """Wait for the next update, and apply it; None if the time is over first.

        A cluster that cannot be reached is waited for. `Closed` when the observer is; `ReleaseMissing` when the log
        goes on under a machine version that the class does not ship; `DivergenceError` when the observer differed
        again and again, or its log is not the cluster's; `StorageError` when the record cannot be written.
        """
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            self._inbox.look()
            update = self._step()
            if update is not None:
                return update
            left = deadline - time.monotonic()
            if not self._inbox.wait(min(max(0.0, left), threading.TIMEOUT_MAX)):
                return None

    async def next_async(self, timeout_seconds: float | None = None) -> Update | None:
        """`next` for asyncio: waiting does not block the event loop, applying an entry does."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    self._inbox.look()
                    update = self._step()
                    if update is not None:
                        return update
                    await self._news()
        except TimeoutError:
            return None

    async def _news(self) -> None:
        loop = asyncio.get_running_loop()
        mailbox, future = Mailbox.of(loop), loop.create_future()
        self._inbox.when_news(lambda: mailbox.post(future))
        await future

    def __iter__(self) -> Iterator[Update]:
        """Updates, until the observer is closed."""
        return self

    def __next__(self) -> Update:
        try:
            return cast(Update, self.next())
        except Closed:
            if not self._is_closed:
                raise  # it has failed before
            raise StopIteration from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        try:
            return cast(Update, await self.next_async())
        except Closed:
            if not self._is_closed:
                raise
            raise StopAsyncIteration from None

    def close(self) -> None:
        """End it: the connection, the thread, the record. May be called twice, and from any thread: what `next` is
        doing in another one is waited for.
        """
        self._is_closed = True
        self._end_forgotten.detach()
        if os.getpid() != self._process:
            return  # all that there is to close is the other process's
        self._receiver.close()
        with self._stepping:
            self._following.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    # --- one step -----------------------------------------------------------------------------------------------------

    def _step(self) -> Update | None:
        """The next update, as far as it can be told now."""
        if os.getpid() != self._process:
            raise Closed(f"the observer belongs to process {self._process}, this one was forked from it")
        with self._stepping:
            if self._is_closed:
                raise Closed("the observer is closed")
            if self._failure is not None:
                raise self._failure
            try:
                return self._following.advance()
            except BaseException as error:
                if self._is_closed and isinstance(error, Exception):
                    raise Closed("the observer is closed") from error
                # Whatever it was, an entry may be half applied.
                self._failure = error if isinstance(error, RsmError) else Closed(f"it has stopped: {describe(error)}")
                raise


def _end_forgotten(receiver: Receiver, following: Following, process: int) -> None:
    """Nobody has closed an observer, and nobody will: at the end of the process, or when nothing refers to it."""
    if os.getpid() == process:
        warnings.warn("an observer was not closed", ResourceWarning, stacklevel=2)
        receiver.close()
        following.close()
