"""Order of a set: places are given to names in the order of a plain set of them, which follows their hashes."""

from __future__ import annotations

import rsm


class Faulty(rsm.StateMachine, name="planted", version=1):
    """Gives places in the order of a set."""

    places: rsm.Map[str, int]

    @rsm.command()
    def seat(self, ctx: rsm.Context, names: tuple[str, ...]) -> int:
        for place, name in enumerate(set(names)):
            self.places[name] = place
        return len(self.places)


class Healthy(rsm.StateMachine, name="planted", version=1):
    """Gives places in the order of the names."""

    places: rsm.Map[str, int]

    @rsm.command()
    def seat(self, ctx: rsm.Context, names: tuple[str, ...]) -> int:
        for place, name in enumerate(sorted(set(names))):
            self.places[name] = place
        return len(self.places)
