"""The gateway's one client of its cluster: connected when it is first needed, and closed with the application.

All requests share its session, so their commands travel in common frames and take effect in the order they came in.
`once` makes what a caller repeats, with its key, safe across restarts of the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rsm.client.connect import connect_async
from rsm.errors import Closed
from rsm.machine.machine import StateMachine
from rsm.node.network.tls import TlsOptions

__all__ = ["Connection"]


class Connection:
    """Where the cluster is, and the client once there is one."""

    def __init__(
        self,
        machine: type[StateMachine],
        addresses: str | Sequence[str],
        *,
        principal: str,
        tls: TlsOptions | None,
        timeout_seconds: float,
    ) -> None:
        self.machine = machine
        self.addresses = addresses
        self.principal = principal
        self.tls = tls
        self.timeout_seconds = timeout_seconds
        self._client: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._is_closed = False

    async def client(self) -> Any:
        """The client; connects if that was not done. `Unreachable`, `WrongMachine`.

        All who come meanwhile wait for the same attempt, and learn what comes of it.
        """
        if self._client is None:
            if self._is_closed:
                raise Closed("the gateway is stopping")
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
            connecting = self._connecting
            await asyncio.wait({connecting})  # who is cancelled leaves it to the others
            if connecting.cancelled() or self._is_closed:
                raise Closed("the gateway is stopping")
            connecting.result()
        return self._client

    async def _connect(self) -> None:
        try:
            self._client = await connect_async(
                self.machine,
                self.addresses,
                principal=self.principal,
                tls=self.tls,
                timeout_seconds=self.timeout_seconds,
            )
        finally:
            self._connecting = None

    async def close(self) -> None:
        """End the session. Nothing is connected after that."""
        self._is_closed = True
        connecting = self._connecting
        if connecting is not None:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
        client, self._client = self._client, None
        if client is not None:
            await asyncio.to_thread(client.close)
