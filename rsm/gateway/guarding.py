"""Which pages may use the gateway: those that came from it, and no others.

Theory of operation. A browser lets any page of the Internet send requests to any address, this machine among them, and
says in `Origin` (and in `Sec-Fetch-Site`) whose page it was: that has to be the host that was asked. A page can have
its own name point here, too ("DNS rebinding"); then both agree, but the name is a foreign one. So the host has to be an
address, `localhost`, or a name that this gateway was told is its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from rsm.errors import CallerError
from rsm.gateway.problems import Problem, respond

__all__ = ["Guard", "check_hosts"]

LOCAL: Final = "localhost"


def check_hosts(hosts: str | Sequence[str]) -> list[str]:
    """Names of hosts as they are compared; `CallerError` for what is none."""
    names = [hosts] if isinstance(hosts, str) else list(hosts)
    for name in names:
        if not name or _name(name) != name.lower():
            raise CallerError(f"{name!r} is not the name of a host: write it without scheme, port and path")
    return [name.lower() for name in names]


class Guard:
    """Middleware before every route, also those of an application."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        """`hosts` as `check_hosts` gives them."""
        self._app = app
        self._hosts = {LOCAL, *hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what comes from elsewhere with a problem, pass the rest on."""
        if scope["type"] in ("http", "websocket"):
            try:
                self._check(HTTPConnection(scope))
            except Problem as problem:
                await respond(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, request: HTTPConnection) -> None:
        headers = request.headers
        host, origin = headers.get("Host", ""), headers.get("Origin")
        name = _name(host)
        if name not in self._hosts and not _is_address(name):
            raise Problem(
                "foreign-host", f"this gateway is not known as {host!r:.200}: if that is its name, start it with --host"
            )
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            raise Problem("foreign-origin", f"a page of {origin!r:.200} has no business here")
        # Not every request has an origin; a picture has none. A link may lead here from anywhere.
        is_foreign = headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
        if is_foreign and headers.get("Sec-Fetch-Mode") != "navigate":
            raise Problem("foreign-origin", "a page of another origin has no business here")


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
