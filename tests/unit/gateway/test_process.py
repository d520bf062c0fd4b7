"""`rsm gateway` as a process: how it starts and ends, that it keeps nothing, and what slow or silent peers cost it."""

from __future__ import annotations

import asyncio
import contextlib
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
async def listening() -> AsyncIterator[tuple[str, int]]:
    """An application with nothing in it, served as the gateway is; its address."""
    with serving.bind("127.0.0.1", 0) as listener:
        server = uvicorn.Server(serving.configured(Starlette()))
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
            with contextlib.suppress(ConnectionResetError):
                async with asyncio.timeout(5):
                    while await peer.reader.read(4096):
                        pass

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

        headers = [(b"content-type", b"application/json")]
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
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
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
    """504, and what to do about it."""

    async def run() -> None:
        application = rsm.gateway.app(stage.Shop, served.node, timeout_seconds=0.3)
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            answer = await client.get("/queries/note_of", params={"args": '["a"]', "at_least": 10**15})
            assert answer.status_code == 504
            assert answer.json()["type"] == "urn:rsm:problem:outcome-unknown"
        await application.state.connection.close()

    asyncio.run(run())


def test_routes_beside_it(served: Served) -> None:
    """An application's own routes come first, and use the same client."""
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def front(request: Request) -> PlainTextResponse:
        client = await request.app.state.connection.client()
        return PlainTextResponse(str(await client.note_of.send("nobody's")))

    async def run() -> None:
        application = rsm.gateway.app(stage.Shop, served.node, routes=[Route("/", front)])
        async with application.router.lifespan_context(application):
            transport = httpx.ASGITransport(app=application)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                assert (await client.get("/")).text == "None"
                assert (await client.post("/commands/note", json=["own", "b"])).status_code == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--listen", "127.0.0.1:0", "--timeout", "0.2", "127.0.0.1:1"], 3, "127.0.0.1:1: nobody listens there"),
        (["--listen", "0.0.0.0:0", "127.0.0.1:1"], 2, "can be reached by other machines"),
        (["--listen", "8080", "127.0.0.1:1"], 2, "is not an address"),
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
