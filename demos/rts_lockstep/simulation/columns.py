"""Columns taken out for a turn, all as 64-bit integers, so that no product overflows, and put back at its end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from demos.rts_lockstep.simulation.integers import Ints
from demos.rts_lockstep.units import (
    DEER_BASE,
    DEER_COLUMNS,
    GROUND_COLUMNS,
    PLAYER_COLUMNS,
    PROJECTILE_COLUMNS,
    SUB,
    UNIT_COLUMNS,
)


class Columns(Protocol):
    """What the world asks of its state: `rsm.Array`, or `PlainArray`."""

    def __len__(self) -> int: ...

    def resize(self, rows: int) -> None:
        """Cut rows off, or add rows of 0."""

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """A column, to look at."""

    def write(self, name: str) -> np.ndarray[Any, Any]:
        """A column, to change."""

    def get(self, name: str, row: int) -> int:
        """One cell."""

    def set(self, name: str, row: int, value: int) -> None:
        """Change one cell."""


class _Taken:
    """Columns as attributes."""

    def __init__(self, columns: Columns, names: Iterable[str]) -> None:
        for name in names:
            setattr(self, name, columns.read(name).astype(np.int64))

    def _put(self, columns: Columns, names: Iterable[str]) -> None:
        __tracebackhide__ = True  # a trace of writes names who puts, and not this line
        for name in names:
            values = getattr(self, name)
            if not np.array_equal(columns.read(name), values):
                columns.write(name)[:] = values


class Crowd(_Taken):
    """The units of a turn. See `UNIT_COLUMNS` for what each column means."""

    x: Ints
    y: Ints
    hp: Ints
    kind: Ints
    owner: Ints
    state: Ints
    to_x: Ints
    to_y: Ints
    goal: Ints
    target: Ints
    roam: Ints
    job: Ints
    load: Ints
    carry: Ints
    wait: Ints
    stuck: Ints
    freed: Ints

    def __init__(self, columns: Columns, size: int) -> None:
        super().__init__(columns, UNIT_COLUMNS)
        self.size = size
        self.moved_x = np.zeros(len(self.x), dtype=np.int64)  # this turn's step
        self.moved_y = np.zeros(len(self.x), dtype=np.int64)

    def put(self, columns: Columns) -> None:
        """Write what has changed."""
        __tracebackhide__ = True
        self._put(columns, UNIT_COLUMNS)

    def tiles(self) -> Ints:
        """The tile that each stands in."""
        return self.y // SUB * self.size + self.x // SUB


class Herd(_Taken):
    """The animals of a turn. See `DEER_COLUMNS`."""

    x: Ints
    y: Ints
    hp: Ints
    food: Ints
    dx: Ints
    dy: Ints
    fear: Ints

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns, DEER_COLUMNS)

    def put(self, columns: Columns) -> None:
        """Write what has changed."""
        __tracebackhide__ = True
        self._put(columns, DEER_COLUMNS)


class Seats(_Taken):
    """The players of a turn. See `PLAYER_COLUMNS`."""

    food: Ints
    wood: Ints
    alive: Ints
    out: Ints
    centre: Ints
    queue: Ints
    progress: Ints

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns, PLAYER_COLUMNS)

    def put(self, columns: Columns) -> None:
        """Write what has changed."""
        __tracebackhide__ = True
        self._put(columns, PLAYER_COLUMNS)


class Ground(_Taken):
    """The tiles of a turn. See `GROUND_COLUMNS`."""

    tile: Ints
    stock: Ints

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns, GROUND_COLUMNS)

    def put(self, columns: Columns) -> None:
        """Write what has changed."""
        __tracebackhide__ = True
        self._put(columns, GROUND_COLUMNS)


class Volley(_Taken):
    """What is in the air in a turn. See `PROJECTILE_COLUMNS`."""

    x: Ints
    y: Ints
    vx: Ints
    vy: Ints
    ticks: Ints
    target: Ints
    damage: Ints
    owner: Ints

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns, PROJECTILE_COLUMNS)

    def __len__(self) -> int:
        return len(self.x)

    def keep(self, flags: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Drop the others."""
        for name in PROJECTILE_COLUMNS:
            setattr(self, name, getattr(self, name)[flags])

    def add(self, **values: Ints) -> None:
        """Append some."""
        for name in PROJECTILE_COLUMNS:
            setattr(self, name, np.concatenate((getattr(self, name), values[name])))

    def put(self, columns: Columns) -> None:
        """Write all, as many rows as there are."""
        __tracebackhide__ = True
        if len(columns) != len(self):
            columns.resize(len(self))
        self._put(columns, PROJECTILE_COLUMNS)


def place_of(target: Ints, crowd: Crowd, herd: Herd) -> tuple[Ints, Ints]:
    """Where targets are; those of NOBODY are anywhere on the map."""
    if not len(herd.x):
        return crowd.x[np.maximum(target, 0)], crowd.y[np.maximum(target, 0)]
    animal = target >= DEER_BASE
    unit = np.where(animal, 0, np.maximum(target, 0))
    deer = np.where(animal, target - DEER_BASE, 0)
    return np.where(animal, herd.x[deer], crowd.x[unit]), np.where(animal, herd.y[deer], crowd.y[unit])
