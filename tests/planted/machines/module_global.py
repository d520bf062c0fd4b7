"""Module global: a variable of the module counts, for all machines of the process and for no snapshot."""

from __future__ import annotations

import rsm

issued = 0


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Counts in the module."""

    numbers: rsm.Map[str, int]

    @rsm.command()
    def issue(self, ctx: rsm.Context, name: str) -> int:
        global issued
        issued += 1
        self.numbers[name] = issued
        return len(self.numbers)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Counts in the state."""

    issued: int
    numbers: rsm.Map[str, int]

    @rsm.command()
    def issue(self, ctx: rsm.Context, name: str) -> int:
        self.issued += 1
        self.numbers[name] = self.issued
        return len(self.numbers)
