"""Watched queries: whoever asks is answered when the result is no longer what he has seen.

A distinct query is read once for all who wait for it, and only when something was applied since. Reading what is
watched is done in slices, at most every `FEED_INTERVAL_SECONDS`, and then rests for longer than it took: a query may
take long, and commands keep the time. Only who asks first, or does not want to wait, is answered like anybody who asks
a query. A result is kept for a moment when nobody waits for it, since whoever was answered asks again at once; results
beyond a bound in bytes are read again instead.
"""

from __future__ import annotations

import asyncio
import time

from rsm.errors import Busy, InvalidCommand, LimitExceeded, RsmError
from rsm.limits import (
    ANSWER_FRAME_BYTES_MAX,
    FEED_ALIVE_SECONDS,
    FEED_INTERVAL_SECONDS,
    WATCH_BYTES_MAX,
    WATCH_IDLE_SECONDS,
    WATCH_REST_FACTOR,
    WATCH_REST_SECONDS_MAX,
    WATCH_SLICE_SECONDS,
    WATCHES_MAX,
)
from rsm.node.feed.node import FeedNode
from rsm.node.log import Seldom
from rsm.node.network import protocol
from rsm.node.serving.serving import ANSWER_OVERHEAD_BYTES, Connection, Replying, told
from rsm.state.leaf import digest128, encode

__all__ = ["WatchPoll", "Watching"]


class _Watched:
    """One query and its last result. `index` is that of the state it was read from, -1: not read, or void."""

    def __init__(self, name: str, values: list[object]) -> None:
        self.name = name
        self.values = values
        self.polls: dict[WatchPoll, None] = {}
        self.index = -1
        self.digest = b""
        self.packed: bytes | None = None  # not kept, if there is a digest
        self.failure: RsmError | None = None  # instead of a result
        self.read_at = -WATCH_IDLE_SECONDS


class WatchPoll:
    """A request that waits for another result than the one it has seen."""

    def __init__(self, connection: Connection, reply: Replying, seen: bytes, watched: _Watched) -> None:
        self.seen = seen
        self._connection = connection
        self._reply = reply
        self._watched = watched
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, seconds: float, index: int) -> None:
        """Answer without a result when the wait is over."""
        if seconds <= 0:
            self._reply.complete(index, None)
            return
        self._connection.polls[self._reply.request_id] = self
        self._watched.polls[self] = None
        self._timer = asyncio.get_running_loop().call_later(seconds, self._is_late)

    def _is_late(self) -> None:
        self.complete(max(self._watched.index, 0), None)

    def complete(self, index: int, packed: bytes | None) -> None:
        """The answer."""
        self._close()
        self._reply.complete(index, packed)

    def fail(self, error: RsmError) -> None:
        """There is none."""
        self._close()
        self._reply.fail(error)

    def cancel(self) -> None:
        """Its client has lost interest: no answer."""
        self._close()
        self._reply.done()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._watched.polls.pop(self, None)
        self._connection.polls.pop(self._reply.request_id, None)


