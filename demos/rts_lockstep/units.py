"""The words of the world: kinds, states, tiles, what each kind can do, and the columns that hold it all.

Everything is an integer. Positions are fixed point, `SUB` sub-tile units per tile; speeds are sub-tile units per turn;
times are turns. The columns below are the whole state of a match: whoever has them has the match, and nothing else is
remembered from turn to turn. A row of `units` is a unit's number for as long as it lives (`hp > 0`); a row of `deer` is
an animal's. Where a number may mean either, animals are `DEER_BASE + row`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

# Sub-tile units per tile: fine enough that the slowest step on the worst ground still has a direction.
SUB: Final = 256
MAP_SIZE_DEFAULT: Final = 96
MAP_SIZE_MIN: Final = 48  # eight starts need room
MAP_SIZE_MAX: Final = 126  # destinations and tile numbers are 16 bit: 126 * 256 < 2**15
PLAYERS_MAX: Final = 8
UNITS_MAX: Final = 1500
GAIA: Final = 8  # who owns what nobody owns

VILLAGER: Final = 0
INFANTRY: Final = 1
ARCHER: Final = 2
CAVALRY: Final = 3
DEER: Final = 4
TOWN_CENTRE: Final = 5

IDLE: Final = 0
WALKING: Final = 1
FIGHTING: Final = 2
GATHERING: Final = 3
CARRYING: Final = 4
TRAINING: Final = 5

GRASS: Final = 0
WATER: Final = 1
TREE: Final = 2
BERRIES: Final = 3
HILL: Final = 4
SHALLOW: Final = 5
STUMPS: Final = 6
TILE_NAMES: Final = ("grass", "water", "tree", "berries", "hill", "shallow", "stumps")

NOTHING: Final = 0
FOOD: Final = 1
WOOD: Final = 2

NOBODY: Final = -1  # no target, no tile, no winner yet
DRAW: Final = -2
DEER_BASE: Final = 100_000


class Trait(NamedTuple):
    """What a kind of unit is like."""

    name: str
    hp: int
    speed: int  # sub-tile units per turn on grass
    radius: int  # two units keep the sum of their radii between them
    reach: int  # how far it hits, counted from the edge of what it hits
    sight: int  # tiles: how far it looks for somebody to fight
    attack: int
    reload: int  # turns between two blows or arrows
    food: int
    wood: int
    train: int  # turns that its training takes


TRAITS: Final = (
    Trait("villager", 25, 48, 56, 96, 0, 3, 8, 50, 0, 40),
    Trait("infantry", 45, 52, 56, 96, 6, 5, 6, 45, 20, 45),
    Trait("archer", 30, 54, 56, 1280, 7, 5, 9, 25, 40, 50),
    Trait("cavalry", 80, 88, 68, 110, 7, 8, 8, 80, 30, 75),
    Trait("deer", 8, 36, 48, 0, 3, 0, 0, 0, 0, 0),
    Trait("town centre", 5000, 0, 320, 1664, 7, 8, 2, 0, 0, 0),
)
TRAINABLE: Final = (VILLAGER, INFANTRY, ARCHER, CAVALRY)
# Percent of its attack that a kind (row) does to another (column): spears stop horses, horses ride down archers,
# archers wear down spears, and it takes men with blades to bring down walls.
BONUS: Final = (
    (100, 60, 80, 60, 100, 40),
    (150, 100, 100, 180, 100, 125),
    (120, 130, 100, 80, 100, 20),
    (200, 80, 170, 100, 100, 60),
    (0, 0, 0, 0, 0, 0),
    (100, 100, 100, 100, 0, 0),
)


def table(values: tuple[int, ...] | tuple[tuple[int, ...], ...]) -> np.ndarray:
    """A constant array to look up in."""
    array = np.array(values, dtype=np.int64)
    array.flags.writeable = False
    return array


HP: Final = table(tuple(trait.hp for trait in TRAITS))
SPEED: Final = table(tuple(trait.speed for trait in TRAITS))
RADIUS: Final = table(tuple(trait.radius for trait in TRAITS))
REACH: Final = table(tuple(trait.reach for trait in TRAITS))
SIGHT: Final = table(tuple(trait.sight for trait in TRAITS))
STRENGTH: Final = table(tuple(trait.attack for trait in TRAITS))
RELOAD: Final = table(tuple(trait.reload for trait in TRAITS))
DAMAGE_PERCENT: Final = table(BONUS)

# What a player may have waiting in his town centre, and how it is kept: four bits each, the first one lowest, kind + 1.
QUEUE_MAX: Final = 10
# Arrows in the air; archers hold theirs while there are as many.
PROJECTILES_MAX: Final = 2048

MATCH_COLUMNS: Final = {
    "turn": "int32",  # turns that have run
    "seed": "int64",
    "size": "int16",  # tiles on a side
    "winner": "int8",  # NOBODY, DRAW, or a player
}
PLAYER_COLUMNS: Final = {
    "food": "int32",
    "wood": "int32",
    "alive": "uint8",  # 1 while his town centre stands
    "out": "int32",  # the turn in which he lost it, or NOBODY
    "centre": "int16",  # its row in `units`
    "queue": "int64",  # what it trains
    "progress": "int16",  # turns spent on the first in the queue
}
UNIT_COLUMNS: Final = {
    "x": "int32",
    "y": "int32",
    "hp": "int16",  # 0: nobody is here
    "kind": "uint8",
    "owner": "uint8",
    "state": "uint8",
    "to_x": "int16",  # its own place to go to, or where it stands guard
    "to_y": "int16",
    "goal": "int16",  # the tile whose path field leads there; a group has one
    "target": "int32",  # a unit, an animal (DEER_BASE + row), or NOBODY
    "roam": "uint8",  # 1: it fights whom it meets on its way
    "job": "int16",  # the tile that it gathers from, or NOBODY
    "load": "uint8",  # NOTHING, FOOD or WOOD
    "carry": "uint8",  # how much of it
    "wait": "uint8",  # turns until it can hit, or take the next load, again
    "stuck": "uint8",  # turns in a row without getting nearer
    "freed": "int32",  # rows of the dead: the turn of death. The longest dead row is used first
}
DEER_COLUMNS: Final = {
    "x": "int32",
    "y": "int32",
    "hp": "int16",  # 0: it is down
    "food": "int16",  # what can be taken from it; 0: nothing is left of it
    "dx": "int16",  # its stride
    "dy": "int16",
    "fear": "uint8",  # turns that it still runs
}
PROJECTILE_COLUMNS: Final = {
    "x": "int32",
    "y": "int32",
    "vx": "int16",  # sub-tile units per turn
    "vy": "int16",
    "ticks": "uint8",  # turns left in the air
    "target": "int32",
    "damage": "int16",
    "owner": "uint8",
}
GROUND_COLUMNS: Final = {
    "tile": "uint8",  # row-major: y * size + x
    "stock": "uint8",  # food or wood left in it
}
