"""The two servers of the ITCH session: the sequenced feed, and GLIMPSE, where those who join late get the book.

Each connection is a task that sends what its reader takes. A reader that stops costs the buffer of its socket: nobody
waits for it, and it is cut when it has taken nothing for `STALL_SECONDS_MAX`, or when its place is no longer kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from demos.orderbook.face import soup
from demos.orderbook.face.session import FellBehind, Session

log = logging.getLogger(__name__)

# What is handed to a connection at once.
CHUNK_BYTES: Final = 64 * 1024
STALL_SECONDS_MAX: Final = 10.0
# Connections of one server.
CLIENTS_MAX: Final = 256

# The book as GLIMPSE packets, and the number of the ITCH message with which to go on; None while there is no session.
Snapshot = Callable[[], tuple[bytes, int] | None]


class SoupServer:
    """A listener, its connections, and their bound. `serve` sends one client all that it gets after its login."""

    def __init__(
        self, serve: Callable[[soup.Login, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        self._serve = serve
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.cut = 0

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._tasks)

    async def start(self, host: str, port: int) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._connected, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= CLIENTS_MAX:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._run(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(await soup.read_login(reader), reader, writer)
        except (soup.SoupError, asyncio.IncompleteReadError, ConnectionError):
            pass  # it has left, or does not speak the protocol
        except (FellBehind, TimeoutError) as error:
            self.cut += 1
            log.info("a reader was cut: %s", error or "it took nothing for too long")
            writer.transport.abort()
        finally:
            await soup.close(writer)

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Hand over some data. `TimeoutError` if the client takes nothing for too long."""
    writer.write(data)
    async with asyncio.timeout(STALL_SECONDS_MAX):
        await writer.drain()


def itch_server(session: Session) -> SoupServer:
    """The sequenced feed of a session."""

    async def serve(login: soup.Login, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        position = login.sequence or session.next
        if login.session not in ("", session.name) or not session.next or position > session.next:
            await send(writer, soup.rejected(soup.NO_SESSION))
            return
        position = max(position, session.first)
        await send(writer, soup.accepted(session.name, position))
        listener = asyncio.get_running_loop().create_task(soup.listen_until_logout(reader))
        try:
            while not listener.done():
                data, position = session.read(position, CHUNK_BYTES)
                if data:
                    await send(writer, data)
                elif session.is_over:
                    await send(writer, soup.END_OF_SESSION)
                    return
                else:
                    before = session.next
                    await session.grown(soup.HEARTBEAT_SECONDS)
                    if session.next == before:
                        await send(writer, soup.HEARTBEAT)
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    return SoupServer(serve)


def glimpse_server(session: Session, snapshot: Snapshot) -> SoupServer:
    """The book, as often as somebody asks for it."""

    async def serve(login: soup.Login, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made = snapshot()
        if login.session not in ("", session.name) or login.sequence > 1 or made is None:
            await send(writer, soup.rejected(soup.NO_SESSION))
            return
        await send(writer, soup.accepted(session.name, 1))
        packets = made[0]
        for start in range(0, len(packets), CHUNK_BYTES):
            await send(writer, packets[start : start + CHUNK_BYTES])
        await send(writer, soup.END_OF_SESSION)

    return SoupServer(serve)
