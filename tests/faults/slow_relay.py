"""A long line to a server on this machine: what goes in at one end comes out at the other after a while, in order.

One thread runs an event loop with all connections. Nothing is lost and nothing is reordered; the line is as wide as
one likes. What has not come out when a connection closes still does.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Final

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 << 10
# More than this on its way, and the sender waits: a bound on memory, far above what a game sends.
CHUNKS_WAITING_MAX: Final = 4096
START_SECONDS_MAX: Final = 10.0


class SlowRelay:
    """Listens on `port` of the loopback and passes everything to `target_port`, `delay_seconds` late each way."""

    def __init__(self, target_port: int, delay_seconds: float, port: int) -> None:
        self.address = f"{HOST}:{port}"
        self._port = port
        self._target_port = target_port
        self._delay_seconds = delay_seconds
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="slow relay", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> SlowRelay:
        self._thread.start()
        if not self._started.wait(START_SECONDS_MAX):
            raise OSError(f"the relay does not listen on {self.address}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._loop is not None and self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_SECONDS_MAX)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, HOST, self._port)
        self._started.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next turn

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_connection(HOST, self._target_port)
        except OSError:
            writer.close()
            return
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_WAITING_MAX)

        async def deliver() -> None:
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    return
                sink.write(data)
                await sink.drain()

        delivery = asyncio.create_task(deliver())
        try:
            with contextlib.suppress(OSError):
                while not delivery.done():
                    data = await source.read(CHUNK_BYTES)
                    await waiting.put((loop.time() + self._delay_seconds, data))
                    if not data:
                        break
                await delivery
        finally:
            delivery.cancel()
            sink.transport.abort()
