"""Identity: `id()` gives out keys. It is an address, and another one on every node."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Keeps an address."""

    keys: rsm.Map[str, int]

    @rsm.command()
    def offer(self, ctx: rsm.Context, name: str) -> int:
        self.keys[name] = id(type(self))
        return len(self.keys)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Keeps a number that the log gives."""

    keys: rsm.Map[str, int]

    @rsm.command()
    def offer(self, ctx: rsm.Context, name: str) -> int:
        self.keys[name] = ctx.new_id()
        return len(self.keys)
