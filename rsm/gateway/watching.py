"""`/watch`: the result of a query, at once and whenever it has changed. Who watches the same shares one request.

Only the newest result counts: what a slow browser has not taken when the next one comes is replaced by that.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket

from rsm.gateway.arguments import Forms, QueryForm, parse_arguments
from rsm.gateway.connecting import Connection
from rsm.gateway.problems import Problem, problem_of
from rsm.gateway.requests import wants_strings
from rsm.gateway.shapes import shown
from rsm.gateway.sockets import ERROR, Browser, Sockets, message
from rsm.limits import GATEWAY_RETRY_SECONDS, GATEWAY_WATCHES_MAX
from rsm.node.log import describe, logger

__all__ = ["Watching"]

# The name of a query and its values, encoded.
Key = tuple[str, bytes]
# What may be over soon.
PASSING: Final = ("busy", "unavailable", "no-answer")


class Watch:
    """One query with its values, and who watches it."""

    def __init__(self) -> None:
        self.browsers: dict[Browser, bool] = {}  # whether large integers are text
        self.latest: tuple[int, Any] | None = None
        self.task: asyncio.Task[None] | None = None

    def text(self, *, strings: bool) -> str:
        """The message with the newest result."""
        index, value = self.latest or (0, None)
        return message("value", index=index, value=shown(value, strings=strings))

    def changed(self, index: int, value: Any) -> None:
        """There is another result."""
        self.latest = index, value
        texts: dict[bool, str] = {}
        for browser, strings in self.browsers.items():
            if strings not in texts:
                texts[strings] = self.text(strings=strings)
            browser.put_only(texts[strings])


class Watching:
    """All that is watched."""

    def __init__(self, forms: Forms, connection: Connection, sockets: Sockets) -> None:
        self._forms = forms
        self._connection = connection
        self._sockets = sockets
        self._watches: dict[Key, Watch] = {}

    async def serve(self, websocket: WebSocket) -> None:
        """`WS /watch?query=NAME&args=JSON`."""
        async with self._sockets.admitted(websocket) as browser:
            parameters = websocket.query_params
            name, strings = parameters.get("query", ""), wants_strings(parameters)
            found = self._forms.query(name)
            if found.spec.is_stream:
                raise Problem("bad-request", f"{name} is a stream: watch a query with one result", field="query")
            values = found.form.read(parse_arguments(parameters.get("args", "").encode()), strings=strings)
            key = name, msgspec.msgpack.encode(values)
            if key not in self._watches and len(self._watches) >= GATEWAY_WATCHES_MAX:
                raise Problem("busy", f"{GATEWAY_WATCHES_MAX} queries are watched", retry_seconds=GATEWAY_RETRY_SECONDS)
            watch = self._watches.setdefault(key, Watch())
            watch.browsers[browser] = strings
            try:
                await websocket.accept()
                if watch.task is None:
                    watch.task = asyncio.create_task(self._follow(key, watch, found, values))
                elif watch.latest is not None:
                    browser.put_only(watch.text(strings=strings))
                await browser.serve()
            finally:
                del watch.browsers[browser]
                if not watch.browsers:
                    self._forget(key, watch)
                    await _stop(watch)

    async def close(self) -> None:
        """End all watches; who watches is sent away by the server."""
        for watch in list(self._watches.values()):
            await _stop(watch)

    def _forget(self, key: Key, watch: Watch) -> None:
        if self._watches.get(key) is watch:
            del self._watches[key]

    async def _follow(self, key: Key, watch: Watch, found: QueryForm, values: list[Any]) -> None:
        """Pass on each result, as long as somebody watches."""
        while True:
            try:
                client = await self._connection.client()
                changes = client.watch(getattr(self._connection.machine, found.spec.name), *values)
                async for value in changes:
                    watch.changed(changes.index, value)
            except Exception as error:
                problem = problem_of(error, is_query=True)
                if problem.kind not in PASSING:  # the query itself fails, and would again
                    self._forget(key, watch)
                    for browser in watch.browsers:
                        browser.put(msgspec.json.encode(problem.document()).decode())
                        browser.end(ERROR, problem.kind)
                    return
                logger.warning("a watch has ended and is begun again", query=found.spec.name, error=describe(error))
            await asyncio.sleep(GATEWAY_RETRY_SECONDS)


async def _stop(watch: Watch) -> None:
    task, watch.task = watch.task, None
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
