"""The page's server, inside the local player's process: it shows what the process publishes and hands on what is asked.

It runs in a thread of its own with its own event loop, bound to the loopback address. The process publishes from any
thread and never waits: a message is encoded there, once, and handed to the loop, which appends it to the outbox of
every open page. An outbox is bounded: a page that does not read loses the oldest turns, never the newest, and no other
page notices. Tiles are compared per page with what it was last told, so a lost turn loses no felled tree.

Whoever can reach the port could play. So only this machine can, and no web page from elsewhere that is open in the
same browser: requests must name the loopback host (a rebound name does not) and a WebSocket must come from this page.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType

import msgspec
import numpy
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from demos.rts_lockstep.viewing import view_messages as messages
from demos.rts_lockstep.viewing.view import Ask, Desync, Hello, Integers, ProjectileColumns, Status, Turn, UnitColumns

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("page")
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
# Six seconds of turns. A page that is further behind wants to see the present, not the past.
OUTBOX_TURNS_MAX = 32
# Of everything else nothing may be lost. A page with so much unread is closed; should it wake, it connects anew, and is
# told how things are now.
OUTBOX_MESSAGES_MAX = 2_000
# The largest ask: an order for 2,000 units, ids of up to six digits.
ASK_BYTES_MAX = 64 << 10
START_SECONDS_MAX = 10.0
CLOSE_SECONDS_MAX = 5.0
POLICY_VIOLATION, GOING_AWAY = 1008, 1001


class _Outbox:
    """What one page has yet to be sent, in order; lives in the loop's thread."""

    def __init__(self, tiles: Integers) -> None:
        self.tiles = tiles
        self.ready = asyncio.Event()
        self.overrun = asyncio.Event()
        self.messages: deque[tuple[str, bytes | None]] = deque()
        self.turns = 0

    def put(self, message: str, binary: bytes | None = None) -> None:
        self.messages.append((message, binary))
        self.turns += binary is not None
        if self.turns > OUTBOX_TURNS_MAX:
            oldest = next(place for place, (_, columns) in enumerate(self.messages) if columns is not None)
            del self.messages[oldest]
            self.turns -= 1
        if len(self.messages) > OUTBOX_MESSAGES_MAX:
            self.messages.clear()
            self.turns = 0
            self.overrun.set()
        self.ready.set()

    async def take(self) -> tuple[str, bytes | None]:
        while not self.messages:
            self.ready.clear()
            await self.ready.wait()
        message, binary = self.messages.popleft()
        self.turns -= binary is not None
        return message, binary


