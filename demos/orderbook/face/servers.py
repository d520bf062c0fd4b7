"""All servers of a face together: HTTP with Kraken's feed, the ITCH session, GLIMPSE."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import NamedTuple, Self

from demos.orderbook.face.exchange_face import ExchangeFace
from demos.orderbook.face.itch_server import glimpse_server, itch_server
from demos.orderbook.face.kraken_hub import KrakenHub
from demos.orderbook.face.web import listener, web_server


class Ports(NamedTuple):
    """Where to listen; 0: any free port."""

    http: int = 0
    itch: int = 0
    glimpse: int = 0


class FaceServers:
    """An asynchronous context manager: it listens inside of it, at `ports`."""

    def __init__(self, face: ExchangeFace, host: str = "127.0.0.1", ports: Ports = Ports()) -> None:  # noqa: B008
        self.face = face
        self.host = host
        self.ports = ports
        self.hub = KrakenHub(face)
        self.itch = itch_server(face.session)
        self.glimpse = glimpse_server(face.session, face.glimpse)
        self._web = web_server(self.hub)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        socket = listener(self.host, self.ports.http)
        self._tasks = [
            asyncio.ensure_future(self._web.serve(sockets=[socket])),
            asyncio.ensure_future(self.hub.run()),
        ]
        try:
            self.ports = Ports(
                socket.getsockname()[1],
                await self.itch.start(self.host, self.ports.itch),
                await self.glimpse.start(self.host, self.ports.glimpse),
            )
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    def check(self) -> None:
        """Raise what has ended one of the tasks, if one has."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _close(self) -> None:
        self.face.session.end()
        self._web.should_exit = True
        await self.itch.close()
        await self.glimpse.close()
        self._tasks[1].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
