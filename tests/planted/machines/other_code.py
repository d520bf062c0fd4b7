"""Other code under the same version number: somebody changes `<` into `<=` and releases it as version 1."""

from __future__ import annotations

import rsm


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Fills an order; what is filled to the last share leaves the book."""

    resting: rsm.Map[str, int]

    @rsm.command()
    def rest(self, ctx: rsm.Context, name: str, quantity: int) -> int:
        self.resting[name] = quantity
        return len(self.resting)

    @rsm.command()
    def fill(self, ctx: rsm.Context, name: str, quantity: int) -> int:
        left = self.resting[name]
        if quantity < left:
            self.resting[name] = left - quantity
        else:
            del self.resting[name]
        return len(self.resting)
