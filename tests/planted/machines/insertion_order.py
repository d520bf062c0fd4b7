"""Insertion order after restore: an index beside the state is in order of arrival, until a restart builds it anew."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Asks a plain dict which order came first; a restored replica fills that in the order of the keys."""

    orders: rsm.Map[str, int]
    served: rsm.Map[int, str]

    def setup(self) -> None:
        self.waiting: dict[str, int] = {}

    @rsm.command()
    def order(self, ctx: rsm.Context, name: str, amount: int) -> int:
        self.orders[name] = amount
        self.waiting[name] = amount
        return len(self.orders)

    @rsm.command()
    def serve(self, ctx: rsm.Context) -> int:
        if not self.waiting:
            self.waiting.update(self.orders.items())
        name = next(iter(self.waiting))
        del self.waiting[name]
        del self.orders[name]
        self.served[len(self.served)] = name
        return len(self.orders)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Keeps the order of arrival in the state."""

    orders: rsm.Map[str, int]
    waiting: rsm.Queue[str]
    served: rsm.Map[int, str]

    @rsm.command()
    def order(self, ctx: rsm.Context, name: str, amount: int) -> int:
        if name not in self.orders:
            self.waiting.push(name)
        self.orders[name] = amount
        return len(self.orders)

    @rsm.command()
    def serve(self, ctx: rsm.Context) -> int:
        name = self.waiting.pop_first()
        del self.orders[name]
        self.served[len(self.served)] = name
        return len(self.orders)
