"""Version 2 of the rules: archers reach a tile further.

One number, and every battle goes another way. Nodes and clients that ship this release play matches of version 1 by
its rules until `rsm upgrade commit 2` puts version 2 in force, at one index for all: in the middle of a battle, if need
be.
"""

from __future__ import annotations

from typing import Final

from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.records import News
from demos.rts_lockstep.simulation.columns import Crowd, Herd, Seats
from demos.rts_lockstep.simulation.integers import Ints
from demos.rts_lockstep.units import ARCHER, FIGHTING, SUB
from demos.rts_lockstep.world import World

FURTHER: Final = SUB


class WorldV2(World):
    """The world in which archers shoot further."""

    def _destinations(self, crowd: Crowd, herd: Herd, seats: Seats) -> tuple[Ints, Ints, Ints]:
        x, y, near = super()._destinations(crowd, herd, seats)
        near[(crowd.kind == ARCHER) & (crowd.state == FIGHTING) & (crowd.target >= 0) & (near > 0)] += FURTHER
        return x, y, near


class GameV2(Game, name="lockstep", version=2, previous=Game, event=News):
    """The game by these rules; its commands and its state are as they were."""

    def make_world(self) -> World:
        """The world by the rules of this release."""
        return WorldV2(
            match=self.match,
            players=self.players,
            units=self.units,
            deer=self.deer,
            projectiles=self.projectiles,
            ground=self.ground,
        )
