"""Requests of a client other than commands: each is sent again until it is answered or its time is over.

All of them can be repeated: reads change nothing, a session that was opened twice leaves one that expires, and what is
closed or written twice is closed or written. A stream can be begun again only while nothing of it has been handed out.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from rsm.client.remote.link import Link
from rsm.client.runtime import Reply
from rsm.errors import BadBytes, Busy, Closed, NotLeader, RsmError, StorageError, Unreachable
from rsm.limits import FOLLOWER_ANSWER_SECONDS_MAX, RECONNECT_SECONDS_MIN
from rsm.node.network import protocol
from rsm.node.network.protocol import AnswerStatus

__all__ = ["Call", "Dispatcher", "Slices", "StreamCall", "StreamReader", "is_passing"]

T = TypeVar("T")


class Dispatcher(Protocol):
    """Where calls are sent from; `rsm.client.remote.remote` implements it."""

    def dispatch(self, call: Call[Any]) -> None:
        """Send it, now or when there is somebody to send it to."""

    def moved(self, link: Link, address: str) -> None:
        """The node behind this link does not lead."""

    def distrust(self, link: Link) -> None:
        """The follower behind this link does not answer, or is in doubt of its own state."""

    def forget(self, call: Call[Any]) -> None:
        """It is over."""

    def count(self, *, round_trips: int = 0, retries: int = 0) -> None:
        """For the statistics."""


def is_passing(error: RsmError) -> bool:
    """Whether the same request may succeed elsewhere, or later."""
    return isinstance(error, (NotLeader, Busy, Closed, StorageError, Unreachable))


class Call(Generic[T]):
    """One request until its answer. Everything but the reply's own doing happens on the client's loop."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        request: protocol.Request,
        kind: Any,
        reply: Reply[T],
        *,
        what: str,
        timeout_seconds: float | None,
        anywhere: bool = False,
    ) -> None:
        """`kind`: the type of the answer's fields, together. `anywhere`: any node will do; else it must lead."""
        self.request = request
        self.anywhere = anywhere
        self.is_done = False
        self.is_prompt = not isinstance(request, (protocol.Events, protocol.Snapshot, protocol.Stream, protocol.Watch))
        self._dispatcher = dispatcher
        self._kind = kind
        self._reply = reply
        self._what = what
        self._link: Link | None = None
        self._request_id = 0
        self._is_first = True
        self._attempt: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        self._timeout_seconds = timeout_seconds
        self._deadline = None if timeout_seconds is None else loop.call_later(timeout_seconds, self._late)

    def send(self, link: Link, *, is_follower: bool = False) -> None:
        """Send it there. A follower that does not answer soon may be cut off from the others: then the leader must."""
        if not self._is_first:
            self._dispatcher.count(retries=1)
        self._is_first = False
        self._link = link
        self._request_id = link.request(self.request, self)
        if is_follower:
            self._attempt = asyncio.get_running_loop().call_later(FOLLOWER_ANSWER_SECONDS_MAX, self._give_up_follower)

    def _give_up_follower(self) -> None:
        self.anywhere = False
        link = self._link
        self._withdraw()
        if link is not None:
            self._dispatcher.distrust(link)
        self._dispatcher.dispatch(self)

    def _withdraw(self) -> None:
        if self._link is not None:
            self._link.follow_up(self._request_id, protocol.Cancel())
            self._link = None

    # --- answers ------------------------------------------------------------------------------------------------------

    def answered(self, status: AnswerStatus, fields: list[Any]) -> bool:
        """One answer of the server."""
        link, self._link = self._link, None
        self._stop_attempt()
        if self.is_done or link is None:
            return False
        self._dispatcher.count(round_trips=1)
        if status == AnswerStatus.OK:
            try:
                value = self._value(fields)
            except BadBytes as error:
                self.fail(error)
            else:
                self._end()
                self._reply.finish(value)
            return False
        self._refused(link, protocol.error_of(status, fields))
        return False

    def _value(self, fields: list[Any]) -> T:
        try:
            value: T = msgspec.convert(fields, self._kind, strict=True)
        except msgspec.ValidationError as error:
            raise BadBytes(f"{self._what}: an answer that cannot be read: {error}") from None
        return value

    def _refused(self, link: Link, error: RsmError) -> None:
        if not is_passing(error):
            self.fail(error)
            return
        if self.anywhere and isinstance(error, NotLeader):
            self._dispatcher.distrust(link)  # a follower that reads nothing: its state is in doubt
        self.anywhere = False  # whatever the follower's reason, the leader knows better
        pause = RECONNECT_SECONDS_MIN
        if isinstance(error, NotLeader):
            self._dispatcher.moved(link, error.address)
            pause = 0
        elif isinstance(error, Busy):
            pause = error.retry_seconds
        elif isinstance(error, Closed):
            self._dispatcher.moved(link, "")
        asyncio.get_running_loop().call_later(pause, self._again)

    def _again(self) -> None:
        if not self.is_done:
            self._dispatcher.dispatch(self)

    def lost(self, reason: str) -> None:
        """The connection broke before the answer."""
        self._link = None
        self._stop_attempt()
        if not self.is_done:
            self.anywhere = False
            self._dispatcher.dispatch(self)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _late(self) -> None:
        self.fail(TimeoutError(f"{self._what}: no answer within {self._timeout_seconds:g} s"))

    def fail(self, error: BaseException) -> None:
        """It ends without an answer."""
        if not self.is_done:
            self._withdraw()
            self._end()
            self._reply.fail(error)

    def _end(self) -> None:
        self.is_done = True
        self._stop_attempt()
        if self._deadline is not None:
            self._deadline.cancel()
        self._dispatcher.forget(self)

    def _stop_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None


