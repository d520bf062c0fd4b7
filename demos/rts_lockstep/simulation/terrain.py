"""Maps: noise of integers, folded eight ways, so that every start looks out on the same country.

A map is its own mirror image along both axes and both diagonals. There are eight places for a start, all images of one
another; two players get opposite ones, four every other one. A track leads from each start to the middle, through fords
where there is water, so everybody can reach everybody; land that nobody can walk to is flooded.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from demos.rts_lockstep.simulation.integers import Ints, mix
from demos.rts_lockstep.units import BERRIES, GRASS, HILL, PLAYERS_MAX, SHALLOW, TREE, WATER, table

# Percent of the land, in the order in which they are taken.
WATER_PERCENT: Final = 10
HILL_PERCENT: Final = 10
TREE_PERCENT: Final = 16
# What a tile holds: a grove keeps a few villagers busy for minutes.
TREE_STOCK: Final = 100
BERRIES_STOCK: Final = 200
STOCK: Final = table((0, 0, TREE_STOCK, BERRIES_STOCK, 0, 0, 0))
# Tiles around a start that are grass; inside the part of the map that no other start shares.
CLEARING_TILES: Final = 7
DIRECTIONS: Final = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))

Grid = np.ndarray[Any, np.dtype[np.uint8]]

_UNCUT: Final[Grid] = np.array((GRASS, WATER, TREE, GRASS, HILL, SHALLOW, TREE), dtype=np.uint8)


class Land(NamedTuple):
    """A new map. `tile` and `stock` are (size, size), row y, column x; places are tiles (x, y)."""

    tile: Grid
    stock: Grid
    starts: tuple[tuple[int, int], ...]  # one per player
    herds: tuple[tuple[int, int], ...]  # where each player's animals graze


def make(seed: int, size: int, players: int) -> Land:
    """The map of a seed."""
    axis = np.arange(size, dtype=np.int64)
    fold = np.minimum(axis, size - 1 - axis)
    u = np.minimum(fold[:, None], fold[None, :])
    v = np.maximum(fold[:, None], fold[None, :])
    height = 2 * _noise(seed, 1, u, v, 8) + _noise(seed, 2, u, v, 4)
    growth = 2 * _noise(seed, 3, u, v, 6) + _noise(seed, 4, u, v, 3)
    tile = np.full((size, size), GRASS, dtype=np.uint8)
    tile[growth > _rank(growth, 100 - TREE_PERCENT)] = TREE
    tile[height > _rank(height, 100 - HILL_PERCENT)] = HILL
    tile[height < _rank(height, WATER_PERCENT)] = WATER

    start_u, start_v = start = (size * 10 // 96, size // 3)
    distance = (u - start_u) * (u - start_u) + (v - start_v) * (v - start_v)
    turn = int(mix(seed, 5)[0] % np.uint64(8))
    places = [(start_u + dx * far, start_v + dy * far) for far, (dx, dy) in _around(turn)]
    tile[distance <= CLEARING_TILES * CLEARING_TILES] = GRASS
    for (place_u, place_v), what, radius in zip(places, (BERRIES, TREE, TREE), (2, 5, 5), strict=False):
        near = (u - place_u) * (u - place_u) + (v - place_v) * (v - place_v)
        tile[(near <= radius) & (tile != WATER)] = what
    track = _track(u, v, start, (size - 1) // 2)
    tile[track & (tile == WATER)] = SHALLOW
    tile[track & (tile == TREE)] = GRASS
    tile[~_reached(tile != WATER, start_u, start_v)] = WATER
    images = _images(*start, size)
    herds = _images(*places[3], size)
    chosen = [number * PLAYERS_MAX // players for number in range(players)]
    return Land(tile, STOCK[tile].astype(np.uint8), tuple(images[i] for i in chosen), tuple(herds[i] for i in chosen))


def _around(turn: int) -> list[tuple[int, tuple[int, int]]]:
    """Distance and direction from a start: berries, two groves, the animals."""
    ways = [DIRECTIONS[(turn + step) % 8] for step in (0, 3, 5, 6)]
    return [(far * 2 // (1 + abs(dx) + abs(dy)), (dx, dy)) for far, (dx, dy) in zip((5, 7, 7, 8), ways, strict=True)]


def _images(u: int, v: int, size: int) -> list[tuple[int, int]]:
    """The eight images of a place, all the way around the middle."""
    m = size - 1
    return [(u, v), (v, u), (m - v, u), (m - u, v), (m - u, m - v), (m - v, m - u), (v, m - u), (u, m - v)]


def _noise(seed: int, layer: int, u: Ints, v: Ints, cell: int) -> Ints:
    """Random numbers from 0 to 255 at the corners of cells, and in proportion between them."""

    def corner(i: Ints, j: Ints) -> Ints:
        return (mix(seed, layer, i, j) & np.uint64(255)).astype(np.int64)

    i, j, a, b = u // cell, v // cell, u % cell, v % cell
    upper = corner(i, j) * (cell - a) + corner(i + 1, j) * a
    lower = corner(i, j + 1) * (cell - a) + corner(i + 1, j + 1) * a
    noise = (upper * (cell - b) + lower * b).astype(np.int64)
    return np.floor_divide(noise, cell * cell, dtype=np.int64)


def _rank(values: Ints, percent: int) -> int:
    """The value that so many percent of all lie below."""
    ordered = np.sort(values, axis=None, kind="stable")
    return int(ordered[len(ordered) * percent // 100])


def _track(u: Ints, v: Ints, start: tuple[int, int], middle: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which tiles lie on the way to the middle, three tiles wide."""
    track = np.zeros(u.shape, dtype=np.bool_)
    for step in range(middle + 1):
        at_u = start[0] + (middle - start[0]) * step // middle
        at_v = start[1] + (middle - start[1]) * step // middle
        track |= (np.abs(u - at_u) <= 1) & (np.abs(v - at_v) <= 1)
    return track


def _reached(
    dry: np.ndarray[Any, np.dtype[np.bool_]], start_u: int, start_v: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where one can walk to from a start, straight steps only."""
    reached = np.zeros_like(dry)
    reached[start_u, start_v] = True
    count = 0
    while count != (count := int(np.count_nonzero(reached))):
        reached[1:] |= reached[:-1]
        reached[:-1] |= reached[1:]
        reached[:, 1:] |= reached[:, :-1]
        reached[:, :-1] |= reached[:, 1:]
        reached &= dry
    return reached


def uncut(tile: Grid) -> Grid:
    """The map as far as ways go, the same before and after gathering: stumps are like trees, berries like grass."""
    return _UNCUT[tile]
