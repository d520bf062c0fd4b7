"""The client port of a node: connections, who is on them, and the way of each request to the node and back.

Theory of operation. A frame of commands is decoded once and handed to the node as one request; the node puts it into a
batch as the client encoded it, and one frame answers all of its commands. Nothing here looks into the commands, save
for whose session they name and that no name is one that only the cluster itself may use: to a replica, an unknown name
of the system's means a later release, and it stops.

Everything waits in bounds. A connection with too many unanswered requests, or too large ones, is not read from until
some are answered, and TCP holds the client up. One that does not read its answers is cut off. Streams go by credit:
one part for each time that the client asks. Long polls are woken together, once for all.

Nothing that a client sends raises beyond its connection.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Final

from rsm.codec.record import Entry
from rsm.errors import BadBytes, Busy, CallerError, RsmError
from rsm.limits import (
    CLIENT_FRAME_BYTES_MAX,
    EARLY_READ_LOOK_SECONDS,
    EARLY_READ_SECONDS_MAX,
    EARLY_READS_MAX,
    FEED_STALL_SECONDS_MAX,
    PRINCIPAL_LENGTH_MAX,
    REQUEST_BYTES_IN_FLIGHT_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    SEND_BUFFER_BYTES_MAX,
)
from rsm.node import requests
from rsm.node.feed.feed import FeedSource
from rsm.node.feed.observer import Observer
from rsm.node.log import Seldom, logger
from rsm.node.network import protocol
from rsm.node.network.connections import ConnectionLimiter
from rsm.node.network.framing import FrameProtocol
from rsm.node.network.handshake import (
    ClientHello,
    Refused,
    ServerHello,
    check_client,
    choose_protocol,
    encode_server_hello,
    parse_client_hello,
)
from rsm.node.network.protocol import Consistency, RequestKind
from rsm.node.network.tls import ROLE_ADMIN, ROLE_CLIENT, ROLE_OBSERVER, ROLE_PEER
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.node.service import Service, elsewhere, schema_digest
from rsm.node.serving.serving import (
    CommandsReply,
    EventPoll,
    Poll,
    QueryRead,
    Replying,
    Streaming,
    answer_query,
    check_node_streams,
    check_streams,
    item_parts,
)
from rsm.node.serving.watching import Watching
from rsm.replica.answer import Answer, Status
from rsm.replica.replica import Replica
from rsm.replica.system_commands import SESSION_COMMANDS

__all__ = ["ClientServer"]

_CONSISTENCIES: Final[dict[Consistency, requests.Consistency]] = {
    Consistency.LINEARIZABLE: "linearizable",
    Consistency.AT_LEAST: "at_least",
    Consistency.STALE: "stale",
}
# What a role does not have the right to: kinds of requests by what they do.
_WRITES: Final = frozenset(
    {
        *(RequestKind.COMMANDS, RequestKind.CONFIRMED_COMMANDS),
        *(RequestKind.OPEN_SESSION, RequestKind.CLOSE_SESSION),
    }
)
_ADMINISTERS: Final = frozenset(
    {
        *(RequestKind.SNAPSHOT, RequestKind.CHANGE, RequestKind.TRANSFER, RequestKind.UPGRADE),
        *(RequestKind.EXPORT, RequestKind.ROOTS),
    }
)
EXPIRED: Final = Answer(Status.SESSION_EXPIRED, b"")


class ClientServer:
    """The client port. All of it runs on the loop that `start` was called on."""

    def __init__(
        self,
        service: Service,
        *,
        tls: ssl.SSLContext | None = None,
        limiter: ConnectionLimiter | None = None,
        applying_seconds: float = 0.0,
    ) -> None:
        """`applying_seconds`: what the node spent applying before."""
        self.service = service
        self.tls = tls
        self.limiter = ConnectionLimiter("client") if limiter is None else limiter
        self.commands = 0  # taken in, retries included
        self.requests = 0
        self.schema = schema_digest(service.definition)
        self._listener: asyncio.Server | None = None
        self.seldom = Seldom()
        self.streams: set[Streaming] = set()
        # A heap of reads of what is not applied here yet: index, when they came, until when they wait.
        self._early: list[tuple[int, int, float, QueryRead]] = []
        self._early_numbers = count()
        self._early_sweep_at = 0.0
        self._polls: dict[EventPoll, None] = {}
        self._is_watching = False
        self.feed = FeedSource(service.feed_node, applying_seconds)
        self.watching = Watching(service.feed_node)

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, which for 0 the system has chosen. `OSError` if it is taken."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Connection(self), host, port)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def close(self, reason: str = "the node is stopping") -> None:
        """Stop listening and close every connection; answers that are ready are sent first."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        self.feed.close()
        self.limiter.close(reason)
        if listener is not None:
            await listener.wait_closed()

    # --- reads of what is not applied yet -----------------------------------------------------------------------------

    def read(self, read: QueryRead) -> None:
        """Hand a read to the node, if need be after a while: a client may ask for an index that never comes."""
        if read.consistency != "at_least" or read.index <= self.service.replica.index:
            self.service.read(read)
            return
        self.check_doubt()  # a node in doubt may never apply what is waited for
        if len(self._early) >= EARLY_READS_MAX:
            raise Busy(f"{EARLY_READS_MAX} reads wait for an index that is not applied here", retry_seconds=0.05)
        loop = asyncio.get_running_loop()
        if not self._early:
            loop.call_later(EARLY_READ_LOOK_SECONDS, self._look_at_early)
        heappush(self._early, (read.index, next(self._early_numbers), loop.time() + EARLY_READ_SECONDS_MAX, read))

    def check_doubt(self) -> None:
        """Raise where to go, or when to come again, if this node's state must not be shown now."""
        doubt = self.service.doubt
        if doubt:
            raise elsewhere(self.service, doubt)

    def _look_at_early(self) -> None:
        loop = asyncio.get_running_loop()
        early, index, now = self._early, self.service.replica.index, loop.time()
        while early and early[0][0] <= index:
            heappop(early)[3].hand_to(self.service.read)
        if now >= self._early_sweep_at:
            # All of them are looked at only so often: there may be thousands.
            self._early_sweep_at = now + EARLY_READ_SECONDS_MAX / 10
            late = [entry for entry in early if entry[2] <= now]
            early[:] = [entry for entry in early if entry[2] > now]
            heapify(early)
            for asked, _, _, read in late:
                read.fail(Busy(f"index {asked} was asked for, {index} is applied here", retry_seconds=0.05))
        if early:
            loop.call_later(EARLY_READ_LOOK_SECONDS, self._look_at_early)

    # --- what is applied ----------------------------------------------------------------------------------------------

    def applied(self, entry: Entry, root: bytes | None, seconds: float) -> None:
        """The node has applied an entry, with this root if it is a hash point, in so many seconds."""
        self.feed.applied(entry, root, seconds)
        self.watching.applied()

    def swapped(self) -> None:
        """Another replica has taken the place of the one that the node had."""
        self.feed.swapped()
        self.watching.swapped()

    # --- long polls ---------------------------------------------------------------------------------------------------

    def watch(self, poll: EventPoll) -> None:
        """Look again for this one when there are new events."""
        self._polls[poll] = None
        if not self._is_watching:
            self._is_watching = True
            self.service.when_events(self._new_events)

    def unwatch(self, poll: EventPoll) -> None:
        """It is over."""
        self._polls.pop(poll, None)

    def _new_events(self) -> None:
        self._is_watching = False
        polls, self._polls = self._polls, {}
        for poll in polls:
            poll.look()


