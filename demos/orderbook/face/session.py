"""The sequenced messages of the ITCH session that can still be read, from any number on and by any number of readers.

Messages are kept as the SoupBinTCP packets that they leave in, one block for each log entry. There is one store for all
readers and none for each: a reader is a position. Who falls behind the store is cut; to come back it takes a snapshot,
as after any gap.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from demos.orderbook.face.soup import sequenced

# What can be read again: two minutes of a market at five thousand events a second, about 40 MB.
BYTES_KEPT: Final = 48 * 1024 * 1024
# Blocks are dropped from the front so many at a time, so that the list is not moved for each.
BLOCKS_DROPPED: Final = 256


class FellBehind(Exception):
    """A reader wants messages that are no longer kept."""


class Session:
    """`name` as logins name it; messages `first` to `next` - 1 are kept. Both are 0 before the session is known."""

    def __init__(self, name: str, bytes_kept: int = BYTES_KEPT) -> None:
        self.name = name
        self.first = self.next = 0
        self.is_over = False
        self._bytes_kept = bytes_kept
        self._bytes = 0
        self._starts: list[int] = []
        self._blocks: list[bytes] = []
        self._grown = asyncio.Event()

    def begin(self, sequence: int) -> None:
        """Begin at a number, with nothing kept: what came before it is not known here."""
        self._starts.clear()
        self._blocks.clear()
        self._bytes = 0
        self.first = self.next = sequence
        self._wake()

    def append(self, messages: Sequence[bytes]) -> None:
        """Add the messages of an entry."""
        if not messages:
            return
        block = b"".join(sequenced(message) for message in messages)
        self._starts.append(self.next)
        self._blocks.append(block)
        self._bytes += len(block)
        self.next += len(messages)
        if self._bytes > self._bytes_kept:
            dropped = min(BLOCKS_DROPPED, len(self._blocks) - 1)
            self._bytes -= sum(map(len, self._blocks[:dropped]))
            del self._starts[:dropped], self._blocks[:dropped]
            self.first = self._starts[0]
        self._wake()

    def end(self) -> None:
        """Tell all readers that there will be no more."""
        self.is_over = True
        self._wake()

    def read(self, sequence: int, bytes_max: int) -> tuple[bytes, int]:
        """Packets from a number on, one block at least, and the number behind them; nothing if there are none yet.

        Raises `FellBehind` if that number is not kept.
        """
        if sequence < self.first or sequence > self.next:
            raise FellBehind(f"message {sequence} is not kept: {self.first} to {self.next - 1} are")
        if sequence == self.next:
            return b"", sequence
        place = bisect_right(self._starts, sequence) - 1
        block = self._blocks[place]
        offset = 0
        for _ in range(sequence - self._starts[place]):
            offset += 2 + (block[offset] << 8 | block[offset + 1])
        taken, size = [block[offset:]], len(block) - offset
        place += 1
        while place < len(self._blocks) and size < bytes_max:
            taken.append(self._blocks[place])
            size += len(self._blocks[place])
            place += 1
        return b"".join(taken), self._starts[place] if place < len(self._starts) else self.next

    async def grown(self, seconds_max: float) -> None:
        """Return when there is more, or the session is over or begun again, or after so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._grown.wait(), seconds_max)

    def _wake(self) -> None:
        waiting, self._grown = self._grown, asyncio.Event()
        waiting.set()
