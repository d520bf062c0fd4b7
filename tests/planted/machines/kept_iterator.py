"""Kept iterator: numbers come from an iterator that `setup` makes, and that begins again with the process."""

from __future__ import annotations

import itertools

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Gives the next number of the iterator."""

    tickets: rsm.Map[str, int]

    def setup(self) -> None:
        self.numbers = itertools.count(1)

    @rsm.command()
    def take(self, ctx: rsm.Context, name: str) -> int:
        self.tickets[name] = next(self.numbers)
        return self.tickets[name]


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Gives the next number of the state."""

    tickets: rsm.Map[str, int]
    last: int

    @rsm.command()
    def take(self, ctx: rsm.Context, name: str) -> int:
        self.last += 1
        self.tickets[name] = self.last
        return self.last
