"""Wall clock: the time of a visit is read from the clock of whichever node applies the command."""

from __future__ import annotations

import time

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Reads a clock."""

    visits: rsm.Map[str, int]

    @rsm.command()
    def visit(self, ctx: rsm.Context, name: str) -> int:
        self.visits[name] = time.time_ns()
        return len(self.visits)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Takes the time from the log."""

    visits: rsm.Map[str, int]

    @rsm.command()
    def visit(self, ctx: rsm.Context, name: str) -> int:
        self.visits[name] = ctx.now
        return len(self.visits)
