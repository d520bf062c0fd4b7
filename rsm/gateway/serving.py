"""The process: uvicorn around the application, with the bounds that it leaves to others, and a graceful end.

uvicorn closes idle connections, but not those whose first byte, or whose rest of a head or of a body that nobody waits
for, never comes; and it waits for who does not read. All of them are cut off here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

from rsm.limits import (
    GATEWAY_BODY_SECONDS_MAX,
    GATEWAY_CONNECTIONS_MAX,
    GATEWAY_FRAMES_PER_MESSAGE_MAX,
    GATEWAY_HEAD_BYTES_MAX,
    GATEWAY_MESSAGE_BYTES_MAX,
    GATEWAY_SEND_SECONDS_MAX,
    GATEWAY_STOP_SECONDS_MAX,
)

__all__ = ["bind", "configured", "serve"]

# A request may follow on the same connection for so long.
KEEP_ALIVE_SECONDS: Final = 15
# A browser is asked whether it is there, and cut off if it does not answer within the same time.
PING_SECONDS: Final = 20.0
# Between closing and cutting off: for what the network still carries.
CUT_SECONDS: Final = 1.0


class Flowing:
    """A connection whose peer must read: what has been written to it is taken in time, or it is cut off."""

    _stuck_timer: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]  # of the protocol beside it
        self._stuck_timer = self.loop.call_later(GATEWAY_SEND_SECONDS_MAX, self.transport.abort)  # type: ignore[attr-defined]

    def resume_writing(self) -> None:
        super().resume_writing()  # type: ignore[misc]
        self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)  # type: ignore[misc]

    def _stop_waiting(self) -> None:
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None


class HttpProtocol(Flowing, H11Protocol):
    """A connection whose requests must come in time."""

    _request_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        # Whatever the network does not take at once is waited for, so that `Flowing` sees it.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > GATEWAY_CONNECTIONS_MAX:
            transport.abort()
            return
        self._watch_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_request(self) -> None:
        if self.transport.get_protocol() is not self or not self._is_owed():
            self._stop_watching()
        elif self._request_timer is None:
            self._request_timer = self.loop.call_later(GATEWAY_BODY_SECONDS_MAX, self._give_up)

    def _is_owed(self) -> bool:
        """Whether only the peer can go on: with a head, or with the rest of a body that was answered already."""
        state = self.conn.their_state
        return state is h11.IDLE or (state is h11.SEND_BODY and self.cycle.response_complete)

    def _stop_watching(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _give_up(self) -> None:
        self._request_timer = None
        # Between two requests uvicorn's own timer runs.
        if self.timeout_keep_alive_task is None and self.transport.get_protocol() is self:
            self.transport.abort()


class SocketProtocol(Flowing, WebSocketsSansIOProtocol):
    """A WebSocket that does not outlive its silence, and keeps no more of what its peer sends than a message."""

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:  # who does not read sees no answer, and the next one does as well (RFC 6455, section 5.5.3)
            self.conn.data_to_send()

    def handle_cont(self, event: Frame) -> None:
        super().handle_cont(event)
        if len(self.frames) > GATEWAY_FRAMES_PER_MESSAGE_MAX:  # empty ones do not count as bytes
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG)
            self.handle_parser_exception()

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body":  # else uvicorn's log would call it a defect
            self.handshake_complete = True

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self.loop.call_later(CUT_SECONDS, self.transport.abort)


class Server(uvicorn.Server):
    """A server that leaves exit codes to the program; a second signal does not wait for anybody."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def configured(application: Starlette) -> uvicorn.Config:
    """How uvicorn is to run it."""
    return uvicorn.Config(
        application,
        http=HttpProtocol,
        ws=SocketProtocol,
        ws_max_size=GATEWAY_MESSAGE_BYTES_MAX,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        ws_per_message_deflate=False,  # 30 KiB of memory for each browser, and time on the one loop
        h11_max_incomplete_event_size=GATEWAY_HEAD_BYTES_MAX,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(GATEWAY_STOP_SECONDS_MAX),
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )


def serve(application: Starlette, listening: socket.socket, started: Callable[[], None]) -> None:
    """Connect to the cluster, serve until SIGTERM or SIGINT, and end in good order: answer what was asked, then go.

    Raises what connecting raises: `Unreachable`, `WrongMachine`. `started` is called when requests are taken.
    """

    async def run() -> None:
        await application.state.connection.client()
        server = Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        if server.started:
            started()
        await task

    config = configured(application)
    # What is cut off in the end is told in one line, and not in a traceback each.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
    )
    runner: Any = asyncio.Runner(loop_factory=config.get_loop_factory())
    with runner:
        runner.run(run())
