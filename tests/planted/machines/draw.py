"""Random without a seed: every node draws for itself."""

from __future__ import annotations

import random

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Draws from the process."""

    winners: rsm.Map[str, int]

    @rsm.command()
    def draw(self, ctx: rsm.Context, name: str) -> int:
        self.winners[name] = random.randrange(1 << 62)
        return len(self.winners)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Draws from the log."""

    winners: rsm.Map[str, int]

    @rsm.command()
    def draw(self, ctx: rsm.Context, name: str) -> int:
        self.winners[name] = ctx.random("draw").below(1 << 62)
        return len(self.winners)
