"""Other Python: letters are counted by the tables of Unicode, which every release of Python brings anew."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Counts what `isalpha` takes for a letter."""

    letters: rsm.Map[str, int]

    @rsm.command()
    def count(self, ctx: rsm.Context, name: str, text: str) -> int:
        self.letters[name] = sum(character.isalpha() for character in text)
        return len(self.letters)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Counts the letters of ASCII, of which there will be no more."""

    letters: rsm.Map[str, int]

    @rsm.command()
    def count(self, ctx: rsm.Context, name: str, text: str) -> int:
        self.letters[name] = sum("a" <= character <= "z" or "A" <= character <= "Z" for character in text)
        return len(self.letters)
