"""Timers: an alarm is set by a node's own clock. It is state too, though it lies in no container of the machine."""

from __future__ import annotations

import time

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Sets alarms by the wall clock."""

    rung: rsm.Map[str, int]

    @rsm.command()
    def arm(self, ctx: rsm.Context, name: str) -> int:
        ctx.schedule(time.time_ns() + 10**15, Faulty.ring, name)
        return len(self.rung)

    @rsm.command()
    def ring(self, ctx: rsm.Context, name: str) -> None:
        self.rung[name] = ctx.now


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Sets alarms by the time of the log."""

    rung: rsm.Map[str, int]

    @rsm.command()
    def arm(self, ctx: rsm.Context, name: str) -> int:
        ctx.schedule(ctx.now + 10**15, Healthy.ring, name)
        return len(self.rung)

    @rsm.command()
    def ring(self, ctx: rsm.Context, name: str) -> None:
        self.rung[name] = ctx.now
