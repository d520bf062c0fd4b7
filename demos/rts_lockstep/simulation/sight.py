"""Who sees whom: the nearest stranger to each of many units, found on the tile grid instead of among all pairs.

Each tile knows in bits who has somebody there. A unit looks through the tiles around it in order of distance; the ones
it looks through first are turned by its number, so that nobody's north is better than another's south.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from demos.rts_lockstep.simulation.integers import Ints
from demos.rts_lockstep.units import NOBODY, PLAYERS_MAX

SIGHT_MAX: Final = 7
TURNS: Final = 4

Bits = np.ndarray[Any, np.dtype[np.uint8]]


def _rings() -> tuple[Ints, Ints, Ints]:
    """Offsets within SIGHT_MAX in order of distance, four times, each a quarter turn further; and their squares."""
    span = range(-SIGHT_MAX, SIGHT_MAX + 1)
    offsets = sorted((dx * dx + dy * dy, dy, dx) for dy in span for dx in span if dx * dx + dy * dy <= SIGHT_MAX**2)
    squares = np.array([offset[0] for offset in offsets], dtype=np.int64)
    x = np.array([offset[2] for offset in offsets], dtype=np.int64)
    y = np.array([offset[1] for offset in offsets], dtype=np.int64)
    return np.stack((x, -y, -x, y)), np.stack((y, x, -y, -x)), squares


RING_X, RING_Y, RING_SQUARES = _rings()


class Watch:
    """Some units, ready to be looked for. `rows`: their numbers, ascending; `tile`: where they stand."""

    def __init__(self, rows: Ints, owner: Ints, tile: Ints, size: int) -> None:
        self._size = size
        self._width = size + 2 * SIGHT_MAX
        self._bits: Bits = np.zeros(self._width * self._width, dtype=np.uint8)
        padded = (tile // size + SIGHT_MAX) * self._width + tile % size + SIGHT_MAX
        np.bitwise_or.at(self._bits, padded, (1 << owner).astype(np.uint8))
        # Two of those in a tile are known by number: the first and the last.
        place = owner * (size * size) + tile
        order = np.argsort(place, kind="stable")
        self._places, self._rows = place[order], rows[order]

    def nearest(self, rows: Ints, owner: Ints, tile: Ints, sight: Ints) -> Ints:
        """For each of these a stranger as near as any, within so many tiles; NOBODY if there is none."""
        size, found = self._size, np.full(len(rows), NOBODY, dtype=np.int64)
        if not len(rows):
            return found
        turned = rows % TURNS
        padded = (tile // size + SIGHT_MAX) * self._width + tile % size + SIGHT_MAX
        around = padded[:, None] + (RING_Y * self._width + RING_X)[turned]
        strange = self._bits[around] & (255 ^ (1 << owner)).astype(np.uint8)[:, None]
        seen = strange != 0
        index = np.argmax(seen, axis=1)
        number = np.arange(len(rows), dtype=np.int64)
        sees = np.flatnonzero(seen[number, index] & (RING_SQUARES[index] <= sight * sight))
        index, turned = index[sees], turned[sees]
        bits = strange[sees, index].astype(np.int64)
        there = tile[sees] + RING_Y[turned, index] * size + RING_X[turned, index]
        whose = np.full(len(sees), NOBODY, dtype=np.int64)
        for step in range(PLAYERS_MAX):
            candidate = (rows[sees] + step) % PLAYERS_MAX
            whose = np.where((whose < 0) & ((bits >> candidate) & 1 == 1), candidate, whose)
        place = whose * (size * size) + there
        first = np.searchsorted(self._places, place, side="left")
        last = np.searchsorted(self._places, place, side="right") - 1
        found[sees] = self._rows[np.where(rows[sees] // TURNS % 2 == 0, first, last)]
        return found
