"""What a client server keeps for one request while it waits: commands, reads, streams, long polls.

Each belongs to a connection, and each is told its answer once; whatever comes after that, or after the connection has
closed, goes nowhere. A handler's own exception becomes `HandlerFailed` for its client and a traceback in the local log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final, Protocol

from rsm.errors import BadBytes, Busy, HandlerFailed, LimitExceeded, RsmError, Unreachable
from rsm.limits import (
    ANSWER_FRAME_BYTES_MAX,
    EVENT_BYTES_KEPT,
    QUERY_SLICE_ITEMS,
    STREAM_IDLE_SECONDS_MAX,
    STREAM_PART_BYTES,
    STREAMS_MAX,
    STREAMS_PER_CONNECTION_MAX,
)
from rsm.node.log import Seldom, logger
from rsm.node.network import protocol
from rsm.node.network.protocol import AnswerStatus
from rsm.node.requests import Consistency, Read, Request
from rsm.replica.answer import Answer
from rsm.replica.replica import Replica

__all__ = [
    "CommandsReply",
    "Connection",
    "EventPoll",
    "QueryRead",
    "Replying",
    "Streaming",
    "answer_query",
    "check_node_streams",
    "check_streams",
    "item_parts",
]

# What an answer's own heads add to the results in it.
ANSWER_OVERHEAD_BYTES: Final = 1024
# Bytes of events in one answer; the next ones come with the next.
EVENT_BYTES_PER_ANSWER: Final = min(EVENT_BYTES_KEPT, 4 * 1024 * 1024)


class Poll(Protocol):
    """A request that may wait long."""

    def cancel(self) -> None:
        """Its client has lost interest."""


class Connection(Protocol):
    """What these need of the connection that they belong to."""

    is_open: bool
    seldom: Seldom
    streams: dict[int, Streaming]
    node_streams: set[Streaming]  # those of all connections
    polls: dict[int, Poll]

    def begin(self, size: int) -> None:
        """A request of so many bytes is open."""

    def end(self, size: int) -> None:
        """It is not any more."""

    def answer(self, payload: bytes, *, compress: bool = False) -> None:
        """Send an answer."""

    @property
    def doubt(self) -> str:
        """Why the state must not be shown now, or an empty text."""

    def replica(self) -> Replica:
        """The state, for what any state will do; `NotLeader` or `Busy` if it must not be shown."""

    def watch(self, poll: EventPoll) -> None:
        """Have the poll look again when there are new events."""

    def unwatch(self, poll: EventPoll) -> None:
        """Not any more."""


class Replying:
    """A request that waits for its answer."""

    __slots__ = ("_is_done", "_size", "connection", "request_id")

    def __init__(self, connection: Connection, request_id: int, size: int) -> None:
        self.connection = connection
        self.request_id = request_id
        self._size = size
        self._is_done = False
        connection.begin(size)

    def done(self) -> bool:
        """It waits no longer, whatever becomes of it; False if it was so already."""
        if self._is_done:
            return False
        self._is_done = True
        self.connection.end(self._size)
        return True

    def complete(self, *fields: Any) -> None:
        """The answer."""
        if self.done():
            self.connection.answer(protocol.encode_answer(self.request_id, AnswerStatus.OK, *fields))

    def fail(self, error: BaseException) -> None:
        """Why there is none."""
        if self.done():
            self.connection.answer(protocol.encode_failure(self.request_id, error))


class CommandsReply(Request):
    """Commands of one frame."""

    __slots__ = ("_reply",)

    def __init__(self, reply: Replying, commands: protocol.Commands, principal: str) -> None:
        super().__init__(commands.items, commands.decoded, principal, wants_confirmation=commands.wants_confirmation)
        self._reply = reply

    def complete(self, index: int, answers: list[Answer]) -> None:
        """They are durable on a quorum and applied at `index`, and confirmed if that was wanted."""
        reply = self._reply
        if reply.done():
            reply.connection.answer(protocol.encode_answers(reply.request_id, index, answers))

    def fail(self, error: BaseException) -> None:
        """They were not taken, or nobody knows."""
        self._reply.fail(error)


class QueryRead(Read):
    """A look at the state."""

    __slots__ = ("_look", "_reply", "_what")

    def __init__(
        self, reply: Replying, consistency: Consistency, index: int, look: Callable[[Replica], None], what: str
    ) -> None:
        super().__init__(consistency, index)
        self._reply = reply
        self._look = look
        self._what = what

    def run(self, replica: Replica) -> None:
        """Look."""
        if not self._reply.connection.is_open:
            self._reply.done()
            return
        try:
            self._look(replica)
        except Exception as error:
            self._reply.fail(told(error, self._what, self._reply.connection.seldom))

    def hand_to(self, read: Callable[[Read], None]) -> None:
        """Have a node run it; what the node raises is the answer."""
        try:
            read(self)
        except RsmError as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """There is no state to look at."""
        self._reply.fail(error)


def told(error: Exception, what: str, seldom: Seldom) -> RsmError:
    """What a client is told of an exception in a query: ours as they are, a handler's without its text."""
    if isinstance(error, RsmError):
        return error
    passed_over = seldom.turn(f"query_failed {what}", time.monotonic())
    if passed_over is not None:
        logger.exception("query_failed", name=what, exc_info=error, passed_over=passed_over)
    return HandlerFailed(f"query {what}: its handler raised {type(error).__name__}; the traceback is in the local log")