class Viewer:
    """Serves the page of one player, spectator or replay. `on_ask` is called in the viewer's thread and must not block.

    `port` 0 takes a free one; `url` names it once `start` has returned. `start` raises OSError if the port is taken.
    """

    def __init__(self, hello: Hello, on_ask: Callable[[Ask], None], *, port: int = 0) -> None:
        self._hello = hello
        self._on_ask = on_ask
        self._wanted_port = port
        self._tiles: Integers = numpy.frombuffer(hello.tiles, numpy.uint8)
        # The newest message of each subject, for pages that open later; `turn` last, since it is what they draw.
        self._latest: dict[str, tuple[str, bytes | None]] = {}
        self._outboxes: set[_Outbox] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._closing = asyncio.Event()
        self._files = {f"/{path.name}": path.read_bytes() for path in PAGE.iterdir() if path.suffix in TYPES}
        self.port = 0
        self.was_opened = False  # a page has connected, at some time

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.port}/"

    def start(self) -> None:
        """Bind, and serve in a thread."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, self._wanted_port))
            listener.listen()
        except OSError as error:
            listener.close()
            raise OSError(error.errno, f"cannot listen at {HOST}:{self._wanted_port}: {error.strerror}") from error
        self.port = listener.getsockname()[1]
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listener, started), name="viewer", daemon=True)
        self._thread.start()
        if not started.wait(START_SECONDS_MAX):
            raise OSError(f"the viewer did not start on {self.url}")

    def close(self) -> None:
        """Tell the pages, and end the thread."""
        if self._thread is None or self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join(CLOSE_SECONDS_MAX)
        self._thread = None

    def __enter__(self) -> Viewer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def publish_turn(
        self,
        turn: Turn,
        units: Sequence[UnitColumns],
        projectiles: ProjectileColumns | None = None,
        tiles: Integers | None = None,
    ) -> None:
        """Show a turn. The columns are copied before this returns; `tiles` None: as they were."""
        copied = None if tiles is None else tiles.astype(numpy.uint8, copy=True).reshape(-1)
        self._publish("turn", messages.text("turn", turn), messages.columns(units, projectiles), tiles=copied)

    def publish_hello(self, hello: Hello) -> None:
        """Seats, names or the map itself are others now: pages start anew."""
        self._hello = hello
        self._publish("hello", "", tiles=numpy.frombuffer(hello.tiles, numpy.uint8))

    def publish_status(self, status: Status) -> None:
        """A pause, a wait or a vote, between turns."""
        self._publish("status", messages.text("status", status))

    def publish_root(self, turn: int, root: str, agreed: bool) -> None:
        """A later word on a turn's root: it equals the others', or it does not."""
        self._publish("", messages.text("root", turn=turn, root=root, agreed=agreed))

    def acknowledge(self, click: int, turn: int) -> None:
        """The log has the page's order; `turn` executes it."""
        self._publish("", messages.text("ack", click=click, turn=turn))

    def refuse(self, click: int, reason: str) -> None:
        """The page's order will not be executed."""
        self._publish("", messages.text("refused", click=click, reason=reason))

    def publish_desync(self, desync: Desync) -> None:
        """This copy differs; the page draws where."""
        self._publish("desync", messages.text("desync", desync))

    def publish_healed(self, index: int, seconds: float) -> None:
        """This copy is right again since log index `index`, `seconds` after it was found to differ."""
        self._publish("healed", messages.text("healed", index=index, seconds=seconds))

    def _publish(self, subject: str, text: str, binary: bytes | None = None, tiles: Integers | None = None) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: nobody looks any more
                self._loop.call_soon_threadsafe(self._deliver, subject, text, binary, tiles)

    # What follows runs in the viewer's thread.

    def _run(self, listener: socket.socket, started: threading.Event) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            started.set()
            await server.serve([listener])

        routes = [WebSocketRoute("/ws", self._page), Route("/{path:path}", self._file)]
        hosts = Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
        config = uvicorn.Config(
            Starlette(routes=routes, middleware=[hosts]),
            ws="websockets-sansio",
            ws_max_size=ASK_BYTES_MAX,
            # Within one machine, compressing costs more than the bytes.
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = self._server = uvicorn.Server(config)
        with listener:
            asyncio.run(serve())

    def _end(self) -> None:
        self._closing.set()
        if self._server is not None:
            self._server.should_exit = True

    def _deliver(self, subject: str, text: str, binary: bytes | None, tiles: Integers | None) -> None:
        if tiles is not None:
            self._tiles = tiles
        if subject == "hello":
            self._latest.clear()
            for outbox in self._outboxes:
                outbox.tiles = self._tiles
                outbox.put(messages.hello(self._hello, self._tiles))
            return
        if subject == "healed":
            self._latest.pop("desync", None)
        elif subject:
            self._latest[subject] = (text, binary)
        for outbox in self._outboxes:
            if tiles is not None and (changed := messages.tiles_changed(outbox.tiles, tiles)):
                outbox.put(changed)
                outbox.tiles = tiles
            outbox.put(text, binary)

    async def _file(self, request: Request) -> Response:
        path = "/index.html" if request.url.path == "/" else request.url.path
        if (content := self._files.get(path)) is None:
            return PlainTextResponse("not found", 404, HEADERS)
        return Response(content, 200, HEADERS, TYPES[Path(path).suffix])

    async def _page(self, socket: WebSocket) -> None:
        if socket.headers.get("origin") != f"http://{socket.headers.get('host')}":
            await socket.close(POLICY_VIOLATION)
            return
        await socket.accept()
        outbox = _Outbox(self._tiles)
        outbox.put(messages.hello(self._hello, self._tiles))
        for subject in ("status", "desync", "turn"):
            if subject in self._latest:
                outbox.put(*self._latest[subject])
        self._outboxes.add(outbox)
        self.was_opened = True
        parts: list[Coroutine[None, None, object]] = [self._send(socket, outbox), self._listen(socket)]
        tasks = [asyncio.create_task(part) for part in (*parts, outbox.overrun.wait(), self._closing.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._outboxes.discard(outbox)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        refused = any(isinstance(result, msgspec.MsgspecError) for result in results)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):  # it closed first, or does not read
            await asyncio.wait_for(socket.close(POLICY_VIOLATION if refused else GOING_AWAY), CLOSE_SECONDS_MAX)

    async def _send(self, socket: WebSocket, outbox: _Outbox) -> None:
        while True:
            message, binary = await outbox.take()
            await socket.send_text(message)
            if binary is not None:
                await socket.send_bytes(binary)

    async def _listen(self, socket: WebSocket) -> None:
        while True:
            self._on_ask(messages.ask(await socket.receive_text()))
