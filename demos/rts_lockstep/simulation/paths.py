"""Path fields: for one goal, the way there from every tile. A group shares one; so does everybody with the same goal.

What ground costs depends on kinds that do not change in a match (a felled tree leaves stumps that are as hard to
cross), so a field is a function of the map and the goal: keeping it or making it again is all the same.

A field is made by a wave that runs outwards from the goal over sets of tiles. A set is one Python integer with a bit
per tile, so a step of the wave is a few shifts of a thousand bytes. Every other step also goes to the four diagonal
neighbours (the wave is an octagon, close to a circle), and what is hard to cross holds the wave up for a step or two.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from demos.rts_lockstep.simulation.integers import Ints
from demos.rts_lockstep.units import BERRIES, GRASS, HILL, WATER

# Fields that are kept: a turn rarely needs a hundred. 18 kB each on the usual map.
FIELDS_MAX: Final = 512
# Steps that a heading looks ahead where no water is near, so that ways are less square.
AHEAD: Final = 3
# Side of the blocks whose tiles share a place for those who are far away.
MEETING_TILES: Final = 4
# (dy, dx) to the neighbour that a way goes on to: straight ones first.
STRAIGHT: Final = ((0, -1), (-1, 0), (0, 1), (1, 0))
DIAGONAL: Final = ((-1, -1), (-1, 1), (1, 1), (1, -1))

NONE: Final = -1

Flags = np.ndarray[Any, np.dtype[np.bool_]]


class Paths:
    """The path fields of one map (`tile`: row-major, size * size)."""

    def __init__(self, tile: np.ndarray[Any, np.dtype[np.uint8]], size: int) -> None:
        self.size = size
        self.dry: Flags = tile != WATER
        grid = self.dry.reshape(size, size)
        easy = (tile == GRASS) | (tile == BERRIES)
        shore = self.dry & ~_all_near(grid, 1).reshape(-1)
        slow = (shore & easy) | (tile == HILL)
        self._inland = _all_near(grid, AHEAD).reshape(-1)
        self._smooth: Flags = easy & ~shore
        self._easy = self._set(self._smooth)
        self._slow = self._set(slow & self.dry)
        self._hard = self._set(self.dry & ~slow & ~self._smooth)
        self._corners = tuple(self._set(_open_corner(grid, dy, dx).reshape(-1)) for dy, dx in DIAGONAL)
        self.meeting: Ints = _meeting_places(self._smooth, self.dry, size)
        self._headings = np.zeros((FIELDS_MAX, size * size), dtype=np.int16)
        self._rows = np.full(size * size, NONE, dtype=np.int64)  # goal -> row of _headings
        self._goals = np.full(FIELDS_MAX, NONE, dtype=np.int64)  # row of _headings -> goal
        self._used = np.zeros(FIELDS_MAX, dtype=np.int64)  # when each was used last
        self._uses = 0

    def headings(self, goals: Ints, tiles: Ints) -> Ints:
        """For each pair of goal and tile: the tile to head for; the goal itself where the way is straight and free."""
        found = np.empty(len(goals), dtype=np.int64)
        wanted = np.unique(goals)
        for first in range(0, len(wanted), FIELDS_MAX):
            part = wanted[first : first + FIELDS_MAX]
            self._prepare(part)
            rows = np.isin(goals, part)
            found[rows] = self._headings[self._rows[goals[rows]], tiles[rows]]
        return found

    def _prepare(self, goals: Ints) -> None:
        """Have these fields (at most FIELDS_MAX); those that were not used for the longest time give way."""
        self._uses += 1  # rsm: allow[RSM305] only says which field gives way; a field is made again alike
        rows = self._rows[goals]
        self._used[rows[rows >= 0]] = self._uses
        missing = goals[rows < 0]
        if not len(missing):
            return
        free = np.argsort(self._used, kind="stable")[: len(missing)]
        gone = self._goals[free]
        self._rows[gone[gone >= 0]] = NONE
        self._goals[free] = missing
        self._rows[missing] = free
        self._used[free] = self._uses
        for row, goal in zip(free.tolist(), missing.tolist(), strict=True):
            self._headings[row] = self._field(goal)

    def _field(self, goal: int) -> np.ndarray[Any, np.dtype[np.int16]]:
        following = self._following(goal)
        ahead = following
        for _ in range(AHEAD - 1):
            ahead = following[ahead]
        heading = np.where(self._inland, ahead, following)
        heading[self.straight(goal)] = goal
        return heading.astype(np.int16)

    def _following(self, goal: int) -> Ints:
        """The next tile of the way from every tile; a tile without a way (and the goal) has itself."""
        size, width = self.size, self.size + 1
        shifts = [dy * width + dx for dy, dx in STRAIGHT]
        corners = [(dy * width + dx, corner) for (dy, dx), corner in zip(DIAGONAL, self._corners, strict=True)]
        ways = [0] * 8
        easy, slow, hard = self._easy, self._slow, self._hard
        wave = 1 << (goal // size * width + goal % size)
        left = (easy | slow | hard) & ~wave  # what it has not come to
        before = late = later = 0  # the wave of the last step; what is held up for a step, and for two
        number = 0
        while wave or late or later:
            reached = 0
            for way, shift in enumerate(shifts):
                new = (wave >> shift if shift > 0 else wave << -shift) & left
                ways[way] |= new
                left ^= new
                reached |= new
            number += 1
            if number & 1:
                wide = wave | before
                for way, (shift, corner) in enumerate(corners, 4):
                    new = (wide >> shift if shift > 0 else wide << -shift) & left & corner
                    ways[way] |= new
                    left ^= new
                    reached |= new
            before = wave
            wave = (reached & easy) | late
            late = later | (reached & slow)
            later = reached & hard
        offsets = [dy * size + dx for dy, dx in (*STRAIGHT, *DIAGONAL)]
        following = np.arange(size * size, dtype=np.int64)
        for way, offset in zip(ways, offsets, strict=True):
            following += self._flags(way) * np.int64(offset)
        return following

    def straight(self, goal: int) -> Flags:
        """From where one can walk to a goal in a straight line over easy ground."""
        size = self.size
        axis = np.arange(size, dtype=np.int64)
        dx, dy = goal % size - axis[None, :], goal // size - axis[:, None]
        most = np.maximum(np.maximum(np.abs(dx), np.abs(dy)), 1)
        step = (2 * dx + most) // (2 * most) + (2 * dy + most) // (2 * most) * size
        nearer = (np.arange(size * size, dtype=np.int64).reshape(size, size) + step).reshape(-1)
        free = self._smooth.copy()
        free[goal] = True
        for _ in range(size.bit_length()):
            free &= free[nearer]
            nearer = nearer[nearer]
        return free

    def _set(self, flags: Flags) -> int:
        """Tiles as bits of one number; rows are a bit longer than the map, so that steps do not wrap around."""
        wide = np.zeros((self.size, self.size + 1), dtype=np.uint8)
        wide[:, :-1] = flags.reshape(self.size, self.size)
        return int.from_bytes(np.packbits(wide.reshape(-1), bitorder="little").tobytes(), "little")

    def _flags(self, tiles: int) -> Flags:
        count = self.size * (self.size + 1)
        packed = np.frombuffer(tiles.to_bytes((count + 7) // 8, "little"), dtype=np.uint8)
        wide = np.unpackbits(packed, count=count, bitorder="little").reshape(self.size, self.size + 1)
        return wide[:, :-1].reshape(-1).astype(np.bool_)


def _all_near(grid: Flags, tiles: int) -> Flags:
    """Where all tiles so many around are dry."""
    for _ in range(tiles):
        wet = np.pad(~grid, 1)
        rows = wet[:-2] | wet[1:-1] | wet[2:]
        grid = ~(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:])
    return grid


def _open_corner(grid: Flags, dy: int, dx: int) -> Flags:
    """From where a step to this diagonal neighbour cuts no corner of water."""
    padded = np.pad(grid, 1)
    rows, columns = grid.shape
    return padded[1 + dy : rows + 1 + dy, 1:-1] & padded[1:-1, 1 + dx : columns + 1 + dx]


def _meeting_places(smooth: Flags, dry: Flags, size: int) -> Ints:
    """For each tile one that stands for its block: the first easy one in it, else the first dry one, else itself."""
    tile = np.arange(size * size, dtype=np.int64)
    block = tile // size // MEETING_TILES * size + tile % size // MEETING_TILES
    best = np.full(size * size, size * size * 3, dtype=np.int64)
    np.minimum.at(best, block, tile + np.where(smooth, 0, np.where(dry, size * size, 2 * size * size)))
    first = best[block]
    return np.where(first < 2 * size * size, first % (size * size), tile)
