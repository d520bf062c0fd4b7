"""A network between members that misbehaves on demand: a TCP proxy before each member, told apart by who dials.

All members have one configuration, in which the address of a member is that of its proxy. A connection begins with the
hello of the one who dialed, so the proxy knows which directed link it is, and does to it what `set` last said:

- PASS: what comes goes on;
- CUT: what is open is closed, and what is new is closed as soon as it has said hello;
- SWALLOW: connections are taken and what they say is read, and nothing comes out, either way;
- SWALLOW_FORTH, SWALLOW_BACK: the same in one direction, from the one who dialed or to him;
- DELAY: what comes goes on in order after 40 ms, give or take 30;
- DRIP: a few bytes at a time go on, as through a bad line.

One thread runs an event loop with all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import threading
from collections.abc import Coroutine
from typing import Any, Final

from rsm.errors import RsmError
from rsm.limits import HELLO_BYTES_MAX
from rsm.node.network.frame_parser import FrameParser
from rsm.node.network.handshake import parse_peer_hello

DELAY_SECONDS: Final = (0.01, 0.07)
DRIP_BYTES: Final = 48
DRIP_SECONDS: Final = 0.004
CHUNK_BYTES: Final = 64 * 1024
CHUNKS_WAITING_MAX: Final = 64
HELLO_SECONDS_MAX: Final = 5.0


class Mode(enum.Enum):
    """What a link does."""

    PASS = "pass"
    CUT = "cut"
    SWALLOW = "swallow"
    SWALLOW_FORTH = "swallow forth"
    SWALLOW_BACK = "swallow back"
    DELAY = "delay"
    DRIP = "drip"


SWALLOWING: Final = frozenset({Mode.SWALLOW, Mode.SWALLOW_FORTH, Mode.SWALLOW_BACK})


class _Connection:
    """One connection through a proxy."""

    def __init__(self, proxies: LinkProxies, link: tuple[int, int]) -> None:
        self.proxies = proxies
        self.link = link
        self.writers: list[asyncio.StreamWriter] = []

    @property
    def mode(self) -> Mode:
        return self.proxies.mode_of(self.link)

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallowing: Mode) -> None:
        """Carry one direction, until its reader is at its end."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_WAITING_MAX)
        deliver = asyncio.ensure_future(self._deliver(waiting, writer))
        loop = asyncio.get_running_loop()
        due = 0.0
        try:
            while data := await reader.read(CHUNK_BYTES):
                mode = self.mode
                if mode in (Mode.SWALLOW, swallowing):
                    continue
                delay = random.uniform(*DELAY_SECONDS) if mode is Mode.DELAY else 0.0
                due = max(due, loop.time() + delay)
                await waiting.put((due, data))
        except OSError:
            pass
        finally:
            deliver.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await deliver

    async def _deliver(self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await waiting.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            while data and self.mode is Mode.DRIP:
                writer.write(data[:DRIP_BYTES])
                data = data[DRIP_BYTES:]
                await asyncio.sleep(DRIP_SECONDS)
            writer.write(data)
            await writer.drain()


class LinkProxies:
    """The proxies of a cluster. A link is (from, to); `set` may be called at any time, from any thread."""

    def __init__(self) -> None:
        self.accepted = 0
        self._modes: dict[tuple[int, int], Mode] = {}
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()

    def before(self, member: int, address: str) -> str:
        """Begin to listen for a member; the address to give to the others."""
        host, _, port = address.rpartition(":")

        async def listen() -> int:
            server = await asyncio.start_server(
                lambda reader, writer: self._accepted(member, host, int(port), reader, writer), "127.0.0.1", 0
            )
            self._servers.append(server)
            number: int = server.sockets[0].getsockname()[1]
            return number

        return f"127.0.0.1:{self._run(listen())}"

    def set(self, mode: Mode, *links: tuple[int, int]) -> None:
        """Change these links."""

        async def change() -> None:
            # A stream that lacks what was swallowed is nothing that TCP could deliver: it ends.
            ended = {link for link in links if mode is Mode.CUT or self.mode_of(link) in SWALLOWING}
            for link in links:
                self._modes[link] = mode
            for connection in list(self._connections):
                if connection.link in ended:
                    connection.cut()

        self._run(change())

    def mode_of(self, link: tuple[int, int]) -> Mode:
        return self._modes.get(link, Mode.PASS)

    def close(self) -> None:
        """Close everything and end the thread. May be called twice."""
        if self._loop.is_closed():
            return

        async def end() -> None:
            for server in self._servers:
                server.close()
            for connection in self._connections:
                connection.cut()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _accepted(
        self, member: int, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = self._loop.create_task(self._serve(member, host, port, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, member: int, host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.accepted += 1
        onward: asyncio.StreamWriter | None = None
        try:
            first, dialer = await asyncio.wait_for(_hello(reader), HELLO_SECONDS_MAX)
            connection = _Connection(self, (dialer, member))
            if connection.mode is Mode.CUT:
                return
            back, onward = await asyncio.open_connection(host, port)
            connection.writers += [writer, onward]
            self._connections.add(connection)
            try:
                if connection.mode not in (Mode.SWALLOW, Mode.SWALLOW_FORTH):
                    onward.write(first)
                pumps = [
                    asyncio.ensure_future(connection.pump(reader, onward, Mode.SWALLOW_FORTH)),
                    asyncio.ensure_future(connection.pump(back, writer, Mode.SWALLOW_BACK)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
            finally:
                self._connections.discard(connection)
        except (OSError, EOFError, RsmError, TimeoutError):
            pass  # the ends hear of it by the connection's end
        finally:
            for one in (writer, onward):
                if one is not None:
                    one.transport.abort()


async def _hello(reader: asyncio.StreamReader) -> tuple[bytes, int]:
    """What the dialer said first, and his number."""
    parser = FrameParser(HELLO_BYTES_MAX)
    said = b""
    while True:
        data = await reader.read(CHUNK_BYTES)
        if not data:
            raise EOFError
        said += data
        parser.feed(data)
        frame = parser.next_frame()
        if frame is not None:
            return said, parse_peer_hello(frame[1]).node_id
