"""`rsm.connect`: the same client for a machine that runs on a cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeVar, cast

from rsm.client.open import check_machine, opened_in_thread
from rsm.client.proxy import Proxy, level_of, pending_of
from rsm.client.remote.link import check_addresses
from rsm.client.remote.remote import RemoteRuntime
from rsm.errors import CallerError
from rsm.limits import (
    CLIENT_SESSION_TTL_SECONDS,
    CLIENT_TIMEOUT_SECONDS,
    PRINCIPAL_LENGTH_MAX,
    SESSION_TTL_SECONDS_MAX,
)
from rsm.machine.machine import StateMachine
from rsm.node.network.handshake import ClientHello
from rsm.node.network.tls import TlsOptions
from rsm.node.service import schema_digest

M = TypeVar("M", bound=StateMachine)
ReadLevel = Literal["linearizable", "session", "stale"]
Ack = Literal["applied", "confirmed"]


def connect(
    machine: type[M],
    addresses: str | Sequence[str],
    *,
    principal: str = "",
    read: ReadLevel = "linearizable",
    ack: Ack = "applied",
    tls: TlsOptions | None = None,
    timeout_seconds: float = CLIENT_TIMEOUT_SECONDS,
    session_ttl_seconds: float = CLIENT_SESSION_TTL_SECONDS,
) -> M:
    """Connect to a cluster; returns a client that type checkers see as the machine, as `rsm.open` does.

    `addresses`: where clients reach its members (`host:port`), one or more, the leader or not; the client finds the
    others. A command returns when it is durable on a majority and applied. Connections that break, leaders that change
    and answers that get lost are none of the caller's business: the client sends again, and nothing takes effect twice.
    Synchronous calls wait `timeout_seconds` at most (`TimeoutError`: the command may still take effect); answers that
    are awaited take as long as they take. When the client is silent for `session_ttl_seconds`, as a process that was
    killed is, its session ends: commands that were on their way then get `SessionExpired` (outcome unknown), later ones
    go on in a new session.

    `read`: what queries ask for, unless `client.reading(...)` says otherwise. `principal`: in whose name; with `tls`
    the certificate says that. `ack="confirmed"`: unless `client.acking(...)` says otherwise, a command returns only
    when a majority has, besides, compared its state behind it and has the same; `UnknownFormat` if a member is of a
    release that does not know this.

    Raises `Unreachable` if no leader is found in time, saying what was found at each address, `WrongMachine` if the
    cluster runs another machine, `CallerError` for addresses that are none.
    """
    check_machine(machine)
    seconds = {"timeout_seconds": timeout_seconds, "session_ttl_seconds": session_ttl_seconds}
    for name, value in seconds.items():
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise CallerError(f"{name} must be above 0, not {value!r}")
    if session_ttl_seconds > SESSION_TTL_SECONDS_MAX:
        raise CallerError(f"session_ttl_seconds is at most {SESSION_TTL_SECONDS_MAX}")
    if not isinstance(principal, str) or len(principal) > PRINCIPAL_LENGTH_MAX:
        raise CallerError(f"principal is text of at most {PRINCIPAL_LENGTH_MAX} characters")
    definition, level, pending = machine.definition, level_of(read), pending_of(ack)
    runtime = RemoteRuntime(
        check_addresses(addresses),
        ClientHello(machine=definition.name, schema=schema_digest(definition), principal=principal),
        tls=None if tls is None else tls.client_context(),
        timeout_seconds=timeout_seconds,
        session_ttl=max(1, int(session_ttl_seconds * 1e9)),
    )
    try:
        session = runtime.open_session("", 0)
        runtime.learn_log_time()
    except BaseException:
        runtime.close()
        raise
    return cast(M, Proxy(runtime, definition, session, owns_runtime=True, level=level, pending=pending))


async def connect_async(
    machine: type[M],
    addresses: str | Sequence[str],
    *,
    principal: str = "",
    read: ReadLevel = "linearizable",
    ack: Ack = "applied",
    tls: TlsOptions | None = None,
    timeout_seconds: float = CLIENT_TIMEOUT_SECONDS,
    session_ttl_seconds: float = CLIENT_SESSION_TTL_SECONDS,
) -> M:
    """`connect` for asyncio: connecting does not block the event loop.

    Use `await client.command.send(...)`, `await client.query.send(...)` and `async with`. A task that is cancelled
    meanwhile leaves nothing open.
    """

    def begin() -> M:
        return connect(
            machine,
            addresses,
            principal=principal,
            read=read,
            ack=ack,
            tls=tls,
            timeout_seconds=timeout_seconds,
            session_ttl_seconds=session_ttl_seconds,
        )

    return await opened_in_thread(begin)