class Watching:
    """The watched queries of one node."""

    def __init__(self, node: FeedNode) -> None:
        self._node = node
        self._watched: dict[tuple[str, bytes], _Watched] = {}
        self._kept_bytes = 0  # of what is asked, and of results
        self._loop = asyncio.get_running_loop()
        self._seldom = Seldom()
        self._timer: asyncio.TimerHandle | None = None
        self._due_at = self._rest_until = 0.0

    def watch(self, connection: Connection, request: protocol.Watch, reply: Replying) -> None:
        """Answer at once if the result is new, else when it is. Whatever `RsmError` is raised is the answer."""
        refusal = self._node.refusal()
        if refusal is not None:
            raise refusal
        watched = self._find(request)
        is_stale = watched.index != self._node.replica.index or watched.failure is not None
        is_asked = watched.index < 0 or watched.failure is not None or not request.wait_milliseconds
        if is_asked and is_stale and self._loop.time() - watched.read_at >= FEED_INTERVAL_SECONDS:
            self._read(watched)
        elif watched.packed is None and watched.digest not in (b"", request.seen):
            self._read(watched)  # it was not kept
        if watched.failure is not None:
            reply.fail(watched.failure)
        elif watched.packed is not None and watched.digest != request.seen:
            reply.complete(watched.index, watched.packed)
        else:
            poll = WatchPoll(connection, reply, request.seen, watched)
            poll.wait(request.wait_milliseconds / 1000, max(watched.index, 0))
        self._schedule(FEED_INTERVAL_SECONDS if watched.polls else FEED_ALIVE_SECONDS)
        self._trim(watched)

    def applied(self) -> None:
        """Something was applied, or the node's state is in doubt."""
        if self._watched:
            self._schedule(FEED_INTERVAL_SECONDS)

    def swapped(self) -> None:
        """Another state has taken the place of the one there was: what was read of that says nothing."""
        for watched in self._watched.values():
            self._void(watched)
        self.applied()

    # --- what is kept ------------------------------------------------------------------------------------------------

    def _find(self, request: protocol.Watch) -> _Watched:
        spec = self._node.replica.definition.queries.get(request.name)
        if spec is not None and spec.is_stream:
            raise InvalidCommand(f"query {request.name} gives one item after another: it cannot be watched")
        try:
            key = request.name, encode(request.values)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidCommand(f"query {request.name}: {error}") from error
        watched = self._watched.get(key)
        if watched is None:
            if not self._has_room(key):
                self._drop_idle(0.0)
            if not self._has_room(key):
                raise Busy(f"{len(self._watched)} queries are watched on this node", retry_seconds=0.1)
            watched = self._watched[key] = _Watched(request.name, request.values)
            self._kept_bytes += len(key[1])
        return watched

    def _has_room(self, key: tuple[str, bytes]) -> bool:
        return len(self._watched) < WATCHES_MAX and self._kept_bytes + len(key[1]) <= WATCH_BYTES_MAX

    def _drop_idle(self, idle_seconds: float) -> None:
        before = self._loop.time() - idle_seconds
        for key in [key for key, one in self._watched.items() if not one.polls and one.read_at <= before]:
            watched = self._watched.pop(key)
            self._kept_bytes -= len(key[1]) + len(watched.packed or b"")

    def _void(self, watched: _Watched) -> None:
        self._kept_bytes -= len(watched.packed or b"")
        watched.index, watched.packed, watched.digest, watched.failure = -1, None, b"", None
        watched.read_at = -WATCH_IDLE_SECONDS

    def _trim(self, watched: _Watched) -> None:
        if self._kept_bytes > WATCH_BYTES_MAX and watched.packed is not None:
            self._kept_bytes -= len(watched.packed)
            watched.packed = None

    # --- reading -----------------------------------------------------------------------------------------------------

    def _read(self, watched: _Watched) -> None:
        replica = self._node.replica
        self._void(watched)
        watched.index, watched.read_at = replica.index, self._loop.time()
        try:
            packed = replica.query(watched.name, watched.values)
            if len(packed) + ANSWER_OVERHEAD_BYTES > ANSWER_FRAME_BYTES_MAX:
                raise LimitExceeded(f"query {watched.name}: {len(packed)} bytes exceed the bound of an answer")
        except Exception as error:
            watched.failure = told(error, watched.name, self._seldom)
        else:
            watched.packed, watched.digest = packed, digest128(packed)
            self._kept_bytes += len(packed)

    def _schedule(self, seconds: float) -> None:
        at = max(self._loop.time() + seconds, self._rest_until)
        if self._timer is not None:
            if self._due_at <= at:
                return
            self._timer.cancel()
        self._timer, self._due_at = self._loop.call_at(at, self._look), at

    def _look(self) -> None:
        """Read what is waited for and may have changed, for a slice of time."""
        self._timer = None
        self._drop_idle(WATCH_IDLE_SECONDS)
        began = time.perf_counter()
        refusal, index = self._node.refusal(), self._node.replica.index
        stale = [one for one in self._watched.values() if one.polls and (refusal is not None or one.index != index)]
        stale.sort(key=lambda one: one.read_at)  # fair, if there is no time for all
        done = 0
        for watched in stale:
            if done and time.perf_counter() - began > WATCH_SLICE_SECONDS:
                break
            self._tell(watched, refusal)
            done += 1
        took = time.perf_counter() - began
        self._rest_until = self._loop.time() + took + min(took * WATCH_REST_FACTOR, WATCH_REST_SECONDS_MAX)
        if done < len(stale):
            self._schedule(FEED_INTERVAL_SECONDS)
        elif self._watched:
            self._schedule(FEED_ALIVE_SECONDS)  # a node whose state is in doubt may apply nothing, and idle ones go

    def _tell(self, watched: _Watched, refusal: RsmError | None) -> None:
        if refusal is None:
            self._read(watched)
        failure = refusal or watched.failure
        for poll in list(watched.polls):
            if failure is not None:
                poll.fail(failure)
            elif watched.packed is not None and poll.seen != watched.digest:
                poll.complete(watched.index, watched.packed)
        self._trim(watched)
