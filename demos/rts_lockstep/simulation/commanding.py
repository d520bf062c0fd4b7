"""Carrying out orders: who may be told what, and where each unit of a group shall stand.

A group that is sent somewhere shares one path field and gets places around its goal, in rows across the way it comes:
riders and men with spears in front, archers behind them, villagers last; within a row from left to right as they are
now, so that their ways do not cross.
"""

from __future__ import annotations

from math import isqrt
from typing import Final

import numpy as np

from demos.rts_lockstep.orders import ATTACK, GATHER, MOVE, RESIGN, STOP, TRAIN, Order
from demos.rts_lockstep.simulation.columns import Crowd, Ground, Herd, Seats
from demos.rts_lockstep.simulation.economy import GIVES, enqueue, nearest_tile
from demos.rts_lockstep.simulation.integers import Ints
from demos.rts_lockstep.simulation.paths import Paths
from demos.rts_lockstep.units import (
    DEER_BASE,
    FIGHTING,
    GATHERING,
    IDLE,
    NOBODY,
    NOTHING,
    SUB,
    TOWN_CENTRE,
    TRAINABLE,
    VILLAGER,
    WALKING,
    table,
)

# Between two places of a formation.
SPACING: Final = 144
# How far from where a player pointed one looks for something to gather, in tiles.
GATHER_TILES: Final = 8
# Rank by kind: who stands in front.
RANK: Final = table((3, 1, 2, 0, 4, 5))


def carry_out(
    order: Order, crowd: Crowd, herd: Herd, seats: Seats, ground: Ground, paths: Paths, population_max: int
) -> None:
    """Do what an order says, as far as it makes sense."""
    player = order.player
    if not 0 <= player < len(seats.alive) or not seats.alive[player]:
        return
    if order.kind == TRAIN:
        if order.target in TRAINABLE:
            own = int(np.count_nonzero((crowd.hp > 0) & (crowd.owner == player)))
            enqueue(seats, player, order.target, population_max - own)
        return
    if order.kind == RESIGN:
        crowd.hp[seats.centre[player]] = 0
        return
    rows = _able(order, crowd)
    if not len(rows):
        return
    x, y, tile = _dry_place(paths, order.x, order.y)
    if order.kind == MOVE:
        send(crowd, paths, rows, x, y, tile, roam=0)
    elif order.kind == ATTACK:
        _attack(order, crowd, paths, rows, x, y, tile)
    elif order.kind == GATHER:
        _gather(order, crowd, herd, ground, rows[crowd.kind[rows] == VILLAGER])
    elif order.kind == STOP:
        _clear(crowd, rows)
        crowd.state[rows] = IDLE
        crowd.roam[rows] = 1
        crowd.to_x[rows], crowd.to_y[rows] = crowd.x[rows], crowd.y[rows]
        crowd.goal[rows] = crowd.tiles()[rows]


def _able(order: Order, crowd: Crowd) -> Ints:
    """The units of an order that live, are the player's and can walk; ascending."""
    named = np.array(sorted({unit for unit in order.units if 0 <= unit < len(crowd.x)}), dtype=np.int64)
    able = (crowd.hp[named] > 0) & (crowd.owner[named] == order.player) & (crowd.kind[named] != TOWN_CENTRE)
    rows: Ints = named[able]
    return rows


def _dry_place(paths: Paths, x: int, y: int) -> tuple[int, int, int]:
    """The place itself, or the middle of the nearest tile that one can stand on; and its tile."""
    most = paths.size * SUB - 1
    x, y = min(max(x, 0), most), min(max(y, 0), most)
    tile = y // SUB * paths.size + x // SUB
    if paths.dry[tile]:
        return x, y, tile
    tiles = np.flatnonzero(paths.dry)
    dx, dy = tiles % paths.size - x // SUB, tiles // paths.size - y // SUB
    tile = int(tiles[np.argmin(dx * dx + dy * dy)])
    return tile % paths.size * SUB + SUB // 2, tile // paths.size * SUB + SUB // 2, tile


def _clear(crowd: Crowd, rows: Ints) -> None:
    crowd.target[rows] = NOBODY
    crowd.job[rows] = NOBODY
    crowd.stuck[rows] = 0


