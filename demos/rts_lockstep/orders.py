"""Orders: all that a player can say to the world.

An order names units by number; those that are dead, somebody else's, or of a kind that cannot do it are passed over,
and coordinates are taken to the nearest place on the map. No order is an error: players act on a picture that is two
turns old, so orders about what has just died are everyday life.
"""

from __future__ import annotations

from typing import Final

import msgspec

from demos.rts_lockstep.units import NOBODY

# Walk to (x, y), each to his place in a formation around it; fight nobody on the way.
MOVE: Final = 0
# Fight `target` until one is down; without a target, walk to (x, y) and fight whom one meets.
ATTACK: Final = 1
# Villagers: hunt the animal `target`; without one, gather from the tile that (x, y) lies in (or what is nearest to it),
# carry it home, and come back. What is already in their hands of the other kind is lost.
GATHER: Final = 2
# The player's town centre trains one unit of kind `target` (units, x and y say nothing): paid at once, queued.
TRAIN: Final = 3
# Stay where you are.
STOP: Final = 4
# The player gives up: his town centre falls.
RESIGN: Final = 5


class Order(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One order of one player. `units`: row numbers; repeated ones count once."""

    kind: int
    player: int
    units: tuple[int, ...] = ()
    x: int = 0  # sub-tile units
    y: int = 0
    target: int = NOBODY
