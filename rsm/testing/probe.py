"""A machine to test replication with: keys that hold a register, a counter and a list, and a model of these.

Every command says what it found, so that a history of calls and answers tells almost everything about the order in
which they took effect; see `rsm.testing.linearizability`.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from typing import Any, Final

from rsm.machine.calls import command, query
from rsm.machine.context import Context
from rsm.machine.machine import StateMachine
from rsm.state.containers import Map

__all__ = ["BuggyProbe", "Probe", "ProbeModel", "probe_call"]

# How many values a list keeps: all of them would make each answer as long as the history.
LIST_LENGTH: Final = 6
KEYS: Final = 3


class Probe(StateMachine, name="probe", version=1):
    """Registers, counters and lists by key."""

    registers: Map[str, int]
    counters: Map[str, int]
    lists: Map[str, tuple[int, ...]]
    commands: int

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
        self.counters[key] = self.counters.get(key, 0) + amount
        return self.counters[key]

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
        self.counters[key] = -value
        ctx.reject("as asked")

    @query
    def register(self, key: str) -> int:
        """A register."""
        return self.registers.get(key, 0)

    @query
    def counter(self, key: str) -> int:
        """A counter."""
        return self.counters.get(key, 0)

    @query
    def newest(self, key: str) -> tuple[int, ...]:
        """The newest values of a list."""
        return self.lists.get(key, ())


class BuggyProbe(Probe, name="probe", version=1):
    """The same machine with a bug: some sums are one too much."""

    @command(version=1)
    def add(self, ctx: Context, key: str, amount: int) -> int:
        """Add to a counter; the sum."""
        self.commands += 1
        total = self.counters.get(key, 0) + amount
        self.counters[key] = total + 1 if total % 7 == 0 else total
        return self.counters[key]


# Register, counter and list of a key know nothing of each other: the more parts, the easier the check.
_PARTS: Final = {
    "write": "register",
    "swap": "register",
    "register": "register",
    "refuse": "register",
    "add": "counter",
    "counter": "counter",
    "append": "list",
    "newest": "list",
}


class ProbeModel:
    """What `Probe` does to one register, counter or list. Calls are ("write", key, value) and so on."""

    initial: Hashable = None

    def step(self, state: Any, call: Any) -> tuple[Hashable, Any]:
        """The state after a call and its result, lists as msgspec returns them."""
        match call:
            case ("write", _, value):
                return value, state or 0
            case ("swap", _, old, new):
                return (new, True) if (state or 0) == old else (state, False)
            case ("add", _, amount):
                return (state or 0) + amount, (state or 0) + amount
            case ("append", _, value):
                longer = (*(state or ()), value)[-LIST_LENGTH:]
                return longer, list(longer)
            case ("refuse", _, _):
                return state, "rejected"
            case ("register" | "counter", _):
                return state, state or 0
            case ("newest", _):
                return state, list(state or ())
        raise ValueError(f"no such call: {call}")

    def key(self, call: Any) -> Hashable:
        """Keys and their parts are independent objects."""
        return call[1], _PARTS[call[0]]


def probe_call(chance: random.Random, number: int) -> tuple[str, list[Any]]:
    """A random command, `number` being its own and nobody else's."""
    key = f"k{chance.randrange(KEYS)}"
    name = chance.choices(("write", "swap", "add", "append", "refuse"), (3, 3, 4, 4, 1))[0]
    if name == "swap":
        return name, [key, chance.choice((0, max(0, number - chance.randrange(20)))), number]
    if name == "add":
        return name, [key, chance.randint(1, 3)]
    return name, [key, number]
