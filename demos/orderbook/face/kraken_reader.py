"""One WebSocket connection: what waits for it is bounded, and whoever does not keep up is skipped forward.

Messages wait in an outbox. When it is full, everything that waits is dropped and each book that the reader subscribes
to is marked: once the reader takes again it gets a new snapshot of those, and goes on from there. Trades and candles in
between are left out. A reader that takes nothing at all for `STALL_SECONDS_MAX` is cut.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from starlette.websockets import WebSocket

# Seconds of a busy market at the pace of the flushes, or one flush of everything on offer.
OUTBOX_MESSAGES_MAX: Final = 512
STALL_SECONDS_MAX: Final = 10.0
# An idle connection hears of itself as often as Kraken's.
HEARTBEAT_SECONDS: Final = 1.0
HEARTBEAT: Final = '{"event":"heartbeat"}'

# (channel, pair, parameter): ("book", "ACME/USD", 10)
Key = tuple[str, str, int]


class Reader:
    """A connection and its subscriptions. `snapshot_of` makes what a book that was skipped begins with again."""

    def __init__(self, socket: WebSocket, snapshot_of: Callable[[Key], str | None]) -> None:
        self.subscriptions: set[Key] = set()
        self.skips = 0
        self._socket = socket
        self._snapshot_of = snapshot_of
        self._outbox: deque[str] = deque()
        self._stale: set[Key] = set()
        self._news = asyncio.Event()
        self._drained = asyncio.Event()

    async def drained(self) -> None:
        """Return when nothing waits any more."""
        await asyncio.sleep(0)  # others have their turn, whatever was asked
        if self._outbox or self._stale:
            self._drained.clear()
            await self._drained.wait()

    def post(self, message: str, key: Key | None = None) -> None:
        """Have a message sent. `key`: the subscription that it belongs to."""
        if key in self._stale:
            return
        if len(self._outbox) >= OUTBOX_MESSAGES_MAX:
            self.skips += 1
            self._outbox.clear()
            self._stale.update(one for one in self.subscriptions if one[0] == "book")
            if key is not None:
                self._news.set()
                return
        self._outbox.append(message)
        self._news.set()

    def refresh(self) -> None:
        """All books begin again with a snapshot."""
        self._stale.update(one for one in self.subscriptions if one[0] == "book")
        self._news.set()

    async def send_all(self) -> None:
        """Send what waits, and heartbeats, until the connection ends. `TimeoutError` if the reader has stopped."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                if self.subscriptions:
                    await self._send(HEARTBEAT)
                continue
            self._news.clear()
            while self._outbox or self._stale:
                if self._outbox:
                    await self._send(self._outbox.popleft())
                    continue
                key = self._stale.pop()
                snapshot = self._snapshot_of(key) if key in self.subscriptions else None
                if snapshot is not None:
                    await self._send(snapshot)
            self._drained.set()

    async def _send(self, message: str) -> None:
        async with asyncio.timeout(STALL_SECONDS_MAX):
            await self._socket.send_text(message)
