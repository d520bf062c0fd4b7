"""The status port: what each page says, and that nothing a stranger sends harms it. Real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

import rsm
from rsm.client.tool import Access, ToolConnection
from rsm.errors import CallerError
from rsm.limits import CLIENT_TIMEOUT_SECONDS, WEB_CONNECTIONS_MAX, WEB_HEAD_BYTES_MAX, WEB_SECONDS_MAX
from rsm.node.serving import web
from rsm.node.serving.web import WebServer, reply_to
from rsm.node.status import NodeStatus
from rsm.node.telemetry import Metrics
from tests.machines import Bank
from tests.unit.node.test_telemetry import STATUS

FOLLOWER = msgspec.structs.replace(
    STATUS, role="follower", leader_id=1, leader_address="a:2", ready_index=90, applied_index=98, peers=()
)


def page(path: str, status: NodeStatus = STATUS) -> tuple[int, dict[str, Any]]:
    """Code and document of a page."""
    _, reply = reply_to(f"GET {path} HTTP/1.1\r\nHost: x".encode(), lambda: status, None)
    return reply.status.value, json.loads(reply.body) if reply.type == "application/json" else {}


def changed(**fields: Any) -> NodeStatus:
    return msgspec.structs.replace(FOLLOWER, **fields)


@pytest.mark.parametrize(
    ("path", "status", "code", "word"),
    [
        ("/health", FOLLOWER, 200, ""),
        ("/health", changed(leader_id=None), 200, ""),
        ("/health", changed(failure="the disk is full"), 503, "the disk is full"),
        ("/health", changed(role="stopped"), 503, "stopped"),
        ("/ready", FOLLOWER, 200, ""),
        ("/ready", changed(ready_index=0), 503, "has not heard a commit index"),
        ("/ready", changed(ready_index=99), 503, "applied up to 98 of 99"),
        ("/ready", changed(leader_id=None), 503, "knows of no leader"),
        ("/ready", changed(role="recovering"), 503, "recovering"),
        ("/ready", changed(standing="suspect", desync="suspect: root of 64 differs"), 503, "is suspect: root of 64"),
        ("/ready", changed(standing="quarantined", desync="x"), 503, "this node is quarantined: x"),
        ("/ready", changed(standing="out", desync="out: its code"), 503, "this node is out: its code"),
        ("/ready", changed(desync="the nodes' states differ at index 64, and no majority has the same one"), 200, ""),
        ("/health", changed(standing="out", desync="out: its code"), 200, ""),
        ("/ready", changed(failure="the disk is full"), 503, "the disk is full"),
        ("/leader", STATUS, 200, ""),
        ("/leader", FOLLOWER, 503, "a follower"),
        ("/replica?lag=2", FOLLOWER, 200, ""),
        ("/replica?lag=1", FOLLOWER, 503, "lags by 2 entries"),
        ("/replica", changed(applied_index=100), 200, ""),
        ("/replica", FOLLOWER, 503, "lags by 2"),
        ("/replica?lag=9", changed(leader_id=None), 503, "no leader"),
        ("/replica?lag=x", FOLLOWER, 400, ""),
        ("/replica?lag=-1", FOLLOWER, 400, ""),
        ("/replica?" + "&".join(["lag=1"] * 99), FOLLOWER, 400, ""),
        ("/nothing", FOLLOWER, 404, ""),
        ("/metrics", FOLLOWER, 404, ""),
    ],
)
def test_pages(path: str, status: NodeStatus, code: int, word: str) -> None:
    """Each page has the code that a load balancer acts on, and says why."""
    found, document = page(path, status)
    assert found == code
    assert word in document.get("reason", "")


def test_the_leader_is_named_everywhere() -> None:
    """A follower's /leader and front page say where the leader is."""
    _, document = page("/leader", FOLLOWER)
    assert (document["leader_id"], document["leader_address"]) == (1, "a:2")
    code, front = page("/", FOLLOWER)
    assert (code, front["role"], front["applied_index"], front["cluster_id"]) == (200, "follower", 98, "ab" * 16)
    assert "schema" not in front


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"GET / HTTP/1.1", 200),
        (b"HEAD / HTTP/1.0\r\nHost: x", 200),
        (b"POST / HTTP/1.1", 405),
        (b"GET / HTTP/2.0", 505),
        (b"GET http://x/ HTTP/1.1", 400),
        (b"GET /", 400),
        (b"", 400),
        (b"GET /\x00 HTTP/1.1", 400),
        (b"GET /\xff HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nnonsense", 400),
    ],
)
def test_requests_that_are_none(head: bytes, code: int) -> None:
    """What is no GET or HEAD gets the code that says so."""
    assert reply_to(head, lambda: STATUS, None)[1].status.value == code


