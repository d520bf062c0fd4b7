"""Other library version: the fee comes from a package, and one node has another release of it."""

from __future__ import annotations

import planted_fees

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Trusts the release that happens to be installed."""

    fees: rsm.Map[str, int]

    @rsm.command()
    def charge(self, ctx: rsm.Context, name: str, cents: int) -> int:
        self.fees[name] = planted_fees.fee(cents)
        return len(self.fees)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Has the rule in its own code, under its own version."""

    fees: rsm.Map[str, int]

    @rsm.command()
    def charge(self, ctx: rsm.Context, name: str, cents: int) -> int:
        self.fees[name] = (cents + 50) // 100
        return len(self.fees)
