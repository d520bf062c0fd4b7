"""Answers, as every layer above the machine passes them on: outcomes of keys, events, and a machine's status."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Outcome(msgspec.Struct, frozen=True):
    """What became of an idempotency key.

    `result` is the answer when `state` is "applied"; the reason of a rejection is in `rejected`.
    """

    state: Literal["applied", "not_applied", "expired"]
    result: Any = None
    rejected: str | None = None


class Event(msgspec.Struct, frozen=True):
    """One event with its identity (index, position, step, number), by which consumers drop repeats."""

    index: int
    position: int
    step: int
    number: int
    value: Any

    @property
    def identity(self) -> tuple[int, int, int, int]:
        """(index, position in the batch, step of a pipeline, number within the step): unique, rising."""
        return self.index, self.position, self.step, self.number


class Reading(msgspec.Struct, frozen=True):
    """How new the state must be that a read sees. `index` is for "at_least"."""

    level: Literal["linearizable", "session", "at_least", "stale"] = "linearizable"
    index: int = 0


class ClientStats(msgspec.Struct, frozen=True):
    """What a client has done so far, over all of its sessions. An embedded one has made no round trip.

    `round_trips`: requests that were answered; a frame of many commands is one, and so is a pipeline; a stream is one
    for each part. `commands`: that were answered. `frames`: of commands, that were sent. `retries`: commands and other
    requests that were sent again. `redirects`: times that a node named another as the leader. `read_index`: the log
    index of the state that the last query of this client or view has seen.
    """

    round_trips: int = 0
    commands: int = 0
    frames: int = 0
    retries: int = 0
    redirects: int = 0
    read_index: int = 0


class Status(msgspec.Struct, frozen=True):
    """Where a replica stands. `root` is the state root at `root_index`, the last hash point, in hex."""

    machine: str
    version: int
    index: int
    log_time: int
    root_index: int
    root: str
    sessions: int
    timers: int
    log_bytes: int
    snapshot_index: int
