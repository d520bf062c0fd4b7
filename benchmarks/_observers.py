"""The child's side of the feed's benchmark: many light observers of one node in one process; some stop reading.

An observer here checks that it misses nothing, and keeps nothing: it takes frames apart at their heads, and of each the
first and last index of its entries. All observers of a node get the same bytes, so a frame is decoded once for all, and
known again by its head.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections import OrderedDict
from typing import Any, NamedTuple

import _common  # noqa: F401  puts the project on the path

from rsm.node.feed.frames import FeedEntries, FeedSnapshot, Skip, decode_feed
from rsm.node.network import protocol
from rsm.node.network.handshake import ClientHello, encode_client_hello
from rsm.node.network.wire import HEAD_BYTES, FrameKind, decode_head, encode_frame, payload_of

FRAME_BYTES_MAX = 1 << 30
FRAMES_KNOWN = 512
CONNECT_SECONDS_MAX = 30.0
POLL_SECONDS = 0.01


class Held(NamedTuple):
    """The entries of a frame."""

    first: int
    last: int
    chain: bytes


class Snapshot(NamedTuple):
    """A part of a snapshot."""

    index: int
    is_last: bool


class Known:
    """What recent frames hold, by their heads."""

    def __init__(self) -> None:
        self._frames: OrderedDict[bytes, Any] = OrderedDict()
        self.decoded = 0

    def look(self, frame: memoryview) -> Any:
        """What a frame holds: `Held`, `Snapshot`, another frame of the feed, or its kind if it is none of that."""
        key = bytes(frame[:HEAD_BYTES])
        found = self._frames.get(key)
        if found is None:
            head = decode_head(frame, bytes_max=FRAME_BYTES_MAX)
            if head.kind is not FrameKind.FEED:
                return head.kind
            found = decode_feed(payload_of(head, bytes(frame[HEAD_BYTES:])))
            self.decoded += 1
            if isinstance(found, FeedEntries):
                found = Held(found.first_index, found.first_index + len(found.entries) - 1, found.chain)
            elif isinstance(found, FeedSnapshot):
                found = Snapshot(found.index, found.offset + len(found.data) == found.total_bytes)
            if isinstance(found, Held | Snapshot):
                self._frames[key] = found
                if len(self._frames) > FRAMES_KNOWN:
                    self._frames.popitem(last=False)
        return found


class LightObserver(asyncio.Protocol):
    """One subscription. `index` is the last one that it has got; `gaps` counts what it missed."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.index = self.begun = 0
        self.chain = b""
        self.bytes = self.frames = self.gaps = self.skips = 0
        self.is_lost = False
        self.failure = ""
        self.transport: Any = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self.transport = transport
        self.transport.write(encode_frame(FrameKind.HELLO, encode_client_hello(ClientHello())))

    def observe(self, after: int, chain: bytes) -> None:
        """Subscribe to the log behind an index of this command chain; behind a snapshot if the chain is not known."""
        request = protocol.Observe(after, chain, 0, [], not chain)
        self.index = self.begun = after
        self.transport.write(encode_frame(FrameKind.REQUEST, protocol.encode_request(1, request)))

    def data_received(self, data: bytes) -> None:
        """Take apart what has come."""
        self.bytes += len(data)
        data = self._data + data if self._data else data
        offset, end = 0, len(data)
        while end - offset >= HEAD_BYTES:
            size = HEAD_BYTES + int.from_bytes(data[offset + 12 : offset + 16], "little")
            if end - offset < size:
                break
            self._take(memoryview(data)[offset : offset + size])
            offset += size
        self._data = data[offset:]

    def _take(self, frame: memoryview) -> None:
        found = self.known.look(frame)
        if isinstance(found, Held):
            self.frames += 1
            if found.first != self.index + 1:
                self.gaps += 1
            self.index, self.chain = found.last, found.chain
        elif isinstance(found, Snapshot):
            if found.is_last:
                self.index = found.index
                self.begun = self.begun or found.index
        elif isinstance(found, Skip):
            self.skips += 1
        elif found is FrameKind.ANSWER or found is FrameKind.REFUSAL:
            self.failure = str(bytes(frame[HEAD_BYTES:]))

    def connection_lost(self, _: Exception | None) -> None:
        """It is over."""
        self.is_lost = True


class Observers:
    """All of them, in an event loop of their own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._live: list[LightObserver] = []
        self._stopped: list[LightObserver] = []
        self._known = Known()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * CONNECT_SECONDS_MAX)

    def attach(self, address: str, count: int, stopped: int) -> dict[str, Any]:
        """Connect `count` observers: one begins with a snapshot, the others where that one is, as those do that come
        back to another node. `stopped` of them stop reading at once.
        """
        return self._do(self._attach(address, count, stopped))  # type: ignore[no-any-return]

    async def _attach(self, address: str, count: int, stopped: int) -> dict[str, Any]:
        host, port = address.rsplit(":", 1)
        scout: LightObserver | None = None
        self._live, self._stopped = [], []
        for number in range(count):
            _, made = await self._loop.create_connection(lambda: LightObserver(self._known), host, int(port))
            if scout is None:
                scout = made
                made.observe(0, b"")
                async with asyncio.timeout(CONNECT_SECONDS_MAX):
                    while not made.chain and not made.failure:
                        await asyncio.sleep(POLL_SECONDS)
            else:
                made.observe(scout.index, scout.chain)
            if 0 < number <= stopped:
                made.transport.pause_reading()
                self._stopped.append(made)
            else:
                self._live.append(made)
        return {}

    def report(self) -> dict[str, Any]:
        """How they stand."""
        return self._do(self._report())  # type: ignore[no-any-return]

    async def _report(self) -> dict[str, Any]:
        live = self._live
        return {
            "live": len(live),
            "gapless": sum(not (one.gaps or one.skips or one.is_lost or one.failure) for one in live),
            "lowest_index": min((one.index for one in live), default=0),
            "entries": sum(one.index - one.begun for one in live),
            "frames": sum(one.frames for one in live),
            "bytes": sum(one.bytes for one in live),
            "skips": sum(one.skips for one in live),
            "failures": sorted({one.failure for one in live if one.failure})[:3],
            "stopped": len(self._stopped),
            "stopped_connected": sum(not one.is_lost for one in self._stopped),
            "decoded_frames": self._known.decoded,
        }

    def detach(self) -> dict[str, Any]:
        """Leave."""
        return self._do(self._detach())  # type: ignore[no-any-return]

    async def _detach(self) -> dict[str, Any]:
        for one in (*self._live, *self._stopped):
            one.transport.abort()
        self._live, self._stopped = [], []
        return {}


def main() -> None:
    """The child: orders on stdin, answers on stdout."""
    observers = Observers()
    handlers = {"attach": observers.attach, "report": observers.report, "detach": observers.detach, "ready": dict}
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            values = json.loads(line)
            try:
                answer = handlers[values.pop("do")](**values)
            except Exception as error:
                answer = {"error": repr(error)}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
