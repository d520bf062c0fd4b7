"""Assertions: a check that `python -O` leaves out rejects a command on some nodes only."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Checks with `assert`."""

    amounts: rsm.Map[str, int]

    @rsm.command()
    def withdraw(self, ctx: rsm.Context, name: str, amount: int) -> int:
        assert amount > 0, "amounts are positive"
        self.amounts[name] = self.amounts.get(name, 0) - amount
        return len(self.amounts)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Checks with `if`."""

    amounts: rsm.Map[str, int]

    @rsm.command()
    def withdraw(self, ctx: rsm.Context, name: str, amount: int) -> int:
        if amount <= 0:
            ctx.reject("amounts are positive")
        self.amounts[name] = self.amounts.get(name, 0) - amount
        return len(self.amounts)
