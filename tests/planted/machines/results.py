"""Results that differ while the state agrees: the answer to a caller comes from a clock, the state does not."""

from __future__ import annotations

import time

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Answers with the time of the node."""

    amounts: rsm.Map[str, int]

    @rsm.command()
    def add(self, ctx: rsm.Context, name: str, amount: int) -> int:
        self.amounts[name] = self.amounts.get(name, 0) + amount
        return time.monotonic_ns()


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Answers with the time of the log."""

    amounts: rsm.Map[str, int]

    @rsm.command()
    def add(self, ctx: rsm.Context, name: str, amount: int) -> int:
        self.amounts[name] = self.amounts.get(name, 0) + amount
        return ctx.now
