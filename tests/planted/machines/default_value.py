"""Mutable default: a list that is the default of a parameter is one for all calls, and in no snapshot."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Counts lines in a list that all calls share."""

    notes: rsm.Map[str, int]

    @rsm.command()
    def write(self, ctx: rsm.Context, name: str, text: str) -> int:
        self.notes[name] = append(text)
        return len(self.notes)


def append(text: str, lines: list[str] = []) -> int:  # noqa: B006  # the fault
    """How many lines there are now."""
    lines.append(text)
    return len(lines)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Keeps the number of lines in the state."""

    lines: int
    notes: rsm.Map[str, int]

    @rsm.command()
    def write(self, ctx: rsm.Context, name: str, text: str) -> int:
        self.lines += 1
        self.notes[name] = self.lines
        return len(self.notes)
