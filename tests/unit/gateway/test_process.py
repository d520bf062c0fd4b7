"""`rsm gateway` as a process: how it starts and ends, that it keeps nothing, and what slow or silent peers cost it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import rsm.gateway
from rsm.gateway import serving
from tests.document_reader import PROGRAM
from tests.documents import ROOT
from tests.unit.gateway import stage
from tests.unit.gateway.conftest import Served

pytestmark = pytest.mark.xdist_group("gateway")


def test_a_restart_changes_nothing_for_who_repeats(served: Served, tmp_path: Path) -> None:
    """The same POST with the same key to another gateway process has the first answer, and one effect."""
    name, headers = f"n{uuid4().hex}", {"Idempotency-Key": uuid4().hex}
    results = []
    for _ in range(2):
        with stage.gateway(tmp_path, served.node) as (program, url):
            answer = httpx.post(f"{url}/commands/note", json=[name, "abc"], headers=headers, timeout=30)
            results.append(answer.json()["result"])
            assert program.end(signal.SIGKILL) == -signal.SIGKILL
    assert results == [3, 3]
    read = served.http.get("/queries/note_of", params={"args": json.dumps([name])})
    assert read.json()["result"] == "abc"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_good_order(served: Served, tmp_path: Path, number: signal.Signals) -> None:
    """What was asked is answered, browsers are told, and the exit code is 0."""
    with stage.gateway(tmp_path, served.node) as (program, url):
        answers: list[int] = []

        def ask(client: httpx.Client) -> None:
            steps = [{"command": "note", "arguments": [f"n{uuid4().hex}", "x" * 2000]} for _ in range(200)]
            answers.append(client.post("/pipeline", json=steps).status_code)

        with (
            httpx.Client(base_url=url, timeout=30) as client,
            connect(url.replace("http", "ws", 1) + "/feed") as browser,
        ):
            json.loads(browser.recv(timeout=20))
            asking = threading.Thread(target=ask, args=[client])
            asking.start()
            time.sleep(0.05)
            began = time.monotonic()
            assert program.end(number) == 0
            assert time.monotonic() - began < 10
            asking.join()
            assert answers == [200]
            with contextlib.suppress(ConnectionClosed):
                for _ in browser:
                    pass
            assert browser.close_code == 1012  # "service restart": come again
        assert program.lines[-1] == "the gateway has stopped\n"
        assert not any("Traceback" in line for line in program.lines)


def test_a_browser_that_does_not_read_costs_nobody_else_anything(served: Served) -> None:
    """Others get every event; the slow one is skipped forward, and then goes on."""
    url = served.url.replace("http", "ws", 1) + "/feed"
    with (
        connect(url, max_queue=1, max_size=None, close_timeout=1) as slow,
        connect(url, max_queue=None, max_size=None, close_timeout=1) as live,
    ):
        live.recv(timeout=20)
        slow.recv(timeout=20)
        indexes = [
            served.http.post("/commands/note", json=[f"n{uuid4().hex}", "x" * 400_000]).json()["index"]
            for _ in range(40)
        ]
        found: list[int] = []
        while not found or found[-1] < indexes[-1]:
            message = json.loads(live.recv(timeout=20))
            assert message["type"] in ("events", "alive")
            found += [event["index"] for event in message.get("events", [])]
        assert [index for index in found if index in indexes] == indexes
        kinds: list[str] = []
        seen = 0
        while seen < indexes[-1]:
            message = json.loads(slow.recv(timeout=20))
            kinds.append(message["type"])
            if message["type"] == "skip":
                break
            seen = message.get("index", seen)
        assert "skip" in kinds
        last = served.http.post("/commands/note", json=[f"n{uuid4().hex}", "x"]).json()["index"]
        while seen < last:
            seen = json.loads(slow.recv(timeout=20)).get("index", seen)


@contextlib.asynccontextmanager
async def listening(*routes: BaseRoute) -> AsyncIterator[tuple[str, int]]:
    """An application with nothing but these routes in it, served as the gateway is; its address."""
    with serving.bind("127.0.0.1", 0) as listener:
        server = uvicorn.Server(serving.configured(Starlette(routes=routes)))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            await task


class Peer:
    """A raw connection."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address

    async def __aenter__(self) -> Peer:
        self.reader, self.writer = await asyncio.open_connection(*self.address)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def is_cut_off(self) -> bool:
        """Whether the other side ends it soon, whatever it sends before."""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            async with asyncio.timeout(10):
                while await self.reader.read(65536):
                    pass
        return True

    async def is_served(self) -> bool:
        """Whether it gets an answer to a request."""
        try:
            self.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(5):
                return (await self.reader.read(12)).startswith(b"HTTP/1.1")
        except ConnectionError:
            return False


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_who_does_not_finish_is_cut_off(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that says nothing, or only part of a head, is closed soon."""
    monkeypatch.setattr(serving, "GATEWAY_BODY_SECONDS_MAX", 0.2)

    async def run() -> None:
        async with listening() as address, Peer(address) as peer:
            peer.writer.write(said)
            assert await peer.is_cut_off()

    asyncio.run(run())


def test_a_body_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was answered already, and goes on with a part of the body, is cut off soon."""
    monkeypatch.setattr(serving, "GATEWAY_BODY_SECONDS_MAX", 0.2)

    async def run() -> None:
        async with listening() as address, Peer(address) as peer:
            peer.writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nx")
            assert (await peer.reader.readline()).startswith(b"HTTP/1.1 404")
            peer.writer.write(b"x")
            assert await peer.is_cut_off()

    asyncio.run(run())


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


async def endless(websocket: WebSocket) -> None:
    """Sends for ever."""
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await websocket.send_text("x" * 65536)


async def silent(websocket: WebSocket) -> None:
    """Waits for messages."""
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.receive_text()


def much(_: Request) -> StreamingResponse:
    """An answer without end."""
    return StreamingResponse(b"x" * 65536 for _ in itertools.count())


@pytest.mark.parametrize(
    ("route", "said"),
    [(WebSocketRoute("/ws", endless), HANDSHAKE), (Route("/", much), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
)
def test_who_takes_nothing_is_cut_off(route: BaseRoute, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been written and is not read holds a connection for a while, and no longer."""
    monkeypatch.setattr(serving, "GATEWAY_SEND_SECONDS_MAX", 0.3)
    lost: list[object] = []
    connection_lost = serving.Flowing.connection_lost

    def noted(self: serving.Flowing, error: Exception | None) -> None:
        lost.append(self)
        connection_lost(self, error)

    monkeypatch.setattr(serving.Flowing, "connection_lost", noted)

    async def run() -> None:
        async with listening(route) as address:
            with socket.create_connection(address) as peer:
                peer.sendall(said)
                async with asyncio.timeout(20):
                    while not lost:
                        await asyncio.sleep(0.05)

    asyncio.run(run())


def test_pings_of_who_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their answers are not kept: no more than what was on its way waits for it."""
    waiting: list[int] = []
    handle_ping = serving.SocketProtocol.handle_ping

    def watched(self: serving.SocketProtocol) -> None:
        handle_ping(self)
        waiting.append(self.transport.get_write_buffer_size())

    monkeypatch.setattr(serving.SocketProtocol, "handle_ping", watched)
    ping = b"\x89\xfd\0\0\0\0" + bytes(125)

    async def run() -> None:
        async with listening(WebSocketRoute("/ws", endless)) as address:
            with socket.create_connection(address) as peer:
                peer.setblocking(False)
                peer.sendall(HANDSHAKE)
                await asyncio.sleep(0.2)
                for _ in range(100):
                    with contextlib.suppress(BlockingIOError):
                        peer.send(ping * 100)
                    await asyncio.sleep(0.005)

    asyncio.run(run())
    assert len(waiting) > 1000
    assert waiting[-1] <= waiting[0] + 65536 + 1000


def test_frames_without_end() -> None:
    """A message of empty frames ends the connection, though it has no bytes."""

    async def run() -> None:
        async with listening(WebSocketRoute("/ws", silent)) as address, Peer(address) as peer:
            peer.writer.write(HANDSHAKE)
            await peer.reader.readuntil(b"\r\n\r\n")
            peer.writer.write(b"\x01\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 1000)
            assert await peer.reader.readexactly(4) == b"\x88\x02" + (1009).to_bytes(2, "big")
            assert await peer.is_cut_off()

    asyncio.run(run())


def test_bodies_are_bounded_together(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 for one that would be too much with those that come in at the same time; later there is room again."""
    monkeypatch.setattr("rsm.gateway.requests.GATEWAY_BODIES_BYTES_MAX", 1000)
    monkeypatch.setattr("rsm.gateway.requests.GATEWAY_BODY_SECONDS_MAX", 0.5)

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 800
        await asyncio.sleep(0.3)

    async def run() -> None:
        application = rsm.gateway.app(stage.Shop, served.node)
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"Content-Type": "application/json"}
            first = asyncio.create_task(client.post("/commands/note", content=slow(), headers=headers))
            await asyncio.sleep(0.1)
            answer = await client.post("/commands/note", json=["name", "x" * 300])
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert (await first).status_code == 400
            answer = await client.post("/commands/note", json=["name", "x" * 800])
            assert answer.status_code == 200
        await application.state.connection.close()

    asyncio.run(run())


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is closed at once; when another has gone there is room again."""
    monkeypatch.setattr(serving, "GATEWAY_CONNECTIONS_MAX", 2)

    async def run() -> None:
        async with listening() as address, Peer(address) as held:
            async with Peer(address) as other, Peer(address) as third:
                assert await held.is_served()
                assert await other.is_served()
                assert not await third.is_served()
            await asyncio.sleep(0.05)
            async with Peer(address) as fourth:
                assert await fourth.is_served()

    asyncio.run(run())


def test_a_body_that_does_not_come(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """408, after the time that a body may take; what has come of it makes no command."""
    monkeypatch.setattr("rsm.gateway.requests.GATEWAY_BODY_SECONDS_MAX", 0.05)

    async def receive_nothing() -> dict[str, object]:
        await asyncio.sleep(10)
        raise AssertionError("nobody waits so long")

    async def run() -> None:
        application = rsm.gateway.app(stage.Shop, served.node)
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/commands/note", "query_string": b"", "headers": headers}
        await application(scope, receive_nothing, send)
        assert sent[0]["status"] == 408

    asyncio.run(run())


def test_a_cluster_that_cannot_be_reached() -> None:
    """503 with a time to come back, until it can; nothing but arguments is looked at before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"

    async def run() -> None:
        application = rsm.gateway.app(stage.Shop, nobody, timeout_seconds=0.2)
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/commands/note", json=["a", "b"])
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["type"] == "urn:rsm:problem:unavailable"
            assert (await client.post("/commands/note", json=["a"])).status_code == 422
            began = time.monotonic()
            many = await asyncio.gather(*(client.post("/commands/note", json=["a", "b"]) for _ in range(20)))
            assert {one.status_code for one in many} == {503}
            assert time.monotonic() - began < 20 * 0.2  # they wait for one attempt, not each for its own
            assert (await client.get("/openapi.json")).status_code == 200
        await application.state.connection.close()

    asyncio.run(run())


def test_an_answer_that_does_not_come_in_time(served: Served) -> None:
    """504; a query has no effect that could be unknown."""

    async def run() -> None:
        application = rsm.gateway.app(stage.Shop, served.node, timeout_seconds=0.3)
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.get("/queries/note_of", params={"args": '["a"]', "at_least": 10**15})
            assert answer.status_code == 504
            assert answer.json()["type"] == "urn:rsm:problem:no-answer"
        await application.state.connection.close()

    asyncio.run(run())


def test_routes_beside_it(served: Served) -> None:
    """An application's own routes come first, and use the same client."""
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def front(request: Request) -> PlainTextResponse:
        client = await request.app.state.connection.client()
        return PlainTextResponse(str(await client.note_of.send("nobody's")))

    async def run() -> None:
        application = rsm.gateway.app(stage.Shop, served.node, routes=[Route("/", front)])
        async with application.router.lifespan_context(application):
            transport = httpx.ASGITransport(app=application)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                assert (await client.get("/")).text == "None"
                assert (await client.post("/commands/note", json=["own", "b"])).status_code == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--listen", "127.0.0.1:0", "--timeout", "0.2", "127.0.0.1:1"], 3, "127.0.0.1:1: nobody listens there"),
        (["--listen", "0.0.0.0:0", "127.0.0.1:1"], 2, "can be reached by other machines"),
        (["--listen", "8080", "127.0.0.1:1"], 2, "is not an address"),
        (
            ["--listen", "127.0.0.1:0", "--host", "https://a.org", "127.0.0.1:1"],
            2,
            "'https://a.org' is not the name",
        ),
    ],
)
def test_what_keeps_it_from_starting(words: list[str], code: int, said: str, tmp_path: Path) -> None:
    """One line, and the exit code that it has everywhere."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, "gateway", "--machine", stage.MACHINE, *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
