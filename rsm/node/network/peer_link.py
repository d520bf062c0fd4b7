"""The two connections between a pair of members, seen from one: the one it dialed to send, the one it was dialed by.

Either side says an empty MESSAGE when there has been nothing else to say for `PEER_BEAT_SECONDS`. Silence over
`PEER_BEATS_MISSED_MAX` such intervals ends a connection, whatever TCP believes. A process that was stopped for a while
counts one interval, not all that it slept through, so it does not cut its connections when it wakes up.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

import msgspec

from rsm.errors import BadBytes, UnknownFormat
from rsm.limits import PEER_BEATS_MISSED_MAX, PEER_MESSAGE_BYTES_MAX
from rsm.node.log import logger
from rsm.node.network.connections import ConnectionLimiter
from rsm.node.network.framing import FrameProtocol
from rsm.node.network.handshake import (
    NO_HELLO,
    SAME_ID,
    PeerHello,
    Refused,
    check_peer,
    encode_peer_hello,
    parse_peer_hello,
    parse_refusal,
)
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.raft.messages import Message, decode_message

__all__ = ["Incoming", "Outgoing", "PeerStats", "Port"]


class Port(Protocol):
    """What a connection needs of the transport that it belongs to."""

    hello: PeerHello
    limiter: ConnectionLimiter
    code_must_match: bool
    is_member: Callable[[int], bool]
    on_message: Callable[[int, Message], None]
    incoming: dict[int, Incoming]

    def greeted(self, hello: PeerHello) -> None:
        """A member has dialed us and may talk."""

    def is_current(self, hello: PeerHello) -> bool:
        """Whether this is the process that our own connection to the member leads to, as far as there is one."""

    def departed(self, connection: Incoming, hello: PeerHello) -> None:
        """Its connection is closed."""


class PeerStats(msgspec.Struct):
    """What went to and came from a member since the transport was started, over all connections.

    `hello`: the last one of theirs. `connected_seconds`: how long our connection has been up, None while it is not.
    """

    address: str
    hello: PeerHello | None = None
    connected_seconds: float | None = None
    connections: int = 0
    messages_in: int = 0
    messages_out: int = 0
    messages_dropped: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class _PeerConnection(FrameProtocol):
    """What both directions share."""

    def __init__(
        self, port: Port, limiter: ConnectionLimiter | None, *, server_side: bool, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(limiter, server_side=server_side, tls=tls, group_id=port.hello.group_id)
        self.port = port
        self.missed_beats = 0
        self._bytes_in_before = self._frames_out_before = 0

    def send_kind(self, kind: FrameKind, payload: bytes) -> None:
        """Send a small frame."""
        self.send(encode_frame(kind, payload, group_id=self.port.hello.group_id))

    def beat(self) -> None:
        """An interval is over: speak if nothing was said, close if nothing was heard for too long."""
        self.missed_beats = self.missed_beats + 1 if self.bytes_in == self._bytes_in_before else 0
        if self.missed_beats >= PEER_BEATS_MISSED_MAX:
            self.close("nothing was heard from the other side", at_once=True)
            return
        if self.frames_out == self._frames_out_before and not self.send_buffer_bytes:
            self.send_kind(FrameKind.MESSAGE, b"")
        self._bytes_in_before, self._frames_out_before = self.bytes_in, self.frames_out


class Incoming(_PeerConnection):
    """A member dialed us: its messages come in here."""

    def __init__(self, port: Port, tls: ssl.SSLContext | None) -> None:
        super().__init__(port, port.limiter, server_side=True, tls=tls)
        self.hello: PeerHello | None = None
        self.messages_in = 0

    def frame_received(self, kind: FrameKind, payload: bytes) -> None:
        """A hello first, then messages."""
        if self.hello is None:
            self._greet(kind, payload)
        elif kind == FrameKind.REFUSAL:
            self.close(f"refused: {parse_refusal(payload)}")  # its log says more: it is the one that objects
        elif kind != FrameKind.MESSAGE:
            self.fault(f"a frame of kind {kind.name}, where a message was due")
        elif payload:
            try:
                message = decode_message(payload)
            except (BadBytes, UnknownFormat) as error:
                self.fault(str(error))
                return
            self.messages_in += 1
            # What an earlier process of this member said, on a slow way, is not the word of the one that we talk to.
            if self.port.is_current(self.hello):
                self.port.on_message(self.hello.node_id, message)

    def _greet(self, kind: FrameKind, payload: bytes) -> None:
        port = self.port
        try:
            if kind != FrameKind.HELLO:
                raise Refused(NO_HELLO, f"the first frame is of kind {kind.name}")
            hello = parse_peer_hello(payload)
            check_peer(
                port.hello,
                hello,
                is_member=port.is_member,
                owner=self.owner,
                code_must_match=port.code_must_match,
            )
            self._take_place(hello)
        except Refused as refusal:
            self.refuse(str(refusal))
            return
        self.hello = hello
        port.incoming[hello.node_id] = self
        self.establish(PEER_MESSAGE_BYTES_MAX)
        self.send_kind(FrameKind.HELLO, encode_peer_hello(port.hello))
        port.greeted(hello)

    def _take_place(self, hello: PeerHello) -> None:
        # The same run of the node dialing again knows better than we do that the old connection is dead. Another run
        # is a restart if the old one is silent, and a second node of that id if it is not.
        old = self.port.incoming.get(hello.node_id)
        if old is None or old.hello is None:
            return
        if old.hello.instance != hello.instance and old.is_open and old.missed_beats < 2:
            raise Refused(SAME_ID, f"node {hello.node_id} is connected from {old.remote}, and is alive")
        old.close("a newer connection took its place", at_once=True)

    def closed(self, reason: str) -> None:
        """Make place for the next."""
        if self.hello is not None:
            if self.port.incoming.get(self.hello.node_id) is self:
                del self.port.incoming[self.hello.node_id]
            self.port.departed(self, self.hello)


class Outgoing(_PeerConnection):
    """We dialed a member: our messages go out here. `ended` is done, with the reason, when it is over."""

    def __init__(
        self, port: Port, peer: int, tls: ssl.SSLContext | None, on_connected: Callable[[Outgoing], None]
    ) -> None:
        super().__init__(port, None, server_side=False, tls=tls)
        self.peer = peer
        self.hello: PeerHello | None = None
        self.since = self._loop.time()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._on_connected = on_connected

    def opened(self) -> None:
        """The one who dials greets first."""
        self.send_kind(FrameKind.HELLO, encode_peer_hello(self.port.hello))

    def frame_received(self, kind: FrameKind, payload: bytes) -> None:
        """Their hello or their refusal, then only signs of life."""
        if kind == FrameKind.REFUSAL:
            self.close(f"refused: {parse_refusal(payload)}")
        elif self.hello is None and kind == FrameKind.HELLO:
            self._greet(payload)
        elif self.hello is None or kind != FrameKind.MESSAGE or payload:
            self.fault(f"an unexpected frame of kind {kind.name}")

    def _greet(self, payload: bytes) -> None:
        port = self.port
        try:
            hello = parse_peer_hello(payload)
            warning = check_peer(
                port.hello,
                hello,
                is_member=port.is_member,
                owner=self.owner,
                expected_id=self.peer,
                code_must_match=port.code_must_match,
            )
        except Refused as refusal:
            self.refuse(str(refusal))
            return
        if warning:
            logger.warning("peer differs", node=self.peer, remote=self.remote, reason=warning)
        self.hello = hello
        self.establish(PEER_MESSAGE_BYTES_MAX)
        self._on_connected(self)

    def closed(self, reason: str) -> None:
        """Tell the one who dialed."""
        if not self.ended.done():
            self.ended.set_result(reason)
