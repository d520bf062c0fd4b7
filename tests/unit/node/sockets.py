"""What the tests of the network share: both event loops, bounded waiting, and loopback sockets that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import uvloop

both_loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


def run(loop: Loop, main: Callable[[], Coroutine[Any, Any, None]], seconds: float = 20.0) -> None:
    """Run `main` on a new loop; whatever reaches the loop's handler of unforeseen exceptions fails the test."""
    problems: list[dict[str, Any]] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        await asyncio.wait_for(main(), seconds)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(bounded())
    assert problems == []


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.005)


def resident_bytes() -> int:
    """The memory that this process holds now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.asynccontextmanager
async def raw(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A plain connection to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def read_all(reader: asyncio.StreamReader, seconds: float = 5.0) -> bytes:
    """Everything until the other side closes, however it does."""
    data = bytearray()
    with contextlib.suppress(ConnectionError):
        while part := await asyncio.wait_for(reader.read(65536), seconds):
            data += part
    return bytes(data)
