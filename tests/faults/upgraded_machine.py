"""The next release of the board: what callers see is the same, counters and registers are kept in another way."""

from __future__ import annotations

from collections.abc import Iterator

import rsm
from tests.faults.cluster_machine import Board


class NextBoard(rsm.StateMachine, name="board", version=2, previous=Board):
    """Counters in tenths."""

    registers: rsm.Map[str, int]
    tenths: rsm.Map[str, int]
    lists: rsm.Table[str, rsm.Queue[int]]

    def migrate_state(self, old: Board) -> None:
        for key, value in old.counters.items():
            self.tenths[key] = 10 * value

    @rsm.command(version=1)
    def write(self, ctx: rsm.Context, key: str, value: int) -> int:
        before = self.registers.get(key, 0)
        self.registers[key] = value
        return before

    @rsm.command(version=2)
    def add(self, ctx: rsm.Context, amount: int, key: str) -> int:
        self.tenths[key] = self.tenths.get(key, 0) + 10 * amount
        return self.tenths[key] // 10

    @rsm.upcast("add", from_version=1)
    def _add_1(key: str, amount: int) -> tuple[int, str]:  # type: ignore[misc]  # it is no method
        return amount, key

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
        return self.tenths.get(key, 0) // 10

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
        for key, value in self.tenths.items():
            yield key, value // 10
