"""Mutation in a query: a look-up counts itself, and a command goes by the count. Queries run on one node only."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Counts look-ups in a dict that `setup` made."""

    prices: rsm.Map[str, int]
    popular: rsm.Map[str, int]

    def setup(self) -> None:
        self.looks: dict[str, int] = {}

    @rsm.command()
    def set_price(self, ctx: rsm.Context, name: str, price: int) -> int:
        self.prices[name] = price
        return len(self.prices)

    @rsm.command()
    def rank(self, ctx: rsm.Context, name: str) -> int:
        self.popular[name] = self.looks.get(name, 0)
        return len(self.popular)

    @rsm.query
    def price(self, name: str) -> int:
        self.looks[name] = self.looks.get(name, 0) + 1
        return self.prices.get(name, 0)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """A look that counts is a command."""

    prices: rsm.Map[str, int]
    looks: rsm.Map[str, int]
    popular: rsm.Map[str, int]

    @rsm.command()
    def set_price(self, ctx: rsm.Context, name: str, price: int) -> int:
        self.prices[name] = price
        return len(self.prices)

    @rsm.command()
    def look(self, ctx: rsm.Context, name: str) -> int:
        self.looks[name] = self.looks.get(name, 0) + 1
        return self.prices.get(name, 0)

    @rsm.command()
    def rank(self, ctx: rsm.Context, name: str) -> int:
        self.popular[name] = self.looks.get(name, 0)
        return len(self.popular)

    @rsm.query
    def price(self, name: str) -> int:
        return self.prices.get(name, 0)
