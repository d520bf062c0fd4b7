"""A sound machine, for faults that are not in its code: a damaged snapshot, a flipped bit in memory."""

from __future__ import annotations

import rsm


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Adds amounts up."""

    amounts: rsm.Map[str, int]

    @rsm.command()
    def add(self, ctx: rsm.Context, name: str, amount: int) -> int:
        self.amounts[name] = self.amounts.get(name, 0) + amount
        return len(self.amounts)
