"""One browser at the other end of a WebSocket: what waits for it, bounded, and what becomes of one that is slow.

Theory of operation. Whoever has news puts a text into the browser's queue and goes on; a task of the browser's own
takes from there and waits for the network. When more than `GATEWAY_QUEUE_BYTES_MAX` would wait, all of it is dropped
and a *skip* stands in its place: the browser learns that something is missing, and reads the state anew. So a browser
that stops reading costs its queue, and is closed when one message has not got through in `GATEWAY_SEND_SECONDS_MAX`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from rsm.gateway.problems import Problem, problem_of, respond
from rsm.limits import (
    GATEWAY_ALIVE_SECONDS,
    GATEWAY_QUEUE_BYTES_MAX,
    GATEWAY_SEND_SECONDS_MAX,
    GATEWAY_SOCKETS_MAX,
)

__all__ = ["Browser", "Sockets", "message"]

ALIVE: Final = '{"type":"alive"}'
# A code of RFC 6455: an error of ours.
ERROR: Final = 1011


def message(kind: str, **members: Any) -> str:
    """The text of one message."""
    return msgspec.json.encode({"type": kind} | members).decode()


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class Browser:
    """One of them. All of it happens on the event loop."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._texts: deque[str] = deque()
        self._bytes = 0
        self._skipped = 0
        self._news = asyncio.Event()
        self._closing: tuple[int, str] | None = None

    def put(self, text: str) -> None:
        """Behind what waits already; in the place of all of that, if it is too much."""
        size = _size(text)
        if self._texts and self._bytes + size > GATEWAY_QUEUE_BYTES_MAX:  # however large, one message can be sent
            self._skipped += len(self._texts) + 1
            self._texts.clear()
            self._bytes = 0
        else:
            self._texts.append(text)
            self._bytes += size
        self._news.set()

    def put_only(self, text: str) -> None:
        """In the place of all that waits: nothing but the newest counts."""
        self._texts.clear()
        self._texts.append(text)
        self._bytes = _size(text)
        self._news.set()

    def end(self, code: int, reason: str) -> None:
        """Close it, behind what waits."""
        self._closing = code, reason
        self._news.set()

    async def serve(self) -> None:
        """Send until the browser goes away, or is closed."""
        listening = asyncio.create_task(self._listen())
        sending = asyncio.create_task(self._send())
        tasks = {listening, sending}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self) -> None:
        """Only to see it go: there is nothing for it to say."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            while (await self._websocket.receive())["type"] != "websocket.disconnect":
                pass

    async def _send(self) -> None:
        # What the network does to a connection is nobody's error.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            while True:
                text = self._take()
                if text is None and self._closing is not None:
                    await self._websocket.close(*self._closing)
                    return
                if text is None:
                    text = await self._wait()
                if text is not None and not await self._got_through(text):
                    return

    def _take(self) -> str | None:
        self._news.clear()
        if self._skipped:
            text = message("skip", reason="this connection is too slow", messages=self._skipped)
            self._skipped = 0
            return text
        if not self._texts:
            return None
        text = self._texts.popleft()
        self._bytes -= _size(text)
        return text

    async def _wait(self) -> str | None:
        try:
            async with asyncio.timeout(GATEWAY_ALIVE_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return ALIVE
        return None

    async def _got_through(self, text: str) -> bool:
        try:
            async with asyncio.timeout(GATEWAY_SEND_SECONDS_MAX):
                await self._websocket.send_text(text)
        except TimeoutError:
            return False
        return True


class Sockets:
    """All browsers of a gateway, bounded in number."""

    def __init__(self) -> None:
        self._count = 0

    @contextlib.asynccontextmanager
    async def admitted(self, websocket: WebSocket) -> Any:
        """A browser that was let in, or None: then it has been told why not.

        What goes wrong inside the block before `accept` is told with the status of HTTP that it has elsewhere.
        """
        self._count += 1
        try:
            if self._count > GATEWAY_SOCKETS_MAX:
                raise Problem("busy", f"{GATEWAY_SOCKETS_MAX} WebSockets are open", retry_seconds=GATEWAY_ALIVE_SECONDS)
            yield Browser(websocket)
        except WebSocketDisconnect:
            pass  # gone before it was let in
        except Exception as error:
            if websocket.client_state.name != "CONNECTING":
                raise
            await websocket.send_denial_response(respond(problem_of(error)))
        finally:
            self._count -= 1
