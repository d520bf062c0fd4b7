"""Time zone: the day of a booking is that of the node's own calendar."""

from __future__ import annotations

from datetime import UTC, datetime

import rsm

SECOND = 10**9


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Asks the node's calendar."""

    days: rsm.Map[str, str]

    @rsm.command()
    def book(self, ctx: rsm.Context, name: str, at: int) -> int:
        self.days[name] = datetime.fromtimestamp(at).isoformat()
        return len(self.days)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Asks the calendar of a zone that it names."""

    days: rsm.Map[str, str]

    @rsm.command()
    def book(self, ctx: rsm.Context, name: str, at: int) -> int:
        self.days[name] = datetime.fromtimestamp(at, UTC).isoformat()
        return len(self.days)
