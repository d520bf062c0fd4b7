"""Off by one in one checkout: the code of a version was changed without a new one."""

from __future__ import annotations

import rsm


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Pays interest for each whole month."""

    balances: rsm.Map[str, int]

    @rsm.command()
    def deposit(self, ctx: rsm.Context, name: str, cents: int) -> int:
        self.balances[name] = self.balances.get(name, 0) + cents
        return len(self.balances)

    @rsm.command()
    def accrue(self, ctx: rsm.Context, name: str, months: int) -> int:
        for _ in range(months):
            self.balances[name] += self.balances[name] // 100
        return len(self.balances)
