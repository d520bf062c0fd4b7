"""Plain columns for the world: the interface of `rsm.Array` on bare numpy, with nothing in the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from demos.rts_lockstep.units import (
    DEER_COLUMNS,
    GROUND_COLUMNS,
    MATCH_COLUMNS,
    PLAYER_COLUMNS,
    PROJECTILE_COLUMNS,
    UNIT_COLUMNS,
)
from demos.rts_lockstep.world import World


class PlainArray:
    """Integer columns of one length. Remembers nothing to undo, and is hashed by nobody."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._values = {name: np.zeros(0, dtype=dtype) for name, dtype in columns.items()}
        self._rows = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The names, in the order in which they were declared."""
        return tuple(self._values)

    def __len__(self) -> int:
        return self._rows

    def resize(self, rows: int) -> None:
        """Cut rows off, or add rows of 0."""
        for name, old in self._values.items():
            self._values[name] = np.zeros(rows, dtype=old.dtype)
            kept = min(rows, self._rows)
            self._values[name][:kept] = old[:kept]
        self._rows = rows

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """A column that cannot be written to."""
        view = self._values[name].view()
        view.flags.writeable = False
        return view

    def write(self, name: str) -> np.ndarray[Any, Any]:
        """A column that can."""
        return self._values[name]

    def get(self, name: str, row: int) -> int:
        """One cell."""
        return int(self._values[name][row])

    def set(self, name: str, row: int, value: int) -> None:
        """Change one cell; `OverflowError` if the value does not fit."""
        limits = np.iinfo(self._values[name].dtype)
        if not limits.min <= value <= limits.max:
            raise OverflowError(f"{value} does not fit into {name} ({limits.dtype})")
        self._values[name][row] = value

    def assign(self, name: str, values: Iterable[int]) -> None:
        """Replace a column by as many integers; `OverflowError` if one does not fit."""
        given = np.asarray(values if isinstance(values, np.ndarray) else list(values))
        column = self._values[name]
        limits = np.iinfo(column.dtype)
        if given.shape != column.shape:
            raise ValueError(f"{name} has {len(column)} rows, not {given.shape}")
        if len(given) and given.dtype.kind not in "iu":
            raise TypeError(f"{name} holds integers, not {given.dtype}")
        if len(given) and not (limits.min <= int(given.min()) and int(given.max()) <= limits.max):
            raise OverflowError(f"a value does not fit into {name} ({limits.dtype})")
        column[:] = given


def new_world() -> World:
    """A world on plain columns, not set up yet."""
    return World(
        match=PlainArray(MATCH_COLUMNS),
        players=PlainArray(PLAYER_COLUMNS),
        units=PlainArray(UNIT_COLUMNS),
        deer=PlainArray(DEER_COLUMNS),
        projectiles=PlainArray(PROJECTILE_COLUMNS),
        ground=PlainArray(GROUND_COLUMNS),
    )
