"""The machine that clusters of real processes are tested with, and what it would do if calls came one by one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import rsm


class Board(rsm.StateMachine, name="board", version=1):
    """Registers, counters and lists by key. Every value that is appended is told apart by its number."""

    registers: rsm.Map[str, int]
    counters: rsm.Map[str, int]
    lists: rsm.Table[str, rsm.Queue[int]]

    @rsm.command(version=1)
    def write(self, ctx: rsm.Context, key: str, value: int) -> int:
        before = self.registers.get(key, 0)
        self.registers[key] = value
        return before

    @rsm.command(version=1)
    def add(self, ctx: rsm.Context, key: str, amount: int) -> int:
        self.counters[key] = self.counters.get(key, 0) + amount
        return self.counters[key]

    @rsm.command(version=1)
    def append(self, ctx: rsm.Context, key: str, value: int) -> int:
        """Append; the length after it."""
        return self.lists[key].push(value) + 1

    @rsm.command(version=1)
    def note(self, ctx: rsm.Context, data: bytes) -> int:
        """Only the log keeps it."""
        return len(data)

    @rsm.query
    def register(self, key: str) -> int:
        return self.registers.get(key, 0)

    @rsm.query
    def counter(self, key: str) -> int:
        return self.counters.get(key, 0)

    @rsm.query
    def length(self, key: str) -> int:
        return len(self.lists[key])

    @rsm.query
    def zeros(self, count: int) -> bytes:
        """A long answer."""
        return bytes(count)

    @rsm.query
    def appended(self) -> Iterator[tuple[str, int]]:
        """Everything that was ever appended, list by list."""
        for key in self.lists:
            for value in self.lists[key]:
                yield key, value

    @rsm.query
    def sums(self) -> Iterator[tuple[str, int]]:
        yield from self.counters.items()


class BoardModel:
    """`Board`, for the linearizability checker. A call is (name, key) or (name, key, value)."""

    initial: Hashable = 0

    def step(self, state: Any, call: Any) -> tuple[Hashable, Any]:
        match call:
            case ("write", _, value):
                return value, state
            case ("add", _, amount):
                return state + amount, state + amount
            case ("append", _, _):
                return state + 1, state + 1
            case ("register" | "counter" | "length", _):
                return state, state
        raise ValueError(f"no such call: {call}")

    def key(self, call: Any) -> Hashable:
        """The keys of registers, counters and lists differ in their first letter."""
        key: str = call[1]
        return key