def send(crowd: Crowd, paths: Paths, rows: Ints, x: int, y: int, tile: int, roam: int) -> None:
    """Send a group to places around (x, y), which lies in `tile`."""
    places_x, places_y = _places(paths, len(rows), x, y, tile)
    ahead_x, ahead_y = x - int(crowd.x[rows].sum()) // len(rows), y - int(crowd.y[rows].sum()) // len(rows)
    if ahead_x == 0 and ahead_y == 0:
        ahead_y = 1

    def along(at_x: Ints, at_y: Ints) -> Ints:
        product: Ints = (at_x - x) * ahead_x + (at_y - y) * ahead_y
        return product

    def across(at_x: Ints, at_y: Ints) -> Ints:
        product: Ints = (at_y - y) * ahead_x - (at_x - x) * ahead_y
        return product

    here_x, here_y = crowd.x[rows], crowd.y[rows]
    front = np.lexsort((rows, -along(here_x, here_y), RANK[crowd.kind[rows]]))
    places = np.argsort(-along(places_x, places_y), kind="stable")
    line = np.arange(len(rows), dtype=np.int64) // max(isqrt(len(rows)), 1)
    front = front[np.lexsort((across(here_x, here_y)[front], line))]
    places = places[np.lexsort((across(places_x, places_y)[places], line))]
    _clear(crowd, rows)
    crowd.to_x[rows[front]], crowd.to_y[rows[front]] = places_x[places], places_y[places]
    crowd.goal[rows] = tile
    crowd.state[rows] = WALKING
    crowd.roam[rows] = roam


def _places(paths: Paths, count: int, x: int, y: int, tile: int) -> tuple[Ints, Ints]:
    """As many places around (x, y), nearest first; those that one can see from there before others."""
    size, reach = paths.size, isqrt(count) + 2
    while True:
        span = np.arange(-reach, reach + 1, dtype=np.int64) * SPACING
        at_x, at_y = np.tile(x + span, len(span)), np.repeat(y + span, len(span))
        inside = (at_x >= 0) & (at_x < size * SUB) & (at_y >= 0) & (at_y < size * SUB)
        at_x, at_y = at_x[inside], at_y[inside]
        tiles = at_y // SUB * size + at_x // SUB
        dry = paths.dry[tiles]
        if np.count_nonzero(dry) >= count or reach * SPACING > size * SUB:
            break
        reach *= 2
    at_x, at_y, tiles = at_x[dry], at_y[dry], tiles[dry]
    squares = (at_x - x) ** 2 + (at_y - y) ** 2
    hidden = ~paths.straight(tile)[tiles]
    order = np.argsort(squares * np.where(hidden, 4, 1), kind="stable")
    order = order[np.arange(count, dtype=np.int64) % len(order)]
    return at_x[order], at_y[order]


def _attack(order: Order, crowd: Crowd, paths: Paths, rows: Ints, x: int, y: int, tile: int) -> None:
    target = order.target
    if not (0 <= target < len(crowd.x) and crowd.hp[target] > 0):
        send(crowd, paths, rows, x, y, tile, roam=1)
    elif crowd.owner[target] != order.player:
        _clear(crowd, rows)
        crowd.state[rows] = FIGHTING
        crowd.target[rows] = target
        crowd.roam[rows] = 0


def _gather(order: Order, crowd: Crowd, herd: Herd, ground: Ground, rows: Ints) -> None:
    animal = order.target - DEER_BASE
    if 0 <= animal < len(herd.x) and herd.food[animal] > 0:
        _clear(crowd, rows)
        crowd.target[rows] = order.target
        crowd.state[rows] = GATHERING
        return
    most = crowd.size * SUB - 1
    x, y = min(max(order.x, 0), most), min(max(order.y, 0), most)
    pointed = y // SUB * crowd.size + x // SUB
    first = pointed if GIVES[ground.tile[pointed]] != NOTHING else NOBODY
    if first < 0:
        first = nearest_tile(ground, crowd.size, NOTHING, x, y, GATHER_TILES)
    if first < 0:
        return
    _clear(crowd, rows)
    crowd.job[rows] = _spread(ground, crowd.size, first, len(rows))
    crowd.state[rows] = GATHERING


def _spread(ground: Ground, size: int, first: int, count: int) -> Ints:
    """Tiles for so many gatherers: the nearest ones of the same kind around the first, two to a tile."""
    tiles = np.flatnonzero((ground.tile == ground.tile[first]) & (ground.stock > 0))
    dx, dy = tiles % size - first % size, tiles // size - first // size
    squares = dx * dx + dy * dy
    near = squares <= GATHER_TILES * GATHER_TILES
    tiles = tiles[near][np.argsort(squares[near], kind="stable")]
    return tiles[np.arange(count, dtype=np.int64) // 2 % len(tiles)]
