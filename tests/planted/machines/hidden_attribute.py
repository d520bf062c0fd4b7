"""Hidden attribute: a running number is kept in a helper that `setup` built. No snapshot has it."""

from __future__ import annotations

import rsm


class Counter:
    """A number outside the declared state."""

    def __init__(self) -> None:
        self.number = 0


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Counts in a helper."""

    tickets: rsm.Map[str, int]

    def setup(self) -> None:
        self.counter = Counter()

    @rsm.command()
    def take(self, ctx: rsm.Context, name: str) -> int:
        self.counter.number += 1
        self.tickets[name] = self.counter.number
        return len(self.tickets)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Counts in declared state."""

    number: int
    tickets: rsm.Map[str, int]

    @rsm.command()
    def take(self, ctx: rsm.Context, name: str) -> int:
        self.number += 1
        self.tickets[name] = self.number
        return len(self.tickets)
