"""`rsm.open`: a machine in this process, durable, with no network; the embedded default."""

from __future__ import annotations

import asyncio
import os
from typing import TypeVar, cast

from rsm.client.proxy import Proxy, open_session
from rsm.errors import DefinitionError
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
    if not (isinstance(machine, type) and issubclass(machine, StateMachine) and "definition" in vars(machine)):
        raise DefinitionError(f"{machine!r} is not a machine: class X(rsm.StateMachine, name=..., version=...)")
    runtime = Embedded(machine, os.fspath(path), durability=durability, snapshot_log_bytes=snapshot_log_bytes)
    try:
        session = open_session(runtime, principal, 0)
    except BaseException:
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
    """`open` for asyncio: does not block the event loop. Use `await client.command.send(...)` and `async with`."""
    return await asyncio.to_thread(
        lambda: open(machine, path, principal=principal, durability=durability, snapshot_log_bytes=snapshot_log_bytes)
    )
