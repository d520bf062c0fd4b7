"""Frames on a socket: what members, servers and clients share between the bytes of TCP and the meaning of a frame.

`FrameProtocol` is one connection on asyncio's loop (or uvloop's): TLS, the bound and the deadline of a connection that
has not said yet who it is, writes collected over one turn of the loop, closing that gets the last words across.
`ConnectionLimiter` (`rsm.node.network.connections`) is one port's count of connections, and its log of those that it
would not have.

A connection begins as a *handshake*: frames of at most `HELLO_BYTES_MAX`, a deadline, few of them at once. The owner
calls `establish` when the hellos are exchanged. Whatever the other side does wrong ends its connection with one logged
line, and never raises into the loop.

What a subclass does::

    class Server(FrameProtocol):
        def opened(self): ...                       # the dialing side sends its hello here
        def frame_received(self, kind, payload):    # hello: self.send(...), self.establish(CLIENT_FRAME_BYTES_MAX)
            ...                                     # or self.refuse("why"), self.fault("bad bytes: ...")
        def closed(self, reason): ...               # once
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from typing import Any, Final, cast

from rsm.codec import cbor
from rsm.errors import BadBytes, UnknownFormat
from rsm.limits import (
    HANDSHAKE_SECONDS_MAX,
    HELLO_BYTES_MAX,
    KEEPALIVE_PROBES,
    KEEPALIVE_SECONDS,
    LINGER_SECONDS,
    SOCKET_BUFFER_BYTES_HIGH,
    UNACKNOWLEDGED_SECONDS_MAX,
    WRITE_BYTES,
)
from rsm.node.log import describe
from rsm.node.network.connections import ConnectionLimiter, shorten
from rsm.node.network.frame_parser import FrameParser
from rsm.node.network.tls import Owner, TlsSession
from rsm.node.network.wire import FrameKind, encode_frame

__all__ = ["ConnectionLimiter", "FrameProtocol"]


class FrameProtocol(asyncio.Protocol):
    """One connection. Subclasses override `opened`, `frame_received` and `closed`; all calls come from the loop."""

    def __init__(
        self,
        limiter: ConnectionLimiter | None,
        *,
        server_side: bool,
        tls: ssl.SSLContext | None = None,
        group_id: int | None = None,
        handshake_seconds: float = HANDSHAKE_SECONDS_MAX,
        may_be_compressed: bool = True,
    ) -> None:
        """`limiter`: of the port; None when dialing: then nothing is logged, and `closed` gets the reason. `tls`: the
        context of this side. `group_id`: what the frames of the other side must say; None, anything.
        `may_be_compressed`: whether its frames may be; a short one could then become a long one.
        """
        self.limiter = limiter
        self.server_side = server_side
        self.remote = "not connected"
        self.owner: Owner | None = None  # of the other side's certificate, from `opened` on; None without TLS
        self.is_open = False  # from `opened` until it is being closed
        self.is_established = False
        self.bytes_in = self.bytes_out = self.frames_in = self.frames_out = 0
        self._tls = None if tls is None else TlsSession(tls, server_side=server_side)
        self._handshake_seconds = handshake_seconds
        self._parser = FrameParser(HELLO_BYTES_MAX, group_id, may_be_compressed=may_be_compressed)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._is_admitted = self._flush_is_due = self._is_writing_paused = False
        self._is_reading_paused = self._is_delivering = False
        self._reason = ""  # why it is being closed; empty while it is not

    # --- for subclasses to override -----------------------------------------------------------------------------------

    def opened(self) -> None:
        """Connected, TLS included."""

    def frame_received(self, kind: FrameKind, payload: bytes) -> None:
        """A whole frame. What the other side did wrong goes to `fault`; an exception here is ours, and the loop's."""

    def closed(self, reason: str) -> None:
        """It is over; once for every connection that was made, whether `opened` was called or not."""

    # --- for owners to call -------------------------------------------------------------------------------------------

    @property
    def bytes_max(self) -> int:
        """The longest frame that the other side may send."""
        return self._parser.bytes_max

    @property
    def group_id(self) -> int | None:
        """What the frames of the other side must say; None, anything."""
        return self._parser.group_id

    @group_id.setter
    def group_id(self, group_id: int | None) -> None:
        self._parser.group_id = group_id

    @property
    def send_buffer_bytes(self) -> int:
        """Bytes that wait to be sent."""
        waiting = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return self._pending_bytes + waiting

    def establish(self, bytes_max: int) -> None:
        """Hands are shaken: no deadline any more, and frames may be this long."""
        self.is_established = True
        self._parser.bytes_max = bytes_max
        if self.limiter is not None:
            self.limiter.establish(self)
        self._stop_timer()

    def send(self, frame: bytes) -> None:
        """Send one encoded frame at the end of this turn of the loop. Does nothing once it is closed.

        Takes any amount: look at `send_buffer_bytes` before.
        """
        if not self.is_open:
            return
        self._pending.append(frame)
        self._pending_bytes += len(frame)
        self.frames_out += 1
        # What a frame was answered with leaves together once the frames of this read are through.
        if not self._flush_is_due and not self._is_writing_paused and not self._is_delivering:
            self._flush_is_due = True
            self._loop.call_soon(self._flush_now)

    def send_shared(self, frame: bytes) -> None:
        """Send a frame that many get, at once: there is nothing to wait for, and each detour costs hundreds."""
        if self._pending or self._is_writing_paused or not self.is_open:
            self.send(frame)
        else:
            self.frames_out += 1
            self._write_plain(frame)

    def allow_silence(self, seconds: float) -> None:
        """The other side may take nothing for so long before the kernel gives the connection up."""
        connection = None if self._transport is None else self._transport.get_extra_info("socket")
        if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with contextlib.suppress(OSError):  # it is gone already; the loop will say so
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))

    def flush(self) -> None:
        """Send now what would go at the end of this turn: for owners who know that there is nothing to add."""
        if self._pending:
            self._flush()

    def pause_reading(self) -> None:
        """No more frames for now; the other side is held up by TCP."""
        if not self._is_reading_paused:
            self._is_reading_paused = True
            if self._transport is not None and not self._reason:
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Frames again, those that are here from the loop's next turn on."""
        if self._is_reading_paused:
            self._is_reading_paused = False
            if self._transport is not None and not self._reason:
                self._transport.resume_reading()
                self._loop.call_soon(self._deliver)

    def close(self, reason: str, *, at_once: bool = False) -> None:
        """Close in silence: what waits is sent first, for `LINGER_SECONDS` at most, unless `at_once`."""
        if self._transport is None or (self._reason and not at_once):
            return
        self._reason = self._reason or reason
        if at_once:
            self._transport.abort()
        else:
            self._last_words()
            self._transport.close()
        self.is_open = False

    def fault(self, reason: str) -> None:
        """The other side did what it must not: log it and close at once."""
        if not self._reason:
            self._log(reason)
            self.close(reason)

    def refuse(self, reason: str) -> None:
        """Log why, tell the other side, and close once it has had the time to read that."""
        if self._reason or self._transport is None:
            return
        self._log(reason)
        payload = cbor.encode([shorten(reason)])
        self.send(encode_frame(FrameKind.REFUSAL, payload, group_id=self.group_id or 0))
        self._reason = reason
        # Closing with bytes unread would reset the connection, and the refusal with it: only our half is closed, and
        # what still comes is thrown away until the other side closes too.
        self._last_words()
        self._transport.write_eof()
        self._transport.resume_reading()
        self.is_open = False

    # --- asyncio's side -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = cast(asyncio.Transport, transport)
        self.remote = _address_text(transport.get_extra_info("peername"))
        if self.limiter is not None and not self.limiter.admit(self):
            self._reason = "too many connections"
            self._transport.abort()
            return
        self._is_admitted = True
        self._transport.set_write_buffer_limits(high=SOCKET_BUFFER_BYTES_HIGH)
        _tune(transport.get_extra_info("socket"))
        self._timer = self._loop.call_later(self._handshake_seconds, self._handshake_is_late)
        if self._tls is None:
            self.is_open = True
            self.opened()
        elif not self.server_side:
            self._receive_tls(b"")

    def data_received(self, data: bytes) -> None:
        """Bytes from the socket."""
        self.bytes_in += len(data)
        if self._reason:
            return
        if self._is_reading_paused and self._transport is not None:
            # A loop begins to read after `connection_made`, whatever that has said. uvloop's has to be told once more;
            # asyncio's (of Python 3.11.2, say) believes that it has paused, so it has to be told both.
            self._transport.resume_reading()
            self._transport.pause_reading()
        if self._tls is not None:
            data = self._receive_tls(data)
        if data:
            self._parser.feed(data)
            self._deliver()

    def pause_writing(self) -> None:
        """The kernel takes no more."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """It does again."""
        self._is_writing_paused = False
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is closed."""
        self.is_open = False
        self._stop_timer()
        if self.limiter is not None:
            self.limiter.release(self)
        self._pending.clear()
        self._pending_bytes = 0
        if not self._reason:
            self._reason = "the other side closed it" if error is None else f"it broke: {describe(error)}"
        self._transport = None
        self._tls = None
        if self._is_admitted:
            self.closed(self._reason)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        if self._is_delivering:
            return
        self._is_delivering = True
        try:
            while not self._is_reading_paused and not self._reason:
                try:
                    frame = self._parser.next_frame()
                except (BadBytes, UnknownFormat) as error:
                    self.fault(str(error))
                    return
                if frame is None:
                    return
                self.frames_in += 1
                self.frame_received(*frame)
        finally:
            self._is_delivering = False
            self.flush()

    def _receive_tls(self, data: bytes) -> bytes:
        tls = self._tls
        if tls is None or self._transport is None:
            return b""
        try:
            data = tls.receive(data)
            if not self.is_open and tls.is_shaken:
                self.owner = tls.owner
                self._write(tls.take())
                self.is_open = True
                self.opened()
        except BadBytes as error:
            # The alert that tells the other side is on its way out.
            self._write(tls.take())
            self.fault(str(error))
            return b""
        self._write(tls.take())
        return data

    def _log(self, reason: str) -> None:
        if self.limiter is not None:
            self.limiter.log(reason, self.remote)

    def _handshake_is_late(self) -> None:
        self.fault(f"no handshake within {self._handshake_seconds:g} seconds")

    def _flush_now(self) -> None:
        self._flush_is_due = False
        self.flush()

    def _flush(self, *, everything: bool = False) -> None:
        while self._pending and self._transport is not None and (everything or not self._is_writing_paused):
            parts = [self._pending.popleft()]
            size = len(parts[0])
            while self._pending and size + len(self._pending[0]) <= WRITE_BYTES:
                parts.append(self._pending.popleft())
                size += len(parts[-1])
            self._pending_bytes -= size
            self._write_plain(parts[0] if len(parts) == 1 else b"".join(parts))

    def _write_plain(self, data: bytes) -> None:
        if self._tls is None:
            self._write(data)
            return
        try:
            self._tls.send(data)
        except BadBytes as error:
            self.fault(str(error))
            return
        self._write(self._tls.take())

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self.bytes_out += len(data)
            self._transport.write(data)

    def _last_words(self) -> None:
        # What waits goes to the loop's buffer; the timer ends it for those who do not read.
        self._flush(everything=True)
        if self._tls is not None and self._tls.is_shaken:
            self._tls.close()
            self._write(self._tls.take())
        self._stop_timer()
        if self._transport is not None:
            self._timer = self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _address_text(address: Any) -> str:
    if not isinstance(address, tuple) or len(address) < 2:
        return "unknown"
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


# Where the platform has them: how long silence or unacknowledged bytes may last before the kernel gives up.
_TCP_OPTIONS: Final = (
    ("TCP_NODELAY", 1),
    ("TCP_KEEPIDLE", KEEPALIVE_SECONDS),
    ("TCP_KEEPINTVL", KEEPALIVE_SECONDS),
    ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ("TCP_USER_TIMEOUT", int(UNACKNOWLEDGED_SECONDS_MAX * 1000)),
)


def _tune(connection: Any) -> None:
    """A message is a whole thing (no Nagle), and a host that is gone is noticed."""
    if connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _TCP_OPTIONS:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        return  # it is gone already; the loop will say so
