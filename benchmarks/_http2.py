"""Just enough HTTP/2 for unary gRPC calls of one method, as cheap as Python makes it: a client that is not the limit.

Calls differ in their message only, so that the headers of all but the first are six bytes from the dynamic table
(RFC 7541, 6.1). Answers' headers are not decoded: a unary call has succeeded when a message came before its end, since
a server that refuses sends none. Flow control is kept for what is sent on the connection (RFC 9113, 6.9); answers are
small, and get a window that is renewed long before it is used up.
"""

from __future__ import annotations

import socket
import struct
from collections import deque

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEAD = struct.Struct(">HBBBI")  # length (its upper 16 bits, its lower 8), type, flags, stream
WINDOW_BYTES_AT_START = 65_535
WINDOW_BYTES = 1 << 30
RECEIVE_BYTES = 1 << 18
# Indexes 62 to 65 of the table are what the first call entered, the last of them first.
LATER_HEADERS = bytes([0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62])


class RemoteFailed(RuntimeError):
    """The server ended the connection, or spoke in a way that this client does not know."""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One frame."""
    size = len(payload)
    return HEAD.pack(size >> 8, size & 255, kind, flags, stream) + payload


def first_headers(path: str, authority: str) -> bytes:
    """The header block of the first call: POST, http, then four fields that enter the dynamic table."""
    texts = [text.encode() for text in (path, authority, "application/grpc", "te", "trailers")]
    sized = [bytes([len(text)]) + text for text in texts]
    return (
        bytes([0x83, 0x86, 0x44]) + sized[0] + b"\x41" + sized[1] + b"\x5f" + sized[2] + b"\x40" + sized[3] + sized[4]
    )


class Caller:
    """One connection that calls one method. Call `flush` after `call`; `receive` when the socket is readable."""

    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        settings = struct.pack(">HIHI", 2, 0, 4, WINDOW_BYTES)  # no pushes; a window for each stream
        self._out = bytearray(PREFACE + frame(SETTINGS, 0, 0, settings))
        self._out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW_BYTES - WINDOW_BYTES_AT_START))
        self._in = bytearray()
        self._headers = first_headers(path, f"127.0.0.1:{port}")
        self._stream = 1
        self._window = WINDOW_BYTES_AT_START
        self._received_bytes = 0
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._messages: dict[int, bytes] = {}
        self.flush()

    def call(self, message: bytes) -> int:
        """Begin a call; its number."""
        stream = self._stream
        self._stream += 2
        self._waiting.append((stream, b"\0" + len(message).to_bytes(4, "big") + message))
        return stream

    def flush(self) -> bool:
        """Send what the window and the socket take; whether everything is sent that may be."""
        waiting, out = self._waiting, self._out
        while waiting and len(waiting[0][1]) <= self._window:
            stream, data = waiting.popleft()
            self._window -= len(data)
            out += frame(HEADERS, END_HEADERS, stream, self._headers)
            out += frame(DATA, END_STREAM, stream, data)
            self._headers = LATER_HEADERS
        try:
            while out:
                del out[: self.socket.send(out)]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> list[tuple[int, bytes | None]]:
        """Calls that have ended, with the message that answers them, or None."""
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise RemoteFailed("the server closed the connection")
        received = self._in
        received += data
        ended: list[tuple[int, bytes | None]] = []
        place, size = 0, len(received)
        while place + 9 <= size:
            high, low, kind, flags, stream = HEAD.unpack_from(received, place)
            end = place + 9 + (high << 8 | low)
            if end > size:
                break
            if kind == DATA:
                self._messages[stream] = self._messages.get(stream, b"") + bytes(received[place + 9 : end])
                self._received_bytes += end - place - 9
            elif kind not in (HEADERS, RESET):
                self._control(kind, flags, stream, bytes(received[place + 9 : end]))
            if kind == RESET or (flags & END_STREAM and kind in (DATA, HEADERS)):
                message = self._messages.pop(stream, None)
                ended.append((stream, None if message is None or kind == RESET else message[5:]))
            place = end
        del received[:place]
        return ended

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._out += frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self._out += frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload, "big") & 0x7FFFFFFF
        elif kind == GOAWAY:
            raise RemoteFailed(f"the server goes away: {payload[8:]!r}")
        if self._received_bytes > WINDOW_BYTES // 4:
            self._out += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received_bytes))
            self._received_bytes = 0

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()
