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
