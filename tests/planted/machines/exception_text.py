"""Text of an exception in the state: Python 3.12 words the complaint about an empty `max` anew."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Keeps what Python said."""

    best: rsm.Map[str, str]

    @rsm.command()
    def judge(self, ctx: rsm.Context, name: str, points: tuple[int, ...]) -> int:
        try:
            self.best[name] = str(max(points))
        except ValueError as error:
            self.best[name] = str(error)
        return len(self.best)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Keeps a text of its own."""

    best: rsm.Map[str, str]

    @rsm.command()
    def judge(self, ctx: rsm.Context, name: str, points: tuple[int, ...]) -> int:
        self.best[name] = str(max(points)) if points else "no points"
        return len(self.best)
