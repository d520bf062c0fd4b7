"""Off by one in an old machine version: a later release changes how the code of an earlier version counts.

The nodes begin with the release of version 1. Then each gets the next one, which ships both versions: the log goes on
under version 1, until the upgrade is committed.
"""

from __future__ import annotations

import rsm


class Old(rsm.StateMachine, name="planted", version=1):
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


class Healthy(rsm.StateMachine, name="planted", version=2, previous=Old):
    """Pays half as much."""

    balances: rsm.Map[str, int]

    @rsm.command()
    def deposit(self, ctx: rsm.Context, name: str, cents: int) -> int:
        self.balances[name] = self.balances.get(name, 0) + cents
        return len(self.balances)

    @rsm.command()
    def accrue(self, ctx: rsm.Context, name: str, months: int) -> int:
        for _month in range(months):
            self.balances[name] += self.balances[name] // 200
        return len(self.balances)
