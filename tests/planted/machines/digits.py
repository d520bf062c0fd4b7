"""Digits of a number: how long a number Python writes out is a setting of the process."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Counts the digits of the text."""

    digits: rsm.Map[str, int]

    @rsm.command()
    def measure(self, ctx: rsm.Context, name: str, power: int) -> int:
        self.digits[name] = len(str(7**power))
        return self.digits[name]


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Counts bits, for which nothing is written out."""

    digits: rsm.Map[str, int]

    @rsm.command()
    def measure(self, ctx: rsm.Context, name: str, power: int) -> int:
        self.digits[name] = (7**power).bit_length()
        return self.digits[name]
