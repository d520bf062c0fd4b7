"""`dict.__setitem__` behind a container: a fast way past the bookkeeping, on every node alike."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Goes past the container."""

    levels: rsm.Map[str, int]

    @rsm.command()
    def set_level(self, ctx: rsm.Context, name: str, level: int) -> int:
        self.levels[name] = level
        return len(self.levels)

    @rsm.command()
    def adjust(self, ctx: rsm.Context, name: str, level: int) -> int:
        dict.__setitem__(self.levels, name, level)
        return len(self.levels)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Goes through the container."""

    levels: rsm.Map[str, int]

    @rsm.command()
    def set_level(self, ctx: rsm.Context, name: str, level: int) -> int:
        self.levels[name] = level
        return len(self.levels)

    @rsm.command()
    def adjust(self, ctx: rsm.Context, name: str, level: int) -> int:
        self.levels[name] = level
        return len(self.levels)
