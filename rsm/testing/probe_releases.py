"""Two more releases of the probe: what clients see stays the same, what lies beneath does not.

So the model of the probe judges a run in which the cluster goes from one release to the next, and a root, a migration
or a command under the wrong release is found at once.
"""

from __future__ import annotations

from typing import Final

from rsm.machine.calls import command, query
from rsm.machine.context import Context
from rsm.machine.machine import StateMachine
from rsm.machine.upcasting import upcast
from rsm.state.containers import Map
from rsm.testing.probe import LIST_LENGTH, Probe

__all__ = ["Probe2", "Probe3"]

SCALE: Final = 10
# The last release's migration raises for one state in so many: the release before it has to stay in force then.
REFUSES_EVERY: Final = 3


class Probe2(StateMachine, name="probe", version=2, previous=Probe):
    """Counters are kept in tenths, under another name."""

    registers: Map[str, int]
    tenths: Map[str, int]
    lists: Map[str, tuple[int, ...]]
    commands: int

    def migrate_state(self, old: Probe) -> None:
        """Counters in tenths."""
        for key, value in old.counters.items():
            self.tenths[key] = SCALE * value

    @command(version=1)
    def write(self, ctx: Context, key: str, value: int) -> int:
        """Set a register; the value before."""
        before = self.registers.get(key, 0)
        self.registers[key] = value
        self.commands += 1
        return before

    @command(version=1)
    def swap(self, ctx: Context, key: str, old: int, new: int) -> bool:
        """Set a register if it holds `old`; whether it did."""
        self.commands += 1
        if self.registers.get(key, 0) != old:
            return False
        self.registers[key] = new
        return True

    @command(version=1)
    def add(self, ctx: Context, key: str, amount: int) -> int:
        """Add to a counter; the sum."""
        self.commands += 1
        self.tenths[key] = self.tenths.get(key, 0) + SCALE * amount
        return self.tenths[key] // SCALE

    @command(version=1)
    def append(self, ctx: Context, key: str, value: int) -> tuple[int, ...]:
        """Add to a list, of which the newest few are kept; all of them."""
        self.commands += 1
        self.lists[key] = (*self.lists.get(key, ()), value)[-LIST_LENGTH:]
        return self.lists[key]

    @command(version=1)
    def refuse(self, ctx: Context, key: str, value: int) -> None:
        """Write, then say no: nothing of it may be seen."""
        self.registers[key] = -value
        self.tenths[key] = -value
        ctx.reject("as asked")

    @query
    def register(self, key: str) -> int:
        """A register."""
        return self.registers.get(key, 0)

    @query
    def counter(self, key: str) -> int:
        """A counter."""
        return self.tenths.get(key, 0) // SCALE

    @query
    def newest(self, key: str) -> tuple[int, ...]:
        """The newest values of a list."""
        return self.lists.get(key, ())


class Probe3(StateMachine, name="probe", version=3, previous=Probe2):
    """Lists are kept newest first, counters as they were at first; `add` takes its amount first, in its version 2."""

    registers: Map[str, int]
    sums: Map[str, int]
    newest_first: Map[str, tuple[int, ...]]
    commands: int

    def migrate_state(self, old: Probe2) -> None:
        """Lists the other way round; it raises for some states, whatever else happens."""
        for key, value in old.tenths.items():
            self.sums[key] = value // SCALE
        for key, values in old.lists.items():
            self.newest_first[key] = values[::-1]
        if old.commands % REFUSES_EVERY == 0:
            raise ValueError(f"{old.commands} commands: as this machine was made to")

    @command(version=1)
    def write(self, ctx: Context, key: str, value: int) -> int:
        """Set a register; the value before."""
        before = self.registers.get(key, 0)
        self.registers[key] = value
        self.commands += 1
        return before

    @command(version=1)
    def swap(self, ctx: Context, key: str, old: int, new: int) -> bool:
        """Set a register if it holds `old`; whether it did."""
        self.commands += 1
        if self.registers.get(key, 0) != old:
            return False
        self.registers[key] = new
        return True

    @command(version=2)
    def add(self, ctx: Context, amount: int, key: str) -> int:
        """Add to a counter; the sum."""
        self.commands += 1
        self.sums[key] = self.sums.get(key, 0) + amount
        return self.sums[key]

    @upcast("add", from_version=1)
    def _add_1(key: str, amount: int) -> tuple[int, str]:
        return amount, key

    @command(version=1)
    def append(self, ctx: Context, key: str, value: int) -> tuple[int, ...]:
        """Add to a list, of which the newest few are kept; all of them."""
        self.commands += 1
        self.newest_first[key] = (value, *self.newest_first.get(key, ()))[:LIST_LENGTH]
        return self.newest_first[key][::-1]

    @command(version=1)
    def refuse(self, ctx: Context, key: str, value: int) -> None:
        """Write, then say no: nothing of it may be seen."""
        self.registers[key] = -value
        self.sums[key] = -value
        ctx.reject("as asked")

    @query
    def register(self, key: str) -> int:
        """A register."""
        return self.registers.get(key, 0)

    @query
    def counter(self, key: str) -> int:
        """A counter."""
        return self.sums.get(key, 0)

    @query
    def newest(self, key: str) -> tuple[int, ...]:
        """The newest values of a list."""
        return self.newest_first.get(key, ())[::-1]
