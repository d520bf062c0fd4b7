"""`rsm.open`: a machine in this process, durable, with no network; the embedded default."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, cast

from rsm.client.proxy import Proxy, open_session
from rsm.errors import Closed, DefinitionError
from rsm.limits import SNAPSHOT_LOG_BYTES
from rsm.machine.machine import StateMachine
from rsm.node.embedded import Durability, Embedded

M = TypeVar("M", bound=StateMachine)


def open(
    machine: type[M],
    path: str | os.PathLike[str],
    *,
    principal: str = "",
    durability: Durability = "fsync",
    snapshot_log_bytes: int = SNAPSHOT_LOG_BYTES,
) -> M:
    """Open (or create) a machine in a directory; returns a client that type checkers see as the machine.

    A command returns when it is on the disk and applied. `durability="os"` leaves syncing to the operating system: a
    killed process loses nothing, a power cut may. A snapshot is written, and the log before it dropped, whenever the
    log has grown by `snapshot_log_bytes`.

    Raises `DirectoryInUse` if another process has the directory, `WrongMachine` if it belongs to another machine or
    version, `CorruptFile` with file and offset if bytes are not what was written, `DivergenceError` if the replay of
    the log does not give the recorded state roots, `StorageError` for what the disk refuses.
    """
    check_machine(machine)
    # A path that stays good when the process changes its working directory.
    directory = os.path.abspath(os.fspath(path))
    runtime = Embedded(machine, directory, durability=durability, snapshot_log_bytes=snapshot_log_bytes)
    try:
        session = open_session(runtime, principal, 0)
    except BaseException:
        with contextlib.suppress(Closed):
            runtime.close()
        raise
    return cast(M, Proxy(runtime, machine.definition, session, owns_runtime=True))


async def open_async(
    machine: type[M],
    path: str | os.PathLike[str],
    *,
    principal: str = "",
    durability: Durability = "fsync",
    snapshot_log_bytes: int = SNAPSHOT_LOG_BYTES,
) -> M:
    """`open` for asyncio: opening does not block the event loop.

    Use `await client.command.send(...)` and `async with`. A task that is cancelled meanwhile leaves nothing open.
    """

    def begin() -> M:
        return open(machine, path, principal=principal, durability=durability, snapshot_log_bytes=snapshot_log_bytes)

    return await opened_in_thread(begin)


def check_machine(machine: object) -> None:
    """`DefinitionError` unless this is the class of a machine."""
    if not (isinstance(machine, type) and issubclass(machine, StateMachine) and "definition" in vars(machine)):
        raise DefinitionError(f"{machine!r} is not a machine: class X(rsm.StateMachine, name=..., version=...)")


class Opened(Protocol):
    """What was opened."""

    def close(self) -> None:
        """Let go of it."""


C = TypeVar("C", bound=Opened)


async def opened_in_thread(begin: Callable[[], C]) -> C:
    """Open something without blocking the event loop. If the task is cancelled meanwhile, it is closed again."""
    opening: _Opening[C] = _Opening()
    try:
        return await asyncio.to_thread(lambda: opening.finish(begin()))
    except asyncio.CancelledError:
        opening.cancel()
        raise


class _Opening(Generic[C]):
    """Settles whether the task that opens a machine in a thread still wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: C | None = None
        self._is_cancelled = False

    def finish(self, client: C) -> C:
        """In the thread: hand the client over, or close it at once."""
        with self._lock:
            self._client = client
            is_cancelled = self._is_cancelled
        if is_cancelled:
            client.close()
        return client

    def cancel(self) -> None:
        """In the event loop: nobody will take the client any more."""
        with self._lock:
            self._is_cancelled = True
            client = self._client
        if client is not None:
            threading.Thread(target=client.close, daemon=True).start()
