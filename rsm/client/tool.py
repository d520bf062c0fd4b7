"""A small blocking client for tools: one TCP connection, a hello, one request at a time.

It needs no machine class, no thread and no event loop, so a command of the command line starts at once. What it sends
is safe to repeat: a command keeps its session and its number while the tool looks for the leader, so that however often
it goes out, it takes effect once.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from rsm.errors import BadBytes, Busy, CallerError, Closed, NotLeader, RsmError, UnknownFormat, Unreachable
from rsm.limits import ANSWER_FRAME_BYTES_MAX, READ_BYTES, TOOL_ANSWER_SECONDS_MAX, TOOL_TRY_SECONDS_MAX
from rsm.node.network import protocol
from rsm.node.network.addresses import split_address
from rsm.node.network.frame_parser import FrameParser
from rsm.node.network.handshake import (
    ClientHello,
    Refused,
    ServerHello,
    check_server,
    encode_client_hello,
    parse_refusal,
    parse_server_hello,
)
from rsm.node.network.protocol import AnswerStatus
from rsm.node.network.tls import Owner, TlsOptions, owner_of
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.node.status import NodeStatus, status_from
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import join_item

__all__ = ["Access", "NotANode", "ToolConnection", "ask_leader", "run_command"]

T = TypeVar("T")
# Between two rounds over all addresses: about a third of an election.
RETRY_SECONDS: Final = 0.2
# Before following a redirect: two members may name each other for a moment.
REDIRECT_SECONDS: Final = 0.01
SESSION_TTL_NANOSECONDS: Final = 60 * 10**9


class NotANode(CallerError):
    """Somebody answers there, but not with what a node says; or the node refuses us."""


class Access(msgspec.Struct, frozen=True):
    """Where the members are, and how to get in. `principal`: in whose name, where there is no TLS to say so."""

    addresses: tuple[str, ...]
    tls: TlsOptions | None = None
    principal: str = ""


class ToolConnection:
    """One connection to a node; a context manager. Every wait is bounded by `seconds`."""

    hello: ServerHello

    def __init__(self, address: str, access: Access, *, seconds: float = TOOL_ANSWER_SECONDS_MAX) -> None:
        """Connect and shake hands. `Unreachable`, `NotANode`, `CallerError` for an address or key file that is none."""
        self.address = address
        self.bytes_in = self.bytes_out = 0
        self._seconds = seconds
        self._parser = FrameParser(ANSWER_FRAME_BYTES_MAX)
        self._request_id = 0
        self._socket = _connect(address, access.tls, seconds)
        try:
            self._send(FrameKind.HELLO, encode_client_hello(ClientHello(principal=access.principal)))
            kind, payload = self._receive()
            if kind is FrameKind.REFUSAL:
                raise NotANode(f"{address}: refused: {parse_refusal(payload)}")
            if kind is not FrameKind.HELLO:
                raise NotANode(f"{address}: not the client port of a node: it began with {kind.name}")
            try:
                self.hello = parse_server_hello(payload)
                check_server(self.hello, self._owner())
            except Refused as error:
                raise NotANode(f"{address}: {error}") from error
            except BadBytes as error:
                raise NotANode(f"{address}: not the client port of a node: {error}") from error
        except BaseException:
            self._socket.close()
            raise

    def request(self, request: protocol.Request, *, seconds: float | None = None) -> list[Any]:
        """The fields of the answer; raises the error that it stands for, `Unreachable` if none comes."""
        return self._ask(lambda number: protocol.encode_request(number, request), seconds)

    def commands(self, count: int, items: bytes, *, wants_confirmation: bool = False) -> tuple[int, list[Answer]]:
        """Send encoded commands; index and answers, `wants_confirmation`: when a quorum has a state behind them."""
        encode = partial(protocol.encode_commands, count=count, items=items, wants_confirmation=wants_confirmation)
        fields = self._ask(encode, None)
        return protocol.decode_answers(fields, count)

    def status(self) -> NodeStatus:
        """What the node says of itself."""
        fields = self.request(protocol.Status())
        return status_from(fields[0] if fields else None)

    def stream(self, request: protocol.Request) -> Iterator[list[Any]]:
        """The parts of a request that streams, each asked for when the one before it has been used."""
        number = self._begin(lambda number: protocol.encode_request(number, request))
        while True:
            status, fields = self._answer(number, self._seconds)
            if status is AnswerStatus.OK:
                return
            if status is not AnswerStatus.MORE:
                raise protocol.error_of(status, fields)
            yield fields
            # `Next` is sent under the number of the stream itself.
            self._send(FrameKind.REQUEST, protocol.encode_request(number, protocol.Next()))

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _owner(self) -> Owner | None:
        return owner_of(self._socket.getpeercert()) if isinstance(self._socket, ssl.SSLSocket) else None

    def _begin(self, encode: Callable[[int], bytes]) -> int:
        self._request_id += 1
        self._send(FrameKind.REQUEST, encode(self._request_id))
        return self._request_id

    def _ask(self, encode: Callable[[int], bytes], seconds: float | None) -> list[Any]:
        status, fields = self._answer(self._begin(encode), self._seconds if seconds is None else seconds)
        if status is not AnswerStatus.OK:
            raise protocol.error_of(status, fields)
        return fields

    def _answer(self, number: int, seconds: float) -> tuple[AnswerStatus, list[Any]]:
        self._socket.settimeout(seconds)
        while True:
            kind, payload = self._receive()
            if kind is not FrameKind.ANSWER:
                raise NotANode(f"{self.address}: a frame of kind {kind.name}, where an answer was due")
            answered, status, fields = protocol.decode_answer(payload)
            if answered == number:  # else it is late, for a request that timed out
                return status, fields

    def _send(self, kind: FrameKind, payload: bytes) -> None:
        frame = encode_frame(kind, payload)
        try:
            self._socket.sendall(frame)
            self.bytes_out += len(frame)
        except OSError as error:
            raise _unreachable(self.address, error) from error

    def _receive(self) -> tuple[FrameKind, bytes]:
        try:
            while (frame := self._parser.next_frame()) is None:
                data = self._socket.recv(READ_BYTES)
                if not data:
                    raise Unreachable(f"{self.address}: closed the connection")
                self.bytes_in += len(data)
                self._parser.feed(data)
        except OSError as error:
            raise _unreachable(self.address, error) from error
        except (BadBytes, UnknownFormat) as error:
            raise NotANode(f"{self.address}: does not speak the protocol of rsm: {error}") from error
        return frame


def _connect(address: str, tls: TlsOptions | None, seconds: float) -> socket.socket:
    host, port = split_address(address)
    context = None if tls is None else tls.client_context()
    try:
        connected = socket.create_connection((host, port), timeout=seconds)
    except OSError as error:
        raise _unreachable(address, error) from error
    except ValueError as error:  # a host name that none can be
        raise Unreachable(f"{address}: cannot be reached: {error}") from error
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return connected
    try:
        return context.wrap_socket(connected)
    except ssl.SSLError as error:
        connected.close()
        raise NotANode(f"{address}: no TLS with it: {_tls_reason(error)}") from error
    except OSError as error:
        connected.close()
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: OSError) -> Unreachable | NotANode:
    if isinstance(error, ssl.SSLError):
        # In TLS 1.3 a server that does not want our certificate says so after its own handshake is over.
        return NotANode(f"{address}: refused by TLS: {_tls_reason(error)}")
    if isinstance(error, TimeoutError):
        return Unreachable(f"{address}: does not answer")
    return Unreachable(f"{address}: cannot be reached: {error.strerror or error}")


def _tls_reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


# --- the leader -------------------------------------------------------------------------------------------------------


def ask_leader(access: Access, work: Callable[[ToolConnection], T], *, seconds: float = TOOL_TRY_SECONDS_MAX) -> T:
    """Do `work` on a connection to the leader; it raises `NotLeader` or `Busy` where it belongs elsewhere, or later.

    Tries every address, and those that it is sent on to, until the time is over; then raises what the last one said.
    `work` may run several times.
    """
    deadline = time.monotonic() + seconds
    known: list[str] = list(access.addresses)
    waiting = known[:]
    last: RsmError = Unreachable("no address to ask")
    while known:
        left = deadline - time.monotonic()
        if left <= 0:
            raise last
        if not waiting:
            time.sleep(min(RETRY_SECONDS, left))
            waiting = known[:]
        address = waiting.pop(0)
        try:
            with ToolConnection(address, access, seconds=min(TOOL_ANSWER_SECONDS_MAX, left)) as connection:
                known += [member for _, member in connection.hello.members if member and member not in known]
                return work(connection)
        except NotLeader as error:
            last = NotLeader(f"{address}: does not lead, and no member was found that does")
            if error.address and error.address != address:
                waiting = [error.address, *(other for other in waiting if other != error.address)]
                time.sleep(REDIRECT_SECONDS)
        except (Busy, Closed, Unreachable) as error:
            last = error
    raise last


def run_command(
    access: Access, call: bytes, key: str | None = None, *, is_confirmed: bool = False
) -> tuple[int, Answer]:
    """Run one encoded command (`rsm.replica.batch.encode_call`) once, in a session of its own; index and answer, which
    with `is_confirmed` comes when a quorum has confirmed a state behind it.

    `Unreachable` says in its text whether the outcome is unknown.
    """
    opening = protocol.OpenSession(SESSION_TTL_NANOSECONDS)
    _, session = ask_leader(access, lambda connection: connection.request(opening))
    item = join_item(session, 1, 1, call, key)
    sent = 0

    def send(connection: ToolConnection) -> tuple[int, Answer]:
        nonlocal sent
        sent += 1
        index, (answer,) = connection.commands(1, item, wants_confirmation=is_confirmed)
        if answer.status == Status.SEQUENCE_GAP:
            raise Busy("the session is not known there yet", retry_seconds=RETRY_SECONDS)
        return index, answer

    try:
        index, answer = ask_leader(access, send)
    except (Unreachable, NotLeader, Busy, Closed) as error:
        if not sent:
            raise
        raise Unreachable(f"outcome unknown: the command was sent, and no answer came: {error}") from error
    with contextlib.suppress(RsmError):  # if nobody closes it, it ends by itself
        ask_leader(access, lambda connection: connection.request(protocol.CloseSession(session)), seconds=1.0)
    return index, answer
