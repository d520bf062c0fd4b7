"""A client of the client port that sends what it is told to, for tests of what a server does with it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from rsm.limits import ANSWER_FRAME_BYTES_MAX
from rsm.node.network import protocol
from rsm.node.network.frame_parser import FrameParser
from rsm.node.network.handshake import ClientHello, encode_client_hello
from rsm.node.network.protocol import AnswerStatus
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.replica.batch import encode_call, join_item
from tests.client_service import Nodes
from tests.machines import SECOND

OK = AnswerStatus.OK


class Raw:
    """A connection that sends what it is told to."""

    def __init__(self, address: str, tls: ssl.SSLContext | None = None, **hello: Any) -> None:
        host, _, port = address.rpartition(":")
        plain = socket.create_connection((host, int(port)), timeout=5)
        self.socket = plain if tls is None else tls.wrap_socket(plain)
        self.parser = FrameParser(ANSWER_FRAME_BYTES_MAX)
        self.ids = 0
        self.send(FrameKind.HELLO, encode_client_hello(ClientHello(**hello)))

    def send(self, kind: FrameKind, payload: bytes) -> None:
        """One frame."""
        self.socket.sendall(encode_frame(kind, payload))

    def frame(self) -> tuple[FrameKind, bytes] | None:
        """The next frame; None when the server has closed."""
        while (frame := self.parser.next_frame()) is None:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self.parser.feed(data)
        return frame

    def answer(self) -> tuple[int, AnswerStatus, list[Any]]:
        """The next answer."""
        frame = self.frame()
        assert frame is not None, "the server has closed the connection"
        assert frame[0] == FrameKind.ANSWER
        return protocol.decode_answer(frame[1])

    def request(self, request: protocol.Request, request_id: int | None = None) -> int:
        """Send a request; its id."""
        self.ids += 1
        request_id = self.ids if request_id is None else request_id
        self.send(FrameKind.REQUEST, protocol.encode_request(request_id, request))
        return request_id

    def ask(self, request: protocol.Request) -> list[Any]:
        """A request's answer, which must be OK."""
        request_id = self.request(request)
        found, status, fields = self.answer()
        assert (found, status) == (request_id, OK), fields
        return fields

    def commands(self, items: list[bytes]) -> tuple[int, AnswerStatus, list[Any]]:
        """Send encoded items in one request; the answer."""
        self.ids += 1
        self.send(FrameKind.REQUEST, protocol.encode_commands(self.ids, len(items), b"".join(items)))
        return self.answer()


Connect = Callable[[], Raw]


def greeted(nodes: Nodes, **hello: Any) -> Raw:
    """A connection whose hello was accepted."""
    connection = Raw(nodes.addresses[0], **hello)
    frame = connection.frame()
    assert frame is not None
    assert frame[0] == FrameKind.HELLO
    return connection


def push(session: int, sequence: int, *, lowest: int = 1) -> bytes:
    """A command, encoded."""
    return join_item(session, sequence, lowest, encode_call("push", 1, [sequence, "x"]))


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for a condition, bounded."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def fill(raw: Raw, count: int) -> None:
    """Put words into the state."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    for start in range(0, count, 500):
        raw.commands(
            [
                join_item(number, n + 1, n + 1, encode_call("put", 1, [f"k{n:05}", n]))
                for n in range(start, min(count, start + 500))
            ]
        )
