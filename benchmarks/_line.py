"""A bad line: TCP relays before nodes, with latency, jitter, and stalls now and then, in order as TCP delivers.

Each chunk that comes in goes on after half the round trip, give or take the jitter; some wait for a stall more, as
after a lost packet, and all that is behind one waits with it. One thread runs an event loop with all relays.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

CHUNK_BYTES = 64 * 1024
CHUNKS_WAITING_MAX = 256


class BadLine:
    """Relays to these addresses. Seconds; `stalls` is the part of chunks that stall."""

    def __init__(
        self, targets: Sequence[str], *, round_trip: float, jitter: float, stalls: float, stall: float, seed: int = 1
    ) -> None:
        self._targets = targets
        self._way, self._jitter, self._stalls, self._stall = round_trip / 2, jitter, stalls, stall
        self._draw = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self.stalled = 0

    def start(self, ports: Sequence[int]) -> None:
        """Listen on these ports, one for each target."""
        self._thread.start()
        self._run(self._listen(ports))

    def close(self) -> None:
        """Close everything."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self, ports: Sequence[int]) -> None:
        for target, port in zip(self._targets, ports, strict=True):
            self._servers.append(
                await asyncio.start_server(
                    lambda reader, writer, target=target: self._accepted(target, reader, writer), "127.0.0.1", port
                )
            )

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(target, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = target.rpartition(":")
        onward: asyncio.StreamWriter | None = None
        with contextlib.suppress(OSError):
            try:
                back, onward = await asyncio.open_connection(host, int(port))
                ways = [
                    asyncio.ensure_future(self._carry(reader, onward)),
                    asyncio.ensure_future(self._carry(back, writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
            finally:
                for one in (writer, onward):
                    if one is not None:
                        one.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_WAITING_MAX)
        deliver = asyncio.ensure_future(self._deliver(waiting, writer))
        due = 0.0
        try:
            while data := await reader.read(CHUNK_BYTES):
                delay = self._way + self._draw.uniform(-self._jitter, self._jitter)
                if self._draw.random() < self._stalls:
                    self.stalled += 1
                    delay += self._stall
                due = max(due, self._loop.time() + delay)
                await waiting.put((due, data))
        finally:
            deliver.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await deliver

    async def _deliver(self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await waiting.get()
            if due > self._loop.time():
                await asyncio.sleep(due - self._loop.time())
            writer.write(data)
            await writer.drain()