def serve(scenario: Callable[[WebServer], Awaitable[None]], status: Callable[[], NodeStatus] = lambda: STATUS) -> None:
    """Run a scenario against a listening server, for at most twenty seconds."""

    async def run() -> None:
        server = WebServer(status, Metrics(status))
        await server.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(20):
                await scenario(server)
        finally:
            await server.close()

    asyncio.run(run())


async def ask(server: WebServer, data: bytes) -> bytes:
    """All that the server answers to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        await writer.drain()
        return await reader.read(-1)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def test_over_a_socket() -> None:
    """GET has a body of the length that it says, HEAD has the same head and none, metrics are there."""

    async def scenario(server: WebServer) -> None:
        head, _, body = (await ask(server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        assert json.loads(body) == {"ok": True, "reason": "", "standing": "well"}
        assert await ask(server, b"HEAD /health HTTP/1.1\r\n\r\n") == head + b"\r\n\r\n"
        assert b"\nrsm_term 7.0\n" in await ask(server, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert b"Allow: GET, HEAD" in await ask(server, b"POST /health HTTP/1.1\r\n\r\n{}")

    serve(scenario)


def test_a_head_without_end_is_refused() -> None:
    """More bytes than a head may have are answered with 431 and not kept."""

    async def scenario(server: WebServer) -> None:
        answer = await ask(server, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * (WEB_HEAD_BYTES_MAX // 3))
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert (await ask(server, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    serve(scenario)


def test_a_slow_request_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that does not come to its end within the time is dropped without an answer."""
    monkeypatch.setattr(web, "WEB_SECONDS_MAX", 0.1)

    async def scenario(server: WebServer) -> None:
        with contextlib.suppress(ConnectionResetError):
            assert await ask(server, b"GET / HT") == b""
        assert not server._open

    serve(scenario)


@pytest.mark.parametrize("start", [b"rw\x01\x01", b"\x16\x03\x01", b"\r\n\r\n"])
def test_what_is_not_http_is_answered_at_once(start: bytes) -> None:
    """A hello of another protocol has no end of a head: nobody waits for one."""

    async def scenario(server: WebServer) -> None:
        assert (await ask(server, start)).startswith(b"HTTP/1.1 400 ")

    began = time.monotonic()
    serve(scenario)
    assert time.monotonic() - began < WEB_SECONDS_MAX / 2


def test_clients_of_the_machine_are_told_which_port_is_theirs() -> None:
    """Whichever way they come, and long before their time is over."""

    async def scenario(server: WebServer) -> None:
        address = f"127.0.0.1:{server.port}"
        ways: list[Callable[[], object]] = [
            lambda: rsm.connect(Bank, address),
            lambda: rsm.observe(Bank, address),
            lambda: ToolConnection(address, Access((address,))),
        ]
        for way in ways:
            began = time.monotonic()
            with pytest.raises(rsm.RsmError, match=rf"{address}: .*HTTP.*\(`web_listen`\).*\(`client_listen`\)"):
                await asyncio.to_thread(way)
            assert time.monotonic() - began < CLIENT_TIMEOUT_SECONDS / 3

    serve(scenario)


def test_a_flood_shuts_nobody_out() -> None:
    """With more connections than there is room for the oldest is dropped, and a request is answered all the same."""

    async def scenario(server: WebServer) -> None:
        opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(WEB_CONNECTIONS_MAX + 20)]
        assert (await ask(server, b"GET /ready HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 ")
        assert len(server._open) <= WEB_CONNECTIONS_MAX
        with contextlib.suppress(ConnectionResetError):
            assert await opened[0][0].read(1) == b""
        for _, writer in opened:
            writer.close()

    serve(scenario)


def test_a_page_that_fails_is_an_internal_error() -> None:
    """A status that cannot be had is 500, and the next request is served."""
    answers: list[NodeStatus | None] = [None, STATUS]

    def status() -> NodeStatus:
        found = answers.pop(0)
        if found is None:
            raise ValueError("surprise")
        return found

    async def scenario(server: WebServer) -> None:
        answer = await ask(server, b"GET /health HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"surprise" not in answer
        assert (await ask(server, b"GET /health HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")

    serve(scenario, status)


def test_a_port_in_use_is_named() -> None:
    """Listening where somebody listens is a caller's mistake in one line."""

    async def scenario(server: WebServer) -> None:
        with pytest.raises(CallerError, match=rf"127.0.0.1:{server.port}: cannot listen for HTTP: Address already"):
            await WebServer(lambda: STATUS).start("127.0.0.1", server.port)

    serve(scenario)


def test_closing_drops_what_is_open() -> None:
    """A server closes at once, whatever is connected."""

    async def scenario(server: WebServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.sleep(0.05)
        await asyncio.wait_for(server.close(), 2)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read(1) == b""
        writer.close()

    serve(scenario)
