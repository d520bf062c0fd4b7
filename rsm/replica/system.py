"""The system's own replicated state, kept as a machine's: counters, clock, timers, idempotency keys, cursors.

It lives in the same store as the user's containers, under names beginning with "rsm.", so rollback, roots, snapshots
and differences work on it without another line.
"""

from __future__ import annotations

from rsm.machine.machine import StateMachine
from rsm.state.containers import Map, SortedMap
from rsm.state.queues import Queue
from rsm.state.types import Struct


class Timer(Struct, frozen=True):
    """A command that waits for its time. `packed`: its plain values in MessagePack."""

    name: str
    version: int
    packed: bytes


class KeyRecord(Struct, frozen=True):
    """The first answer under an idempotency key; `status` -1 marks a key settled as not applied."""

    created: int
    fingerprint: int
    status: int
    body: bytes


VOIDED = -1


class System(StateMachine, name="rsm", version=1, prefix="rsm."):
    """The system's state. `clock` is log time; `digest` runs over all answers and events ever given."""

    machine_version: int
    seed: bytes
    clock: int
    digest: bytes
    ids: int
    session_ids: int
    timer_ids: int
    event_count: int
    key_bytes: int
    key_horizon: int  # every key created up to this log time has been dropped
    configuration: bytes  # the cluster's members, as the last CONFIGURATION entry has them; empty for a lone machine

    timers: SortedMap[tuple[int, int], Timer]
    timer_due: Map[int, int]
    keys: Map[tuple[str, str], KeyRecord]
    key_order: Queue[tuple[str, str]]
    cursors: Map[tuple[str, str], int]  # principal and name: nobody moves the cursor of another
