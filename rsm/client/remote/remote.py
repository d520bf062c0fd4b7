"""A machine at the other end of a network: what `rsm.connect` puts behind a proxy.

Theory of operation. One background thread runs an event loop with the connections. Callers' threads encode commands,
put them into their session's queue and, if the loop sleeps, wake it; answers wake those who wait. `Cluster` keeps a
link to whoever leads, `Sender` gets commands there and back, `Call` everything else. What a cut connection leaves in
doubt is sent again: sessions make that safe for commands, and all other requests can be repeated.

The synchronous calls wait `timeout_seconds` at most. What is awaited, or waited for with a time-out of the caller's
own, stays on its way until it is answered or the client is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from rsm.client.pending import PendingValue
from rsm.client.remote.admission import Admission
from rsm.client.remote.calls import Call, Slices, StreamCall, StreamReader
from rsm.client.remote.cluster import Cluster
from rsm.client.remote.dispatch import Calls
from rsm.client.remote.replies import EVENTS_ANSWER, EventsReply, First, InPassing, Noting, Reopening, Told
from rsm.client.remote.sending import ClientSession, Sender, expired
from rsm.client.runtime import Reply
from rsm.codec import skim
from rsm.errors import Busy, CallerError, Closed, RsmError
from rsm.limits import (
    CLIENT_CALLS_MAX,
    CLIENT_FRAME_ITEMS_MAX,
    EVENTS_PER_ANSWER_MAX,
    EVENTS_WAIT_SECONDS_MAX,
    LOG_TIME_SECONDS_MAX,
    SCHEMA_SECONDS_MIN,
)
from rsm.machine.outcome import ClientStats, Reading, Status
from rsm.node.network import protocol
from rsm.node.network.handshake import ClientHello
from rsm.node.network.protocol import Consistency
from rsm.node.submissions import Submission
from rsm.replica.events import RawEvent

__all__ = ["RemoteRuntime"]

T = TypeVar("T")
# What a thread waits for the loop beyond a call's own deadline; only a loop that is stuck needs it.
GRACE_SECONDS = 5.0
# What a frame has besides the three parts of a command's call: its own head, the item's, their numbers and a key.
ITEMS_AROUND_CALL = 16


class RemoteRuntime:
    """A client of a cluster, without the machine's types: see `rsm.client.proxy`. Thread-safe."""

    def __init__(
        self,
        addresses: tuple[str, ...],
        hello: ClientHello,
        *,
        tls: ssl.SSLContext | None,
        timeout_seconds: float,
        session_ttl: int,
    ) -> None:
        """Connect, or raise why not: `Unreachable`, `WrongMachine`."""
        self.timeout_seconds: float | None = timeout_seconds
        self._wait_seconds = timeout_seconds
        self._session_ttl = session_ttl
        self._sessions: dict[int, ClientSession] = {}
        self._calls = Calls()
        self._refusal: Callable[[], RsmError] | None = None
        self._closing = threading.Lock()
        self._closed_retries = 0  # of sessions that are gone
        self._read_index = 0
        self._log_time = 0
        self._log_time_at = 0.0
        self.schema: dict[str, Any] = {}  # of the cluster's machine, as it was last told
        self._loop = _new_loop()
        self._sender = Sender(self._loop, self._reopen)
        self._sender.moved = self._calls.moved
        self._admission = Admission(self._sender, self._check_open)
        self._sender.answered = self._admission.make_room
        self._thread = threading.Thread(target=self._run, name="rsm-client", daemon=True)
        self._thread.start()
        try:
            self._cluster = self._on_loop(self._connect(addresses, hello, tls))
        except BaseException:
            self._stop_loop()
            raise

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _connect(self, addresses: tuple[str, ...], hello: ClientHello, tls: ssl.SSLContext | None) -> Cluster:
        cluster = self._cluster = self._calls.cluster = Cluster(
            addresses, hello, tls, on_leader=self._on_leader, on_follower=self._calls.on_follower
        )
        deadline = self._loop.time() + self._wait_seconds
        try:
            await asyncio.wait_for(asyncio.shield(cluster.first_round), self._wait_seconds)
            # Nobody there may mean not yet there; a cluster of another machine stays one.
            while cluster.leader is None:
                if cluster.is_elsewhere or self._loop.time() >= deadline:
                    raise cluster.unreachable()
                await asyncio.sleep(0.01)
        except TimeoutError:
            await cluster.close()
            raise cluster.unreachable() from None
        except BaseException:
            await cluster.close()
            raise
        return cluster

    # --- the loop and the threads -------------------------------------------------------------------------------------

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop and wait."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # such as an interrupt of this thread
            future.cancel()
            raise

    def _tell(self, act: Callable[[], None]) -> None:
        """Run on the loop, soon."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is nothing left to act on
            self._loop.call_soon_threadsafe(act)

    def _ask(self, request: protocol.Request, kind: Any, what: str, **options: Any) -> Any:
        """Send a request and wait for its answer."""
        pending: PendingValue[Any] = PendingValue(what)
        self._begin(request, kind, pending, what, timeout_seconds=self._wait_seconds, **options)
        return pending.result(self._wait_seconds + GRACE_SECONDS)

    def _begin(self, request: protocol.Request, kind: Any, reply: Reply[Any], what: str, **options: Any) -> None:
        """Send a request; `reply` is told what comes of it."""
        self._check_open()
        if len(self._calls) >= CLIENT_CALLS_MAX:
            raise Busy(f"{CLIENT_CALLS_MAX} requests of this client are on their way", retry_seconds=0.01)

        def begin() -> None:
            self._start(Call(self._calls, request, kind, reply, what=what, **options))

        try:
            self._loop.call_soon_threadsafe(begin)
        except RuntimeError:  # closed since we looked
            raise _closed() from None

    def _start(self, call: Call[Any]) -> None:
        if self._refusal is not None and not isinstance(call.request, protocol.CloseSession):
            call.fail(self._refusal())
        else:
            self._calls.start(call)

    def _on_leader(self) -> None:
        leader = self._cluster.leader
        if leader is not None:
            self._calls.on_leader()
            self._sender.begin(leader, list(self._sessions.values()))

    # --- commands and sessions ----------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> None:
        """Queue a command; it is told the answer, or the failure. `Busy` for an event loop when the queue is full."""
        session = self._sessions.get(submission.session)
        if session is None or session.is_closed:
            self._check_open()
            raise expired("a command")
        if len(submission.call) > CLIENT_FRAME_ITEMS_MAX:
            # The server would refuse it, and with it all that was sent behind it.
            skim.skip_item(b"\x83" + submission.call, 0, items_max=CLIENT_FRAME_ITEMS_MAX - ITEMS_AROUND_CALL)
        self._admission.push(session, submission)
        if session.is_closed:
            # Whoever closed it may have looked at the queue before this came: look again.
            self._refuse_waiting(session)

    def open_session(self, principal: str, ttl: int) -> int:
        """Another session, of the connection's principal; `ttl` 0: the client's own. Its number."""
        if principal:
            raise CallerError("a session over the network has the principal of its connection")
        ttl = ttl or self._session_ttl
        _, number = self._ask(protocol.OpenSession(ttl), tuple[int, int], "session")
        self._on_loop(self._add_session(ClientSession(number, ttl)))
        return int(number)

    async def _add_session(self, session: ClientSession) -> None:
        session.last_sent = self._loop.time()
        self._sessions[session.handle] = session
        self._keep_alive(session)

    def _keep_alive(self, session: ClientSession) -> None:
        if session.is_closed:
            return
        self._sender.keep_alive(session)
        if time.monotonic() - self._log_time_at > LOG_TIME_SECONDS_MAX and self._refusal is None:
            self._learn_log_time()
        # A little early, so that a session that sent something just after the last look is not a third late.
        self._loop.call_later(session.ttl / 3e9 / 2, self._keep_alive, session)

    def _reopen(self, session: ClientSession) -> None:
        """On the loop: the session has ended, and commands wait that were sent in the knowledge of that."""
        reply = Reopening(self._sender, session)
        request = protocol.OpenSession(session.ttl)
        self._start(
            Call(self._calls, request, tuple[int, int], reply, what="session", timeout_seconds=self._wait_seconds)
        )

    def close_session(self, number: int) -> None:
        """End a session, once its commands are answered. One that cannot be ended now ends by itself."""
        session = self._sessions.get(number)
        if session is not None and not session.is_closed:
            self._check_open()
            self._on_loop(self._end_session(session, self._loop.time() + self._wait_seconds))

    async def _end_session(self, session: ClientSession, deadline: float) -> None:
        session.is_closed = True
        while session.core.unanswered and self._loop.time() < deadline:
            await asyncio.sleep(0.001)
        self._closed_retries += session.core.retries
        self._sessions.pop(session.handle, None)
        session.core.fail_all(expired("a command"))
        left = deadline - self._loop.time()
        if not session.is_over and left > 0 and self._cluster.leader is not None:
            reply = Told()
            request = protocol.CloseSession(session.core.number)
            self._start(Call(self._calls, request, tuple[int], reply, what="close", timeout_seconds=left))
            await reply.told.wait()

    # --- reads --------------------------------------------------------------------------------------------------------

    def query(self, name: str, values: list[Any], reading: Reading) -> tuple[int, bytes]:
        """Index of the state that was read, and MessagePack of the result."""
        pending: PendingValue[tuple[int, bytes]] = PendingValue(name)
        self.query_later(name, values, reading, pending)
        return pending.result(self._wait_seconds + GRACE_SECONDS)

    def query_later(self, name: str, values: list[Any], reading: Reading, reply: Reply[tuple[int, bytes]]) -> None:
        """`query`, for who cannot wait here."""
        consistency, index = self._consistency(reading)
        request = protocol.Query(name, values, consistency, index)
        anywhere = consistency != Consistency.LINEARIZABLE
        noting = Noting(self.saw, reply)
        self._begin(request, tuple[int, bytes], noting, name, timeout_seconds=self._wait_seconds, anywhere=anywhere)

    def _consistency(self, reading: Reading) -> tuple[Consistency, int]:
        if reading.level == "session":
            return Consistency.AT_LEAST, self.seen_index
        if reading.level == "at_least":
            return Consistency.AT_LEAST, reading.index
        return (Consistency.STALE if reading.level == "stale" else Consistency.LINEARIZABLE), 0

    @property
    def seen_index(self) -> int:
        """The newest index that an answer or a read has told of."""
        return max(self._sender.index, self._read_index)

    def saw(self, index: int) -> None:
        """A read told of this index."""
        self._read_index = max(self._read_index, index)

    def stream(self, name: str, values: list[Any], reading: Reading) -> Iterator[list[bytes]]:
        """Slices of the items of a generator query, all from one index. Who stops reading holds nobody up."""
        self._check_open()
        consistency, index = self._consistency(reading)
        reader = StreamReader(self._loop, self._wait_seconds + GRACE_SECONDS)
        request = protocol.Stream(name, values, consistency, index)

        def begin() -> None:
            options = {"what": name, "timeout_seconds": self._wait_seconds}
            call = reader.call = StreamCall(
                self._calls, request, reader, anywhere=consistency != Consistency.LINEARIZABLE, **options
            )
            self._start(call)

        self._loop.call_soon_threadsafe(begin)
        first = reader.next()
        if first is not None:
            self._tell(lambda: self.saw(first[0]))
        return Slices(reader, first, self._tell)

    def events_later(self, after: int, limit: int, reply: Reply[list[tuple[int, RawEvent]]], *, wait: bool) -> None:
        """Up to `limit` events after a number; with `wait`, after a while none, and it is time to ask again."""
        request = protocol.Events(
            after, min(limit, EVENTS_PER_ANSWER_MAX), int(EVENTS_WAIT_SECONDS_MAX * 1000) if wait else 0
        )
        timeout_seconds = None if wait else self._wait_seconds
        self._begin(request, EVENTS_ANSWER, EventsReply(reply), "events", timeout_seconds=timeout_seconds)

    def watch_later(
        self, name: str, values: list[Any], seen: bytes, reply: Reply[tuple[int, bytes | None]], *, wait: bool
    ) -> None:
        """Index and MessagePack of a query's result if its digest is not `seen`; else, with `wait` after a while, the
        index alone.
        """
        request = protocol.Watch(name, values, seen, int(EVENTS_WAIT_SECONDS_MAX * 1000) if wait else 0)
        timeout_seconds = None if wait else self._wait_seconds
        self._begin(request, tuple[int, bytes | None], reply, name, timeout_seconds=timeout_seconds)

    def cursor_later(self, _: int, name: str | None, skip_gap: bool, reply: Reply[int]) -> None:
        """The number of the last event that a named cursor has handled; for no name, the last one that is gone."""
        request = protocol.Cursor(name, skip_gap)
        self._begin(request, tuple[int], First(reply), "events", timeout_seconds=self._wait_seconds)

    # --- the rest -----------------------------------------------------------------------------------------------------

    def snapshot(self) -> int:
        """Have the leader write a snapshot; its index."""
        return int(self._ask(protocol.Snapshot(), tuple[int], "snapshot")[0])

    def log_time(self) -> int:
        """A time that the log has reached, in nanoseconds; not older than `LOG_TIME_SECONDS_MAX`, if the cluster can be
        reached.
        """
        return self._log_time

    def learn_log_time(self) -> None:
        """Ask for it, and wait for the answer."""
        self.status()

    def _learn_log_time(self) -> None:
        self._log_time_at = time.monotonic()
        reply = InPassing(self._note_status)
        kind = tuple[dict[str, Any]]
        self._start(
            Call(self._calls, protocol.Status(), kind, reply, what="status", timeout_seconds=self._wait_seconds)
        )

    def look_again(self) -> None:
        """Ask for the status, in passing, unless that was done a moment ago."""
        if time.monotonic() - self._log_time_at > SCHEMA_SECONDS_MIN and self._refusal is None:
            self._log_time_at = time.monotonic()
            self._tell(self._learn_log_time)

    def _note_status(self, fields: dict[str, Any]) -> None:
        log_time, schema = fields.get("log_time"), fields.get("schema")
        if type(schema) is dict and schema:
            self.schema = schema
        self._log_time_at = time.monotonic()
        if type(log_time) is int:
            self._log_time = max(self._log_time, log_time)

    def status(self) -> Status:
        """Where the leader stands."""
        [fields] = self._ask(protocol.Status(), tuple[dict[str, Any]], "status")
        self._note_status(fields)
        numbers = {
            name: fields[name] if type(fields.get(name)) is int else 0
            for name in ("version", "log_time", "root_index", "sessions", "timers", "log_bytes", "snapshot_index")
        }
        machine, root, index = fields.get("machine", ""), fields.get("root", ""), fields.get("applied_index", 0)
        return Status(machine=str(machine), root=str(root), index=index if type(index) is int else 0, **numbers)

    def stats(self) -> ClientStats:
        """What was sent so far."""
        sender = self._sender
        retries = self._calls.retries + self._closed_retries
        retries += sum(session.core.retries for session in list(self._sessions.values()))
        return ClientStats(
            round_trips=self._calls.round_trips + sender.frames_answered,
            commands=sender.commands,
            frames=sender.frames,
            retries=retries,
            redirects=self._cluster.redirects,
        )

    @property
    def is_open(self) -> bool:
        """Whether commands are taken."""
        return self._refusal is None

    def _check_open(self) -> None:
        if self._refusal is not None:
            raise self._refusal()

    def close(self, session: int = 0) -> None:
        """Have what was sent answered, end the sessions, close the connections. May be called twice.

        A cluster that cannot be reached is waited for `timeout_seconds` at most, and only while commands are
        unanswered; their outcome is then unknown (`Closed`), and the sessions end by themselves.
        """
        with self._closing:
            if self._refusal is not None:
                return
            self._refusal = _closed
            with contextlib.suppress(RuntimeError):
                self._on_loop(self._shut_down())
            self._stop_loop()

    async def _shut_down(self) -> None:
        deadline = self._loop.time() + self._wait_seconds
        self._calls.fail_all(_closed())
        ends = [self._end_session(session, deadline) for session in list(self._sessions.values())]
        await asyncio.gather(*ends, return_exceptions=True)
        self._calls.fail_all(_closed())
        await self._cluster.close()

    def _refuse_waiting(self, session: ClientSession) -> None:
        error = expired("a command") if self._refusal is None else self._refusal()
        try:
            self._loop.call_soon_threadsafe(lambda: session.core.fail_all(error, sent=False))
        except RuntimeError:  # there is no loop any more that might do so at the same time
            session.core.fail_all(error)

    async def _cancel_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    def _stop_loop(self) -> None:
        self._on_loop(self._cancel_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._admission.make_room()


def _closed() -> RsmError:
    return Closed("the client is closed")


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
