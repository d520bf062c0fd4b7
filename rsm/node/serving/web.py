"""The status port: a few pages over HTTP/1.1, for load balancers, scrapers and people.

Everything about it is small on purpose. It answers GET and HEAD, one request a connection; the head is bounded in bytes
and time, and so is the number of connections: of too many the oldest goes, so that a flood cannot shut out a scraper.
It shares the node's event loop, so that an answer is itself the proof that the loop runs. It changes nothing, and shows
nothing of the state, so it has no TLS; let it listen where scrapers may come.
"""

from __future__ import annotations

import asyncio
import os
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec

from rsm.errors import CallerError
from rsm.limits import WEB_CONNECTIONS_MAX, WEB_HEAD_BYTES_MAX, WEB_SECONDS_MAX
from rsm.node.log import describe, logger
from rsm.node.network.frame_parser import MAGIC_BYTES
from rsm.node.status import NodeStatus, StatusSource, ill_health, unreadiness
from rsm.node.telemetry import Metrics

__all__ = ["Reply", "WebServer", "reply_to"]

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
# What a client of the machine says first, that of one with TLS, and an empty line: no end of a head will come.
NOT_HTTP: Final = (MAGIC_BYTES, b"\x16\x03", b"\r\n")
METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


class Reply(NamedTuple):
    """An answer: status, type and body."""

    status: HTTPStatus
    type: str
    body: bytes


class Refused(Exception):
    """A request that is none; the answer that it gets."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.reply = Reply(status, TEXT, f"{text}\n".encode())


# --- what is answered (no I/O) ----------------------------------------------------------------------------------------


def reply_to(head: bytes, status: StatusSource, metrics: Metrics | None) -> tuple[str, Reply]:
    """The method and the answer to the head of a request."""
    try:
        method, target = _parse(head)
    except Refused as refused:
        return "GET", refused.reply
    try:
        path, _, query = target.partition("?")
        page = PAGES.get(path)
        if path == "/metrics" and metrics is not None:
            return method, Reply(HTTPStatus.OK, METRICS, metrics.render())
        if page is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"there are {', '.join(sorted([*PAGES, '/metrics']))}")
        return method, page(status(), _fields(query))
    except Refused as refused:
        return method, refused.reply


def _parse(head: bytes) -> tuple[str, str]:
    try:
        line, _, fields = head.decode("ascii").partition("\r\n")
    except UnicodeDecodeError:
        raise Refused(HTTPStatus.BAD_REQUEST, "the request is not ASCII") from None
    words = line.split(" ")
    if len(words) != 3 or not words[1].startswith("/") or not line.isprintable():
        raise Refused(HTTPStatus.BAD_REQUEST, "not an HTTP request")
    method, target, protocol = words
    if protocol not in ("HTTP/1.1", "HTTP/1.0"):
        raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is spoken here")
    if method not in ("GET", "HEAD"):
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD only")
    if any(field and ":" not in field for field in fields.split("\r\n")):
        raise Refused(HTTPStatus.BAD_REQUEST, "a header field has no colon")
    return method, target


def _fields(query: str) -> dict[str, list[str]]:
    try:
        return urllib.parse.parse_qs(query, max_num_fields=16)
    except ValueError:
        raise Refused(HTTPStatus.BAD_REQUEST, "the query cannot be read") from None


def _json(status: HTTPStatus, document: dict[str, Any]) -> Reply:
    return Reply(status, JSON, msgspec.json.encode(document) + b"\n")


def _verdict(reason: str, **more: Any) -> Reply:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
    return _json(status, {"ok": not reason, "reason": reason, **more})


def _front(status: NodeStatus, _: dict[str, list[str]]) -> Reply:
    document = msgspec.to_builtins(status)
    del document["schema"]
    return _json(HTTPStatus.OK, document)


def _health(status: NodeStatus, _: dict[str, list[str]]) -> Reply:
    return _verdict(ill_health(status), standing=status.standing)


def _ready(status: NodeStatus, _: dict[str, list[str]]) -> Reply:
    indexes = {"applied_index": status.applied_index, "ready_index": status.ready_index}
    return _verdict(unreadiness(status), standing=status.standing, **indexes)


def _leader(status: NodeStatus, _: dict[str, list[str]]) -> Reply:
    reason = "" if status.role == "leader" else f"the node is a {status.role}"
    return _verdict(reason, leader_id=status.leader_id, leader_address=status.leader_address)


def _replica(status: NodeStatus, query: dict[str, list[str]]) -> Reply:
    words = query.get("lag", ["0"])
    if len(words) != 1 or not (words[0].isascii() and words[0].isdecimal() and len(words[0]) <= 18):
        raise Refused(HTTPStatus.BAD_REQUEST, "lag is a number of entries, such as /replica?lag=100")
    lag, lag_max = status.lag_entries, int(words[0])
    reason = unreadiness(status)
    if not reason and lag > lag_max:
        reason = f"it lags by {lag} entries"
    return _verdict(reason, lag_entries=lag, applied_index=status.applied_index, commit_index=status.commit_index)


PAGES: Final[dict[str, Callable[[NodeStatus, dict[str, list[str]]], Reply]]] = {
    "/": _front,
    "/health": _health,
    "/ready": _ready,
    "/leader": _leader,
    "/replica": _replica,
}


# --- the server -------------------------------------------------------------------------------------------------------


class WebServer:
    """Serves the pages on the running loop: `start`, then `close`."""

    def __init__(self, status: StatusSource, metrics: Metrics | None = None) -> None:
        self.port = 0
        self._status = status
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], None] = {}  # the oldest first

    async def start(self, host: str, port: int) -> None:
        """Listen; with port 0, `port` says which one it became. `CallerError` if the address cannot be had."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=WEB_HEAD_BYTES_MAX)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CallerError(f"{host}:{port}: cannot listen for HTTP: {reason}") from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop what is connected."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        if len(self._open) >= WEB_CONNECTIONS_MAX:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        self._open[task] = None
        try:
            async with asyncio.timeout(2 * WEB_SECONDS_MAX):
                await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            writer.transport.abort()  # it came to nothing; there is nobody to tell
        except asyncio.CancelledError:
            writer.transport.abort()  # the server closes, or has too many
        finally:
            self._open.pop(task, None)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(WEB_SECONDS_MAX):
                start = await reader.readexactly(2)
                head = b"" if start in NOT_HTTP else start + await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            text = f"a head of more than {WEB_HEAD_BYTES_MAX} bytes"
            method, reply = "GET", Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text).reply
        else:
            method, reply = self._reply(head.removesuffix(b"\r\n\r\n"))
        writer.write(_encode(method, reply))
        writer.write_eof()
        await writer.drain()
        # Were the connection closed with bytes unread, the kernel would reset it, and the answer could be lost.
        unread = 0
        while unread <= 8 * WEB_HEAD_BYTES_MAX and (data := await reader.read(WEB_HEAD_BYTES_MAX)):
            unread += len(data)

    def _reply(self, head: bytes) -> tuple[str, Reply]:
        try:
            return reply_to(head, self._status, self._metrics)
        except Exception as error:
            logger.error("a page of the status port failed", error=describe(error), exc_info=error)
            return "GET", Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: see the log").reply


def _encode(method: str, reply: Reply) -> bytes:
    allow = "Allow: GET, HEAD\r\n" if reply.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}\r\n"
        f"Content-Type: {reply.type}\r\n"
        f"Content-Length: {len(reply.body)}\r\n"
        f"Cache-Control: no-store\r\n"
        f"{allow}Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else reply.body)