def answer_query(reply: Replying, replica: Replica, name: str, values: list[Any]) -> None:
    """Run a query and answer with its result."""
    packed = replica.query(name, values)
    if len(packed) + ANSWER_OVERHEAD_BYTES > ANSWER_FRAME_BYTES_MAX:
        raise LimitExceeded(f"query {name}: {len(packed)} bytes exceed the bound of an answer; make it a generator")
    reply.complete(replica.index, packed)


class Streaming:
    """A stream that gives one part for each credit. `parts`: (the fields of a part, whether it is the last).

    It holds a view of the state, which every write then has to look after: a client that asks for nothing more, and one
    that forgot to cancel, must not keep it for ever.
    """

    def __init__(
        self,
        connection: Connection,
        request_id: int,
        parts: Iterator[tuple[list[Any], bool]],
        what: str,
        *,
        shows_state: bool = True,
    ) -> None:
        self._connection = connection
        self._shows_state = shows_state
        self._request_id = request_id
        self._parts = parts
        self._what = what
        self._timer: asyncio.TimerHandle | None = None
        connection.streams[request_id] = self
        connection.node_streams.add(self)

    def produce(self) -> None:
        """One more part, or the end."""
        self._stop_timer()
        part: tuple[list[Any], bool] | None
        doubt = self._connection.doubt if self._shows_state else ""
        if doubt:
            self._end(Unreachable(f"{self._what}: the stream ends here, begin it again elsewhere: {doubt}"))
            return
        try:
            part = next(self._parts, None)
        except Exception as error:
            self._end(told(error, self._what, self._connection.seldom))
            return
        if part is not None:
            self._connection.answer(
                protocol.encode_answer(self._request_id, AnswerStatus.MORE, *part[0]), compress=True
            )
        if part is None or part[1]:
            self.close()
            self._connection.answer(protocol.encode_answer(self._request_id, AnswerStatus.OK))
        else:
            self._timer = asyncio.get_running_loop().call_later(STREAM_IDLE_SECONDS_MAX, self._forsaken)

    def _forsaken(self) -> None:
        self._end(
            LimitExceeded(f"{self._what}: no part was asked for within {STREAM_IDLE_SECONDS_MAX:g} s; begin it again")
        )

    def _end(self, error: RsmError) -> None:
        self.close()
        self._connection.answer(protocol.encode_failure(self._request_id, error))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Let go of what the stream holds."""
        self._stop_timer()
        self._connection.streams.pop(self._request_id, None)
        self._connection.node_streams.discard(self)
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()


def check_streams(connection: Connection, request_id: int) -> None:
    """Whether one more stream or poll may be opened under this id: `BadBytes` or `Busy` if not."""
    if request_id in connection.streams or request_id in connection.polls:
        raise BadBytes(f"request id {request_id} is in use")
    if len(connection.streams) + len(connection.polls) >= STREAMS_PER_CONNECTION_MAX:
        raise Busy(f"{STREAMS_PER_CONNECTION_MAX} streams are open on this connection", retry_seconds=0.1)


def check_node_streams(connection: Connection) -> None:
    """Whether one more stream may be opened on this node: `Busy` if not."""
    if len(connection.node_streams) >= STREAMS_MAX:
        raise Busy(f"{STREAMS_MAX} streams are open on this node", retry_seconds=0.1)


def item_parts(index: int, items: Iterator[bytes]) -> Iterator[tuple[list[Any], bool]]:
    """A query's items in parts of so many items or bytes; the index at which they were read goes with each."""
    try:
        while True:
            taken: list[bytes] = []
            size = 0
            for item in islice(items, QUERY_SLICE_ITEMS):
                taken.append(item)
                size += len(item)
                if size > STREAM_PART_BYTES:
                    break
            is_last = len(taken) < QUERY_SLICE_ITEMS and size <= STREAM_PART_BYTES
            if size + ANSWER_OVERHEAD_BYTES > ANSWER_FRAME_BYTES_MAX:
                raise LimitExceeded(f"an item of {len(taken[-1])} bytes exceeds the bound of an answer")
            yield [index, taken], is_last
            if is_last:
                return
    finally:
        items.close()  # type: ignore[attr-defined]  # a generator: the view of the state that it holds goes with it


class EventPoll:
    """A request for events that may wait for some."""

    def __init__(self, connection: Connection, request: protocol.Events, reply: Replying) -> None:
        self._connection = connection
        self._request = request
        self._reply = reply
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Answer if there are events or the wait is over; wait if not."""
        try:
            found = self._connection.replica().ring.after(self._request.after, self._request.limit)
        except Exception as error:
            self.close()
            self._reply.fail(told(error, "events", self._connection.seldom))
            return
        if found or not self._request.wait_milliseconds:
            self._answer(found)
            return
        if self._timer is None:
            self._connection.polls[self._reply.request_id] = self
            wait = self._request.wait_milliseconds / 1000
            self._timer = asyncio.get_running_loop().call_later(wait, self._answer, [])
        self._connection.watch(self)

    def _answer(self, found: list[tuple[int, Any]]) -> None:
        self.close()
        taken: list[list[Any]] = []
        size = 0
        for number, event in found:
            size += len(event.packed)
            if taken and size > EVENT_BYTES_PER_ANSWER:
                break
            taken.append([number, event.index, event.position, event.step, event.number, event.packed])
        self._reply.complete(taken)

    def close(self) -> None:
        """It waits no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._connection.polls.pop(self._reply.request_id, None)
        self._connection.unwatch(self)

    def cancel(self) -> None:
        """Its client has lost interest: no answer."""
        self.close()
        self._reply.done()
