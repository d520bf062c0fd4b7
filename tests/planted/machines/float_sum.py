"""Float rounding: weights are added as floats, and Python 3.12 began to add them more exactly."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Decides by a sum of floats."""

    full: rsm.Map[str, int]

    @rsm.command()
    def load(self, ctx: rsm.Context, name: str, tenths: tuple[int, ...]) -> int:
        self.full[name] = int(sum(each / 10 for each in tenths) >= 1)
        return len(self.full)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Decides by a sum of integers."""

    full: rsm.Map[str, int]

    @rsm.command()
    def load(self, ctx: rsm.Context, name: str, tenths: tuple[int, ...]) -> int:
        self.full[name] = int(sum(tenths) >= 10)
        return len(self.full)