class _Connection(FrameProtocol):
    """One client."""

    def __init__(self, server: ClientServer) -> None:
        super().__init__(server.limiter, server_side=True, tls=server.tls, may_be_compressed=False)
        self.server = server
        self.service = server.service
        self.principal = ""
        self.seldom = server.seldom
        self.node_streams = server.streams
        # Nobody has a right before the hello.
        self.may_read = self.may_write = self.is_admin = False
        self.streams: dict[int, Streaming] = {}
        self.polls: dict[int, Poll] = {}
        self.observer: Observer | None = None
        self._requests = 0
        self._request_bytes = 0

    # --- frames -------------------------------------------------------------------------------------------------------

    def frame_received(self, kind: FrameKind, payload: bytes) -> None:
        """The hello, then requests."""
        if not self.is_established:
            self._shake_hands(kind, payload)
            return
        if kind != FrameKind.REQUEST:
            self.fault(f"a frame of kind {kind.name} where a request was due")
            return
        try:
            request_id, request = protocol.decode_request(payload, self._refuse)
        except BadBytes as error:
            self.fault(str(error))
            return
        self.server.requests += 1
        reply = Replying(self, request_id, len(payload))
        try:
            if isinstance(request, protocol.Commands):
                self._submit(request, reply)
            elif isinstance(request, RsmError):
                reply.fail(request)
            else:
                _HANDLERS[type(request)](self, request, reply)
        except Exception as error:
            if not isinstance(error, RsmError):
                self._log_failure(type(request).__name__)
            reply.fail(error)

    def _log_failure(self, request: str) -> None:
        passed_over = self.seldom.turn(f"request {request}", time.monotonic())
        if passed_over is not None:
            logger.exception("a request failed", remote=self.remote, request=request, passed_over=passed_over)

    def _refuse(self, kind: int) -> CallerError | None:
        """Why the connection's owner may not ask for this kind of thing, if so."""
        if kind in _ADMINISTERS and not self.is_admin:
            return CallerError(f"this takes a certificate of the role {ROLE_ADMIN!r}")
        if kind in _WRITES and not self.may_write:
            return CallerError(f"certificates of the roles {ROLE_OBSERVER!r} and {ROLE_PEER!r} write nothing here")
        if kind != RequestKind.STATUS and not self.may_read:
            return CallerError(f"with a certificate of the role {ROLE_PEER!r} there is nothing here but the status")
        return None

    def _shake_hands(self, kind: FrameKind, payload: bytes) -> None:
        service = self.service
        try:
            if kind != FrameKind.HELLO:
                raise Refused("no hello", f"a frame of kind {kind.name} came first")
            hello: ClientHello = parse_client_hello(payload)
            self.principal, warning = check_client(
                hello,
                cluster_id=service.cluster_id,
                machine=service.definition.name,
                schema=self.server.schema,
                owner=self.owner,
            )
            if len(self.principal) > PRINCIPAL_LENGTH_MAX:
                raise Refused("no hello", f"a principal has at most {PRINCIPAL_LENGTH_MAX} characters")
        except Refused as error:
            self.refuse(str(error))
            return
        if warning:
            logger.info("client of another version", remote=self.remote, warning=warning)
        # Without TLS anybody may do anything, which is why it is for loopback.
        role = ROLE_ADMIN if self.owner is None else self.owner.role
        self.is_admin = role == ROLE_ADMIN
        self.may_write = role in (ROLE_ADMIN, ROLE_CLIENT)
        self.may_read = self.may_write or role == ROLE_OBSERVER
        answer = ServerHello(
            protocol=choose_protocol(hello.protocol),
            cluster_id=service.cluster_id,
            node_id=service.node_id,
            machine=service.definition.name,
            version=service.definition.version,
            leader=service.leader or (),
            members=tuple(service.members),
        )
        self.send(encode_frame(FrameKind.HELLO, encode_server_hello(answer)))
        self.establish(CLIENT_FRAME_BYTES_MAX)

    def closed(self, reason: str) -> None:
        """Let go of what it held."""
        for stream in list(self.streams.values()):
            stream.close()
        for poll in list(self.polls.values()):
            poll.cancel()
        if self.observer is not None:
            self.server.feed.end(self.observer)

    def begin(self, size: int) -> None:
        """A request is open; beyond the bounds no more is read."""
        self._requests += 1
        self._request_bytes += size
        if self._requests >= REQUESTS_IN_FLIGHT_MAX or self._request_bytes >= REQUEST_BYTES_IN_FLIGHT_MAX:
            self.pause_reading()

    def end(self, size: int) -> None:
        """A request is answered."""
        self._requests -= 1
        self._request_bytes -= size
        if self._requests < REQUESTS_IN_FLIGHT_MAX and self._request_bytes < REQUEST_BYTES_IN_FLIGHT_MAX:
            self.resume_reading()

    def answer(self, payload: bytes, *, compress: bool = False) -> None:
        """Send an answer; a client that does not read what it has asked for is cut off."""
        if not self.is_open:
            return
        if self.send_buffer_bytes > SEND_BUFFER_BYTES_MAX:
            self.server.limiter.log("it does not read its answers", self.remote)
            self.close("it does not read its answers", at_once=True)
            return
        self.send(encode_frame(FrameKind.ANSWER, payload, compress=compress))

    def replica(self) -> Replica:
        """The state, for what any state will do; `NotLeader` or `Busy` if it must not be shown."""
        self.server.check_doubt()
        return self.service.replica

    @property
    def doubt(self) -> str:
        """Why the state must not be shown now, or an empty text."""
        return self.service.doubt

    def watch(self, poll: EventPoll) -> None:
        """Have it look again when there are new events."""
        self.server.watch(poll)

    def unwatch(self, poll: EventPoll) -> None:
        """Not any more."""
        self.server.unwatch(poll)

    # --- requests -----------------------------------------------------------------------------------------------------

    def _submit(self, commands: protocol.Commands, reply: Replying) -> None:
        decoded = commands.decoded
        owner: Any = None
        for item in decoded:
            if type(item) is not list or not 6 <= len(item) <= 7:
                raise BadBytes(
                    "a command must be [session, sequence, lowest, name, version, values], and perhaps a key"
                )
            session, name = item[0], item[3]
            if type(session) is not int or session <= 0:
                raise BadBytes(f"{session!r:.80} is not the number of a session")
            if owner is None:
                owner = session
            elif session != owner:
                raise BadBytes("the commands of a request must be of one session")
            if type(name) is not str or (name.startswith("rsm.") and name not in SESSION_COMMANDS):
                raise BadBytes(f"{name!r:.80} is not a command that a client may send")
        request = CommandsReply(reply, commands, self.principal)

        def submit() -> None:
            self.server.commands += len(decoded)
            self.service.submit(request)

        self._in_session(owner, reply, submit, lambda: request.complete(0, [EXPIRED] * len(decoded)))

    def _in_session(
        self, session: int, reply: Replying, known: Callable[[], None], unknown: Callable[[], None]
    ) -> None:
        """Do what belongs to a session of the connection's principal, or what is due if there is none (any more).

        A leader that was deposed and has not heard of it knows nothing of the sessions that its successor opens: that
        there is none is said only behind a barrier.
        """
        if self._owns(session):
            known()
            return

        def look(_: Replica) -> None:
            if self._owns(session):
                known()
            else:
                unknown()

        self.service.read(QueryRead(reply, "linearizable", 0, look, "session"))

    def _owns(self, session: int) -> bool:
        principal = self.service.principal_of(session)
        if principal is not None and principal != self.principal:
            raise CallerError(f"session {session} belongs to somebody else")
        return principal is not None

    def _open_session(self, request: protocol.OpenSession, reply: Replying) -> None:
        self.service.open_session(self.principal, request.ttl_nanoseconds, reply)

    def _close_session(self, request: protocol.CloseSession, reply: Replying) -> None:
        def close() -> None:
            self.service.close_session(request.number, reply)

        self._in_session(request.number, reply, close, lambda: reply.complete(0))

    def _query(self, request: protocol.Query, reply: Replying) -> None:
        def look(replica: Replica) -> None:
            answer_query(reply, replica, request.name, request.values)

        self.server.read(QueryRead(reply, _CONSISTENCIES[request.consistency], request.index, look, request.name))

    def _stream(self, request: protocol.Stream, reply: Replying) -> None:
        def look(replica: Replica) -> None:
            self._check_room(reply.request_id)
            check_node_streams(self)
            parts = item_parts(replica.index, replica.stream(request.name, request.values))
            reply.done()  # from here on it is no request that waits: its client may take its time
            Streaming(self, reply.request_id, parts, request.name).produce()

        self._check_room(reply.request_id)
        check_node_streams(self)
        self.server.read(QueryRead(reply, _CONSISTENCIES[request.consistency], request.index, look, request.name))

    def _export(self, request: protocol.Export, reply: Replying) -> None:
        self._check_room(reply.request_id)
        check_node_streams(self)
        parts = self.service.export(request.first, request.last)
        reply.done()
        entries = (([head, entries], False) for head, entries in parts)
        # The log is the same everywhere, whatever applying it has led to.
        Streaming(self, reply.request_id, entries, "export", shows_state=False).produce()

    def _roots(self, request: protocol.Roots, reply: Replying) -> None:
        self._check_room(reply.request_id)
        check_node_streams(self)
        parts = (([part], False) for part in self.service.roots(request.first, request.last))
        reply.done()
        # They are for whoever compares nodes: those of a state that is in doubt most of all.
        Streaming(self, reply.request_id, parts, "roots", shows_state=False).produce()

    def _next(self, _: protocol.Next, reply: Replying) -> None:
        reply.done()
        stream = self.streams.get(reply.request_id)
        if stream is not None:  # else it ended while this was on its way
            stream.produce()

    def _check_room(self, request_id: int) -> None:
        """Whether one more stream, poll or subscription may be opened under this id."""
        if self._is_observing and self.observer is not None and self.observer.request_id == request_id:
            raise BadBytes(f"request id {request_id} is in use")
        check_streams(self, request_id)

    @property
    def _is_observing(self) -> bool:
        return self.observer in self.server.feed.observers

    def _cancel(self, _: protocol.Cancel, reply: Replying) -> None:
        reply.done()
        if (stream := self.streams.get(reply.request_id)) is not None:
            stream.close()
        if (poll := self.polls.get(reply.request_id)) is not None:
            poll.cancel()
        if self.observer is not None and self.observer.request_id == reply.request_id:
            self.server.feed.end(self.observer)

    def _observe(self, request: protocol.Observe, reply: Replying) -> None:
        if self._is_observing:
            raise CallerError("there is a subscription on this connection: cancel it, or open another connection")
        self._check_room(reply.request_id)
        self.observer = self.server.feed.observe(self, reply.request_id, request)
        reply.done()  # from here on it is no request that waits
        self.allow_silence(FEED_STALL_SECONDS_MAX)

    def _watch(self, request: protocol.Watch, reply: Replying) -> None:
        self._check_room(reply.request_id)
        self.server.watching.watch(self, request, reply)

    def _events(self, request: protocol.Events, reply: Replying) -> None:
        self._check_room(reply.request_id)
        EventPoll(self, request, reply).look()

    def _cursor(self, request: protocol.Cursor, reply: Replying) -> None:
        def look(replica: Replica) -> None:
            gone = replica.ring.oldest - 1
            handled = gone if request.name is None else replica.system.cursors.get((self.principal, request.name), 0)
            reply.complete(max(handled, gone) if request.skip_gap else handled)

        self.service.read(QueryRead(reply, "linearizable", 0, look, "cursor"))

    def _status(self, _: protocol.Status, reply: Replying) -> None:
        # The connection that asks is no client of anybody who looks at the answer.
        reply.complete({**self.service.status(), "clients": self.server.limiter.established - 1})

    def _snapshot(self, _: protocol.Snapshot, reply: Replying) -> None:
        self.service.snapshot(reply)

    def _change(self, request: protocol.Change, reply: Replying) -> None:
        self.service.change(request.action, request.node_id, request.peer_address, request.client_address, reply)

    def _transfer(self, request: protocol.Transfer, reply: Replying) -> None:
        self.service.transfer(request.node_id, reply)

    def _upgrade(self, request: protocol.Upgrade, reply: Replying) -> None:
        self.service.upgrade(request.version, reply)


_HANDLERS: Final[dict[type[protocol.Request], Callable[[_Connection, Any, Replying], None]]] = {
    protocol.OpenSession: _Connection._open_session,
    protocol.CloseSession: _Connection._close_session,
    protocol.Query: _Connection._query,
    protocol.Stream: _Connection._stream,
    protocol.Next: _Connection._next,
    protocol.Cancel: _Connection._cancel,
    protocol.Events: _Connection._events,
    protocol.Cursor: _Connection._cursor,
    protocol.Status: _Connection._status,
    protocol.Snapshot: _Connection._snapshot,
    protocol.Change: _Connection._change,
    protocol.Transfer: _Connection._transfer,
    protocol.Upgrade: _Connection._upgrade,
    protocol.Export: _Connection._export,
    protocol.Roots: _Connection._roots,
    protocol.Observe: _Connection._observe,
    protocol.Watch: _Connection._watch,
}
