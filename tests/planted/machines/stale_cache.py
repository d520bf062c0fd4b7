"""Stale cache: a rate is remembered when it is first asked for. A restored replica asks later."""

from __future__ import annotations

import functools

import rsm


@functools.cache
def remembered(machine: Faulty, currency: str) -> int:
    """The rate as it was the first time."""
    return machine.rates.get(currency, 0)


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Looks rates up through a cache that nobody clears."""

    rates: rsm.Map[str, int]
    paid: rsm.Map[str, int]

    @rsm.command()
    def set_rate(self, ctx: rsm.Context, currency: str, rate: int) -> None:
        self.rates[currency] = rate

    @rsm.command()
    def pay(self, ctx: rsm.Context, name: str, currency: str, amount: int) -> int:
        self.paid[name] = amount * remembered(self, currency)
        return len(self.paid)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Looks rates up."""

    rates: rsm.Map[str, int]
    paid: rsm.Map[str, int]

    @rsm.command()
    def set_rate(self, ctx: rsm.Context, currency: str, rate: int) -> None:
        self.rates[currency] = rate

    @rsm.command()
    def pay(self, ctx: rsm.Context, name: str, currency: str, amount: int) -> int:
        self.paid[name] = amount * self.rates.get(currency, 0)
        return len(self.paid)
