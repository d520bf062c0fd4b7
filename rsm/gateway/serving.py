"""The process: uvicorn around the application, with the bounds that it leaves to others, and a graceful end.

uvicorn closes idle connections, but not those whose first byte, or whose rest of a head, never comes; and one that does
not read is waited for when it is closed. Both are cut off here.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from rsm.limits import (
    GATEWAY_BODY_SECONDS_MAX,
    GATEWAY_CONNECTIONS_MAX,
    GATEWAY_HEAD_BYTES_MAX,
    GATEWAY_MESSAGE_BYTES_MAX,
    GATEWAY_STOP_SECONDS_MAX,
)

__all__ = ["bind", "configured", "serve"]

# A request may follow on the same connection for so long.
KEEP_ALIVE_SECONDS: Final = 15
# A browser is asked whether it is there, and cut off if it does not answer within the same time.
PING_SECONDS: Final = 20.0
# Between closing and cutting off: for what the network still carries.
CUT_SECONDS: Final = 1.0


class HttpProtocol(H11Protocol):
    """A connection whose heads must come in time."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > GATEWAY_CONNECTIONS_MAX:
            transport.abort()
            return
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.transport.get_protocol() is not self or self.conn.their_state is not h11.IDLE:
            self._stop_watching()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(GATEWAY_BODY_SECONDS_MAX, self._give_up)

    def _stop_watching(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        # Between two requests uvicorn's own timer runs.
        if self.timeout_keep_alive_task is None and self.transport.get_protocol() is self:
            self.transport.abort()


class SocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that does not outlive its silence."""

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
    runner: Any = asyncio.Runner(loop_factory=config.get_loop_factory())
    with runner:
        runner.run(run())
