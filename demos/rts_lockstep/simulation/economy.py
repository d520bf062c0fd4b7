"""Work and training: villagers gather, carry home and go back; town centres turn food and wood into units.

A villager keeps his job (a tile, or an animal) until nothing is left of it, then looks for the nearest of the same
kind. What he takes leaves the ground in the same turn and is in his hands; what he hands in leaves his hands and is
in the store: nothing is made or lost on the way, unless its bearer falls or is sent to gather something else.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from demos.rts_lockstep.simulation.columns import Crowd, Ground, Herd, Seats
from demos.rts_lockstep.simulation.integers import Ints
from demos.rts_lockstep.simulation.movement import Flags
from demos.rts_lockstep.simulation.paths import Paths
from demos.rts_lockstep.units import (
    BERRIES,
    CARRYING,
    DEER_BASE,
    FOOD,
    GATHERING,
    GRASS,
    HP,
    IDLE,
    NOBODY,
    NOTHING,
    QUEUE_MAX,
    STUMPS,
    SUB,
    TRAINING,
    TRAITS,
    TREE,
    VILLAGER,
    WOOD,
    table,
)

# How much a villager carries, and how many turns it takes to pick up one.
CARRY_MAX: Final = 10
PICK_TURNS: Final = 3
# How far he looks for more of the same, in tiles.
LOOK_TILES: Final = 24
# Rows of the dead rest for so many turns, so that nobody's picture takes the next one for the last one.
REST_TURNS: Final = 10
# What a tile gives, and what it becomes when nothing is left.
GIVES: Final = table((NOTHING, NOTHING, WOOD, FOOD, NOTHING, NOTHING, NOTHING))
# What used-up ground once gave.
GAVE: Final = table((FOOD, NOTHING, WOOD, FOOD, NOTHING, NOTHING, WOOD))
QUEUE_BITS: Final = 4
# Where the trained come out, around the town centre.
DOOR_X: Final = table((400, 370, 283, 153, 0, -153, -283, -370, -400, -370, -283, -153, 0, 153, 283, 370))
DOOR_Y: Final = table((0, 153, 283, 370, 400, 370, 283, 153, 0, -153, -283, -370, -400, -370, -283, -153))


def gather(crowd: Crowd, herd: Herd, ground: Ground, in_reach: Flags) -> None:
    """Those who are at their work take one, if it is time."""
    ready = (crowd.state == GATHERING) & in_reach & (crowd.wait == 0) & (crowd.hp > 0)
    at_tile = np.flatnonzero(ready & (crowd.job >= 0))
    what = GIVES[ground.tile[crowd.job[at_tile]]]
    at_tile, what = at_tile[what != NOTHING], what[what != NOTHING]
    takes = _first_come(crowd.job[at_tile], ground.stock)
    at_tile, what = at_tile[takes], what[takes]
    np.subtract.at(ground.stock, crowd.job[at_tile], 1)
    _take(crowd, at_tile, what)
    used_up = (ground.stock == 0) & (GIVES[ground.tile] != NOTHING)
    ground.tile[used_up] = np.where(ground.tile[used_up] == TREE, STUMPS, GRASS)
    if len(herd.x):
        at_animal = np.flatnonzero(ready & (crowd.job < 0) & (crowd.target >= DEER_BASE))
        animal = crowd.target[at_animal] - DEER_BASE
        down = (herd.hp[animal] == 0) & (herd.food[animal] > 0)
        at_animal, animal = at_animal[down], animal[down]
        takes = _first_come(animal, herd.food)
        np.subtract.at(herd.food, animal[takes], 1)
        _take(crowd, at_animal[takes], np.full(int(takes.sum()), FOOD, dtype=np.int64))


def _first_come(source: Ints, left: Ints) -> Flags:
    """Who still gets one, where several take from the same source: lower rows first."""
    order = np.argsort(source, kind="stable")
    ordered = source[order]
    place = np.arange(len(ordered), dtype=np.int64) - np.searchsorted(ordered, ordered, side="left")
    takes = np.zeros(len(source), dtype=np.bool_)
    takes[order] = place < left[ordered]
    return takes


def _take(crowd: Crowd, rows: Ints, what: Ints) -> None:
    crowd.carry[rows] = np.where(crowd.load[rows] == what, crowd.carry[rows], 0) + 1
    crowd.load[rows] = what
    crowd.wait[rows] = PICK_TURNS
    full = rows[crowd.carry[rows] >= CARRY_MAX]
    crowd.state[full] = CARRYING


def hand_in(crowd: Crowd, seats: Seats, in_reach: Flags) -> None:
    """Those who are home with their load put it into the store, and go back to work."""
    rows = np.flatnonzero((crowd.state == CARRYING) & in_reach & (crowd.hp > 0))
    food = rows[crowd.load[rows] == FOOD]
    wood = rows[crowd.load[rows] == WOOD]
    np.add.at(seats.food, crowd.owner[food], crowd.carry[food])
    np.add.at(seats.wood, crowd.owner[wood], crowd.carry[wood])
    crowd.carry[rows] = 0
    crowd.load[rows] = NOTHING
    crowd.state[rows] = np.where((crowd.job[rows] >= 0) | (crowd.target[rows] >= DEER_BASE), GATHERING, IDLE)


def look_for_work(crowd: Crowd, herd: Herd, ground: Ground) -> None:
    """Those whose tile or animal gives nothing any more find the nearest one that does, or take home what they have."""
    at_work = (crowd.state == GATHERING) & (crowd.hp > 0)
    tile = np.maximum(crowd.job, 0)
    tiles_gone = at_work & (crowd.job >= 0) & (ground.stock[tile] == 0)
    prey_gone = at_work & (crowd.job < 0) & (crowd.target < 0)
    for row in np.flatnonzero(tiles_gone | prey_gone).tolist():
        if tiles_gone[row]:
            what = int(GAVE[ground.tile[crowd.job[row]]])
        else:
            what = FOOD
            crowd.target[row] = _nearest_animal(herd, int(crowd.x[row]), int(crowd.y[row]))
        if crowd.target[row] < 0 or tiles_gone[row]:
            crowd.job[row] = nearest_tile(ground, crowd.size, what, int(crowd.x[row]), int(crowd.y[row]), LOOK_TILES)
            if crowd.job[row] < 0:
                crowd.state[row] = CARRYING if crowd.carry[row] else IDLE


def _nearest_animal(herd: Herd, x: int, y: int) -> int:
    dx, dy = herd.x - x, herd.y - y
    squares = np.where(herd.food > 0, dx * dx + dy * dy, 1 << 60)
    if not len(squares) or squares.min() > (LOOK_TILES * SUB) ** 2:
        return NOBODY
    return DEER_BASE + int(np.argmin(squares))


def nearest_tile(ground: Ground, size: int, what: int, x: int, y: int, tiles_max: int) -> int:
    """The nearest tile that gives FOOD or WOOD (NOTHING: either of them), or NOBODY within so many tiles."""
    kinds = {FOOD: (BERRIES,), WOOD: (TREE,), NOTHING: (BERRIES, TREE)}.get(what, ())
    tiles = np.flatnonzero(np.isin(ground.tile, kinds) & (ground.stock > 0))
    dx, dy = tiles % size - x // SUB, tiles // size - y // SUB
    squares = dx * dx + dy * dy
    if not len(squares) or squares.min() > tiles_max * tiles_max:
        return NOBODY
    return int(tiles[np.argmin(squares)])


def queued(queue: int) -> tuple[int, ...]:
    """The kinds in a queue, the first one first."""
    kinds = []
    while queue:
        kinds.append((queue & 15) - 1)
        queue >>= QUEUE_BITS
    return tuple(kinds)


def enqueue(seats: Seats, player: int, kind: int, room: int) -> bool:
    """Pay for a unit and queue it; False if the player cannot, or has no room for it."""
    waiting = queued(int(seats.queue[player]))
    trait = TRAITS[kind]
    if len(waiting) >= min(QUEUE_MAX, room) or seats.food[player] < trait.food or seats.wood[player] < trait.wood:
        return False
    seats.food[player] -= trait.food
    seats.wood[player] -= trait.wood
    seats.queue[player] |= (kind + 1) << (QUEUE_BITS * len(waiting))
    return True


def train(crowd: Crowd, seats: Seats, ground: Ground, paths: Paths, turn: int) -> None:
    """Go on with what is queued; who is ready comes out, if a row is free."""
    for player in np.flatnonzero(seats.alive).tolist():
        centre, queue = int(seats.centre[player]), int(seats.queue[player])
        crowd.state[centre] = TRAINING if queue else IDLE
        if not queue:
            continue
        kind = (queue & 15) - 1
        seats.progress[player] = min(int(seats.progress[player]) + 1, TRAITS[kind].train)
        if seats.progress[player] < TRAITS[kind].train:
            continue
        free = (crowd.hp == 0) & (crowd.freed + REST_TURNS <= turn)
        # A town that was given up this turn still stands for its player when the turn is judged.
        free[seats.centre[seats.alive == 1]] = False
        rows = np.flatnonzero(free)
        if not len(rows):
            continue
        row = int(rows[np.argmin(crowd.freed[rows])])
        seats.progress[player] = 0
        seats.queue[player] = queue >> QUEUE_BITS
        door = (turn + player) % len(DOOR_X)
        x, y = int(crowd.x[centre] + DOOR_X[door]), int(crowd.y[centre] + DOOR_Y[door])
        if not paths.dry[y // SUB * crowd.size + x // SUB]:
            x, y = int(crowd.x[centre]), int(crowd.y[centre])
        place(crowd, row, kind, player, x, y)
        if kind == VILLAGER:
            what = FOOD if seats.food[player] <= seats.wood[player] else WOOD
            crowd.job[row] = nearest_tile(ground, crowd.size, what, x, y, LOOK_TILES)
            crowd.state[row] = GATHERING if crowd.job[row] >= 0 else IDLE


def place(crowd: Crowd, row: int, kind: int, owner: int, x: int, y: int) -> None:
    """Put a new unit into a free row."""
    crowd.x[row] = crowd.to_x[row] = x
    crowd.y[row] = crowd.to_y[row] = y
    crowd.goal[row] = y // SUB * crowd.size + x // SUB
    crowd.hp[row] = HP[kind]
    crowd.kind[row] = kind
    crowd.owner[row] = owner
    crowd.state[row] = IDLE
    crowd.target[row] = crowd.job[row] = NOBODY
    crowd.roam[row] = 1
    crowd.load[row] = crowd.carry[row] = crowd.wait[row] = crowd.stuck[row] = 0
