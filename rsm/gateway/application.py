"""The application: its routes, and what they share.

Theory of operation. One client stands between all requests and the cluster; so what many callers send travels in common
frames, and back-pressure is that of the client (`Busy`, told as 503 with `Retry-After`). Nothing is kept here: after a
restart a gateway knows as much as before, and an idempotency key means the same on all gateways of a principal.

Events come in by one subscription, however many browsers listen; what waits for each of them is bounded, and who does
not keep up is skipped forward.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from rsm.client.open import check_machine
from rsm.errors import RsmError
from rsm.gateway.arguments import Forms
from rsm.gateway.connecting import Connection
from rsm.gateway.feed import Feed
from rsm.gateway.guarding import Guard, check_hosts
from rsm.gateway.openapi import document
from rsm.gateway.page import HEADERS, page
from rsm.gateway.problems import Problem, on_error, on_http_error
from rsm.gateway.requests import Requests
from rsm.gateway.sockets import Sockets
from rsm.gateway.watching import Watching
from rsm.limits import CLIENT_TIMEOUT_SECONDS
from rsm.machine.machine import StateMachine
from rsm.node.network.tls import TlsOptions

__all__ = ["app"]


def app(
    machine: type[StateMachine],
    addresses: str | Sequence[str],
    *,
    routes: Sequence[BaseRoute] = (),
    hosts: str | Sequence[str] = (),
    principal: str = "",
    tls: TlsOptions | None = None,
    timeout_seconds: float = CLIENT_TIMEOUT_SECONDS,
) -> Starlette:
    """The gateway of a machine's cluster as an ASGI application, with paths as docs/gateway.md has them.

    `addresses`, `principal`, `tls` and `timeout_seconds` are those of `rsm.connect`; all callers act in the name of
    this one principal, so whoever must be told apart has to be let in by somebody before. `routes` are looked at
    before the gateway's own: pages, files and WebSockets of an application that lives beside it, its "/" too. `hosts`
    are the names by which browsers reach it, besides addresses and localhost; asked by another name it answers 421.

    It connects with the first request that needs the cluster: until that can be reached the answer is 503. Its
    `state.connection.client()` is the client that it uses, for routes of yours.

    Raises `DefinitionError` or `CallerError` for what is no machine, `CallerError` for what is no name.
    """
    check_machine(machine)
    connection = Connection(machine, addresses, principal=principal, tls=tls, timeout_seconds=timeout_seconds)
    forms = Forms(machine.definition)
    requests = Requests(forms, connection)
    sockets = Sockets()
    feed, watching = Feed(forms, connection, sockets), Watching(forms, connection, sockets)
    described = document(forms)
    openapi, front = msgspec.json.encode(described), page(described)

    async def show_document(_: Request) -> Response:
        return Response(openapi, media_type="application/json")

    async def show_page(_: Request) -> Response:
        return HTMLResponse(front, headers=HEADERS)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await feed.close()
            await watching.close()
            await connection.close()

    handlers: dict[Any, Any] = {
        HTTPException: on_http_error,
        **dict.fromkeys((Problem, RsmError, TimeoutError, Exception), on_error),
    }
    made = Starlette(
        routes=[
            *routes,
            Route("/commands/{name}", requests.command, methods=["POST"]),
            Route("/pipeline", requests.pipeline, methods=["POST"]),
            Route("/queries/{name}", requests.query, methods=["GET"]),
            WebSocketRoute("/feed", feed.serve),
            WebSocketRoute("/watch", watching.serve),
            Route("/openapi.json", show_document, methods=["GET"]),
            Route("/", show_page, methods=["GET"]),
        ],
        middleware=[Middleware(Guard, hosts=check_hosts(hosts))],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
    made.state.connection = connection
    return made