class StreamCall(Call[None]):
    """A generator query. One part is always on its way while its reader works on the one before."""

    def __init__(self, dispatcher: Dispatcher, request: protocol.Stream, reader: StreamReader, **options: Any) -> None:
        super().__init__(dispatcher, request, None, reader, **options)
        self._reader = reader
        self._has_begun = False

    def answered(self, status: AnswerStatus, fields: list[Any]) -> bool:
        """One part, or the end."""
        link = self._link
        if self.is_done or link is None:
            return False
        if status != AnswerStatus.MORE:
            if status == AnswerStatus.OK:
                self._dispatcher.count(round_trips=1)
                self._end()
                self._reader.finish(None)
                return False
            if self._has_begun:
                self.fail(protocol.error_of(status, fields))
                return False
            return super().answered(status, fields)
        self._dispatcher.count(round_trips=1)
        self._stop_attempt()
        try:
            part = msgspec.convert(fields, tuple[int, list[bytes]], strict=True)
        except msgspec.ValidationError as error:
            self.fail(BadBytes(f"{self._what}: a part that cannot be read: {error}"))
            return False
        if not self._has_begun:
            self._has_begun = True
            if self._deadline is not None:
                self._deadline.cancel()  # from here on it depends on the reader how long it takes
            self.more()
        self._reader.part(part)
        return True

    def more(self) -> None:
        """Ask for one more part."""
        if self._link is not None and not self.is_done:
            self._link.follow_up(self._request_id, protocol.Next())

    def lost(self, reason: str) -> None:
        """Items that were handed out cannot be taken back."""
        if self._has_begun:
            self._link = None
            self.fail(Unreachable(f"{self._what}: the stream broke off ({reason}); begin it again"))
        else:
            super().lost(reason)

    def cancel(self) -> None:
        """Its reader has had enough."""
        if not self.is_done:
            self._withdraw()
            self._end()


class StreamReader:
    """The thread that reads a stream: parts come in from the loop, credit goes back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout_seconds: float | None) -> None:
        self.call: StreamCall | None = None
        self._loop = loop
        self._timeout_seconds = timeout_seconds
        self._parts: queue.SimpleQueue[tuple[int, list[bytes]] | BaseException | None] = queue.SimpleQueue()

    # on the loop
    def part(self, part: tuple[int, list[bytes]]) -> None:
        """One more."""
        self._parts.put(part)

    def finish(self, value: None) -> None:
        """That was the last."""
        self._parts.put(None)

    def fail(self, error: BaseException) -> None:
        """There will be no more."""
        self._parts.put(error)

    # in the reader's thread
    def next(self) -> tuple[int, list[bytes]] | None:
        """The next part; None at the end."""
        try:
            part = self._parts.get(timeout=self._timeout_seconds)
        except queue.Empty:
            raise TimeoutError(f"a stream: no part within {self._timeout_seconds:g} s") from None
        if isinstance(part, BaseException):
            raise part
        return part


class Slices:
    """The items of a stream, part by part. Dropped, begun or not, it ends the stream at the server."""

    def __init__(
        self, reader: StreamReader, first: tuple[int, list[bytes]] | None, tell: Callable[[Callable[[], None]], None]
    ) -> None:
        """`first`: the part that is here already, None if there is none. `tell` runs something on the loop."""
        self._reader = reader
        self._part = first
        self._has_given = False
        self._tell = tell

    def __iter__(self) -> Slices:
        return self

    def __next__(self) -> list[bytes]:
        if self._has_given and self._part is not None:
            call = self._reader.call
            if call is not None:
                self._tell(call.more)
            self._part = None  # nothing more comes after an exception
            self._part = self._reader.next()
        self._has_given = True
        if self._part is None:
            raise StopIteration
        return self._part[1]

    def __del__(self) -> None:
        call = self._reader.call
        if call is not None and not call.is_done:
            self._tell(call.cancel)
