"""The page and Kraken's feed over HTTP: files of the page as they are, and one WebSocket endpoint."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from demos.orderbook.face.kraken_hub import KrakenHub

PAGE: Final = Path(__file__).parent / "page"
# The page needs nothing from elsewhere, and may not ask for it.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
# Sent after this long to connections that do not end by themselves.
CLOSE_SECONDS_MAX: Final = 2
# What one WebSocket client may send at once: requests are small.
MESSAGE_BYTES_MAX: Final = 64 * 1024


def application(hub: KrakenHub) -> Starlette:
    """`/` the page, `/page/` its files, `/ws` the feed, `/markets` what is traded (JSON)."""

    async def index(_: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers=HEADERS)

    async def markets(_: Request) -> Response:
        listed = sorted(hub.face.markets.values(), key=lambda market: market.instrument)
        facts = [
            {"instrument": one.instrument, "symbol": one.symbol, "pair": one.pair, "decimals": one.decimals}
            for one in listed
        ]
        return JSONResponse(facts, headers=HEADERS)

    async def icon(_: Request) -> Response:
        return FileResponse(PAGE / "icon.svg", headers=HEADERS)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/favicon.ico", icon),
            Route("/markets", markets),
            WebSocketRoute("/ws", hub.serve),
            Mount("/page", StaticFiles(directory=PAGE)),
        ]
    )


class WebServer(uvicorn.Server):
    """Uvicorn as a part of a program that handles signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def web_server(hub: KrakenHub) -> WebServer:
    """A server of the application; `serve(sockets=[...])` runs it until `should_exit` is set."""
    config = uvicorn.Config(
        application(hub),
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES_MAX,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=CLOSE_SECONDS_MAX,
    )
    return WebServer(config)


def listener(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. `OSError` says which address cannot be had."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"cannot listen at {host}:{port}: {error.strerror}") from error
    return made
