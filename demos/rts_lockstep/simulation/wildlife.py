"""Deer: they graze, wander a little, and run from whoever comes too near."""

from __future__ import annotations

from typing import Final

import numpy as np

from demos.rts_lockstep.simulation.columns import Columns, Crowd, Herd
from demos.rts_lockstep.simulation.integers import Ints, below, length_above, mix
from demos.rts_lockstep.simulation.movement import stepped
from demos.rts_lockstep.simulation.paths import Paths
from demos.rts_lockstep.simulation.sight import Watch
from demos.rts_lockstep.units import DEER, HP, SPEED, SUB, TOWN_CENTRE

# An animal thinks every so many turns, each in its own; in half of the cases it stands and grazes.
THINK_TURNS: Final = 16
WANDER_SPEED: Final = 18
FEAR_TILES: Final = 2
FEAR_TURNS: Final = 12
RUN_SPEED: Final = int(SPEED[DEER]) * 2
# What can be taken from an animal, and after how many turns one looks again whether another has come in its place.
DEER_FOOD: Final = 100
BREED_TURNS: Final = 1200


def breed(herd: Herd, turn: int) -> None:
    """Where an animal was eaten up, another one grazes some time later: berries end, so without this all food would,
    and with the last armies gone nobody could win any more.
    """
    row = np.arange(len(herd.x), dtype=np.int64)
    comes = (herd.food == 0) & ((row * 37 + turn) % BREED_TURNS == 0)
    herd.hp[comes], herd.food[comes] = HP[DEER], DEER_FOOD


def roam(crowd: Crowd, herd: Herd, deer: Columns, paths: Paths, seed: int, turn: int) -> None:
    """Move the animals by one turn, and put them back into `deer`: whoever traces writes finds these here."""
    alive = herd.hp > 0
    if not alive.any():
        return
    _think(herd, alive, seed, turn)
    _fear(crowd, herd, alive)
    herd.dx[~alive], herd.dy[~alive] = 0, 0
    herd.x, herd.y, moved_x, moved_y = stepped(herd.x, herd.y, herd.dx, herd.dy, paths)
    # At the water's edge, and the world's, it turns around.
    herd.dx = np.where(moved_x == herd.dx, herd.dx, -herd.dx)
    herd.dy = np.where(moved_y == herd.dy, herd.dy, -herd.dy)
    herd.put(deer)


def _think(herd: Herd, alive: np.ndarray[tuple[int], np.dtype[np.bool_]], seed: int, turn: int) -> None:
    row = np.arange(len(herd.x), dtype=np.int64)
    calm = alive & (herd.fear == 0)
    thinks = calm & ((row * 5 + turn) % THINK_TURNS == 0)
    bits = mix(seed, turn, row)
    goes = (bits & np.uint64(1)) == 1
    herd.dx = np.where(thinks, np.where(goes, _stride(bits), 0), herd.dx)
    herd.dy = np.where(thinks, np.where(goes, _stride(mix(seed, turn, row, 1)), 0), herd.dy)
    out_of_breath = alive & (herd.fear == 1)
    herd.dx[out_of_breath], herd.dy[out_of_breath] = 0, 0
    herd.fear = np.maximum(herd.fear - 1, 0)


def _stride(bits: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Ints:
    return below(bits, 2 * WANDER_SPEED + 1) - WANDER_SPEED


def _fear(crowd: Crowd, herd: Herd, alive: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
    """Run from the nearest unit that is close."""
    people = np.flatnonzero((crowd.hp > 0) & (crowd.kind != TOWN_CENTRE))
    animals = np.flatnonzero(alive)
    if not len(people):
        return
    tiles = herd.y[animals] // SUB * crowd.size + herd.x[animals] // SUB
    watch = Watch(people, np.zeros(len(people), dtype=np.int64), crowd.tiles()[people], crowd.size)
    shy = np.ones(len(animals), dtype=np.int64)  # whoever is a unit is a stranger to it
    nearest = watch.nearest(animals, shy, tiles, shy * FEAR_TILES)
    flees, feared = animals[nearest >= 0], nearest[nearest >= 0]
    away_x, away_y = herd.x[flees] - crowd.x[feared], herd.y[flees] - crowd.y[feared]
    length = length_above(away_x, away_y)
    herd.dx[flees] = (np.abs(away_x) * RUN_SPEED // length) * np.sign(away_x)
    herd.dy[flees] = (np.abs(away_y) * RUN_SPEED // length) * np.sign(away_y)
    herd.fear[flees] = FEAR_TURNS
