"""Commands, pipelines and queries over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rsm.client.pipeline import index_of, result
from rsm.errors import InvalidCommand, SessionExpired
from rsm.gateway.arguments import Forms, Step, parse_arguments, parse_steps
from rsm.gateway.connecting import Connection
from rsm.gateway.problems import Problem, problem_of
from rsm.gateway.shapes import shown
from rsm.limits import (
    GATEWAY_BODIES_BYTES_MAX,
    GATEWAY_BODY_BYTES_MAX,
    GATEWAY_BODY_SECONDS_MAX,
    GATEWAY_RETRY_SECONDS,
    GATEWAY_STREAM_ITEMS,
    GATEWAY_STREAMS_MAX,
)

__all__ = ["Requests", "wants_strings"]

T = TypeVar("T")
JSON: Final = "application/json"
KEY: Final = "Idempotency-Key"
LEVELS: Final = ("linearizable", "session", "stale")


class Requests:
    """The endpoints."""

    def __init__(self, forms: Forms, connection: Connection) -> None:
        self._forms = forms
        self._connection = connection
        self._bodies = Bodies()
        self._streams = 0

    async def command(self, request: Request) -> Response:
        """`POST /commands/{name}`."""
        name = request.path_params["name"]
        found = self._forms.command(name)
        key, strings = key_of(request.headers), wants_strings(request.query_params)
        values = found.form.read(parse_arguments(await self._bodies.read(request)), strings=strings)
        client = await self._connection.client()

        async def send() -> tuple[int, Any]:
            view = client if key is None else client.once(key)
            pending = getattr(view, found.method).send(*values)
            value = await pending
            return pending.index, value

        index, value = await self._in_time(name, send(), None if key is None else send)
        return answer({"index": index, "result": shown(value, strings=strings)})

    async def pipeline(self, request: Request) -> Response:
        """`POST /pipeline`: all steps or none, in one round trip."""
        key, strings = key_of(request.headers), wants_strings(request.query_params)
        steps = parse_steps(await self._bodies.read(request))
        client = await self._connection.client()

        async def send() -> tuple[int, list[Any]]:
            scope = (client if key is None else client.once(key)).pipeline()
            async with scope as pipeline:
                pending = self._collect(pipeline, steps, strings=strings)
            return index_of(scope), [result(one) for one in pending]

        index, values = await self._in_time("pipeline", send(), None if key is None else send)
        return answer({"index": index, "results": [shown(value, strings=strings) for value in values]})

    def _collect(self, pipeline: Any, steps: list[Step], *, strings: bool) -> list[Any]:
        pending: list[Any] = []
        known: dict[str | int, Any] = {}
        for number, step in enumerate(steps):
            try:
                found = self._forms.command(step.command)
                named = found.form.named(step.arguments)
                values = {name: found.form.refers(name, raw, known, strings=strings) for name, raw in named.items()}
                one = getattr(pipeline, found.method)(**values)
            except Problem as problem:
                problem.more["step"] = number
                raise
            except InvalidCommand as error:
                raise Problem("invalid", f"step {number}: {error}", field=error.field, step=number) from None
            pending.append(one)
            known[number] = one
            if step.name is not None:
                known[step.name] = one
        return pending

    async def query(self, request: Request) -> Response:
        """`GET /queries/{name}?args=JSON&read=LEVEL&at_least=INDEX`."""
        name = request.path_params["name"]
        found = self._forms.query(name)
        strings = wants_strings(request.query_params)
        values = found.form.read(parse_arguments(request.query_params.get("args", "").encode()), strings=strings)
        view = reading(await self._connection.client(), request.query_params)
        try:
            if found.spec.is_stream:
                return await self._stream(getattr(view, name), values, strings=strings)
            pending = getattr(view, name).send(*values)
            value = await self._in_time(name, pending, is_query=True)
        except Exception as error:
            raise problem_of(error, is_query=True) from error
        return answer({"index": pending.index, "result": shown(value, strings=strings)})

    async def _stream(self, query: Any, values: list[Any], *, strings: bool) -> Response:
        """Items as they come, in one array; who reads slowly holds nobody up."""
        if self._streams >= GATEWAY_STREAMS_MAX:
            what = f"{GATEWAY_STREAMS_MAX} streams are on their way"
            raise Problem("busy", what, retry_seconds=GATEWAY_RETRY_SECONDS)

        def first() -> tuple[Iterator[Any], list[Any]]:
            items = iter(query(*values))
            return items, list(islice(items, GATEWAY_STREAM_ITEMS))

        def ended() -> None:
            self._streams -= 1

        self._streams += 1
        try:
            # In a thread, as all that follows: it waits for the node. What is wrong shows before anything was answered.
            items, begin = await asyncio.to_thread(first)
        except BaseException:
            ended()
            raise

        def parts(items: Iterator[Any], taken: list[Any]) -> Generator[bytes]:
            yield b'{"result":['
            comma = b""
            while taken:
                yield comma + msgspec.json.encode([shown(item, strings=strings) for item in taken])[1:-1]
                taken, comma = list(islice(items, GATEWAY_STREAM_ITEMS)), b","
            yield b"]}"

        return Streamed(parts(items, begin), ended)

    async def _in_time(self, what: str, answer: Awaitable[T], again: Any = None, *, is_query: bool = False) -> T:
        """Wait for an answer, as long as the client would. `again` repeats what has a key, once.

        Its session may have ended while the gateway was cut off; under a key the new one gets the answer that was
        given, if there was one.
        """
        try:
            async with asyncio.timeout(self._connection.timeout_seconds):
                try:
                    return await answer
                except SessionExpired:
                    if again is None:
                        raise
                    repeated: T = await again()
                    return repeated
        except TimeoutError:
            seconds = self._connection.timeout_seconds
            rest = "" if is_query else "; it may still take effect"
            raise TimeoutError(f"{what}: no answer within {seconds:g} s{rest}") from None


class Streamed(StreamingResponse):
    """An answer that comes in parts; `ended` is called when there are no more, or nobody takes them."""

    def __init__(self, parts: Generator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(parts, media_type=JSON, headers={"Cache-Control": "no-store"})
        self._parts = parts
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._parts.close()  # the node ends the stream when its items are dropped, and not when they are collected
            self._ended()


# --- what requests have in common -------------------------------------------------------------------------------------


def answer(document: dict[str, Any]) -> Response:
    """200, and not to be kept: it is of this moment."""
    return Response(msgspec.json.encode(document), media_type=JSON, headers={"Cache-Control": "no-store"})


def key_of(headers: Headers) -> str | None:
    """The idempotency key; it may stand in quotes, as the draft of its RFC has it."""
    keys = headers.getlist(KEY)
    if not keys:
        return None
    if len(keys) > 1:
        raise Problem("bad-request", f"{KEY} is given {len(keys)} times", field=KEY)
    key = keys[0]
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key or not key.isascii() or not key.isprintable():
        raise Problem("bad-request", f"{KEY} is a text of printable ASCII", field=KEY)
    return key


def wants_strings(parameters: QueryParams) -> bool:
    """`?strings=1`: integers that JavaScript cannot hold are text, both ways."""
    given = parameters.get("strings", "0")
    if given not in ("0", "1"):
        raise Problem("bad-request", "strings is 0 or 1", field="strings")
    return given == "1"


def reading(client: Any, parameters: QueryParams) -> Any:
    """The client with the level of reading that the request asks for."""
    level, at_least = parameters.get("read"), parameters.get("at_least")
    if at_least is not None:
        if level is not None or not (at_least.isascii() and at_least.isdecimal() and len(at_least) < 19):
            raise Problem("bad-request", "give read or at_least, which is an index of the log", field="at_least")
        return client.reading(at_least=int(at_least))
    if level is None:
        return client
    if level not in LEVELS:
        raise Problem("bad-request", f"read is one of {', '.join(LEVELS)}", field="read")
    return client.reading(level)


class Bodies:
    """Reads the bodies of requests, bounded in bytes and in time, each and all together."""

    def __init__(self) -> None:
        self._bytes = 0  # of those that are still coming in

    async def read(self, request: Request) -> bytes:
        """One of them; a `Problem` for one that is too large, too slow, or no JSON."""
        # A page elsewhere can send forms and texts without asking, but not this.
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != JSON:
            raise Problem("not-json", f"send the body with Content-Type: {JSON}")
        length = request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length[:20]) > GATEWAY_BODY_BYTES_MAX:
            raise _too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(GATEWAY_BODY_SECONDS_MAX):
                async for part in request.stream():
                    body += part
                    self._bytes += len(part)
                    if len(body) > GATEWAY_BODY_BYTES_MAX:
                        raise _too_large()
                    if self._bytes > GATEWAY_BODIES_BYTES_MAX:
                        raise Problem("busy", "too many bodies come in at once", retry_seconds=GATEWAY_RETRY_SECONDS)
        except TimeoutError:
            raise Problem("too-slow", f"the body did not come within {GATEWAY_BODY_SECONDS_MAX:g} s") from None
        except ClientDisconnect:
            raise Problem("bad-request", "the body ends early") from None
        finally:
            self._bytes -= len(body)
        return bytes(body)


def _too_large() -> Problem:
    return Problem("too-large", f"a body has at most {GATEWAY_BODY_BYTES_MAX} bytes")
