"""The columns of an `Array`: how they are declared, what a cell may hold, and their bytes. Nothing here needs numpy.

A column lies in its leaf, in snapshots and in the undo log as the little-endian bytes of its cells, row by row,
wherever this runs. Whoever reads these without the class of the machine needs no more than the schema's text to tell
which cells of two columns differ.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from rsm.errors import DefinitionError
from rsm.limits import ARRAY_COLUMNS_MAX

ARRAY_KIND: Final = "array"
# Of a path: `deer/rows`. No column's: their paths have the row in between.
ROWS: Final = "rows"
# Cells that are compared as bytes before they are looked at one by one: most are the same in both.
_BLOCK_CELLS: Final = 1024


class CellType(NamedTuple):
    """What the cells of a column are: its name, its code in `struct`, its size, and the integers that it can hold."""

    name: str
    code: str
    size_bytes: int
    low: int
    high: int

    def decode(self, data: bytes) -> tuple[int, ...]:
        """The cells of a column from its bytes; `ValueError` for half a cell."""
        if len(data) % self.size_bytes:
            raise ValueError(f"{len(data)} bytes are no column of {self.name}")
        return struct.unpack(f"<{len(data) // self.size_bytes}{self.code}", data)


# Integers only: floats are rounded and compared differently from processor to processor, and Python's int of the
# machine's root is one of 64 bits with sign, so uint64 has values that no command could carry.
CELL_TYPES: Final = {
    name: CellType(name, code, size, low, high)
    for name, code, size, low, high in (
        ("int8", "b", 1, -(2**7), 2**7 - 1),
        ("int16", "h", 2, -(2**15), 2**15 - 1),
        ("int32", "i", 4, -(2**31), 2**31 - 1),
        ("int64", "q", 8, -(2**63), 2**63 - 1),
        ("uint8", "B", 1, 0, 2**8 - 1),
        ("uint16", "H", 2, 0, 2**16 - 1),
        ("uint32", "I", 4, 0, 2**32 - 1),
    )
}


class Columns:
    """Names and types of an Array's columns: `Annotated[rsm.Array, rsm.Columns(x="int32", hp="int16")]`.

    Types: int8, int16, int32, int64, uint8, uint16, uint32. Others are a `DefinitionError` when the machine's class is
    created. The order is that in which `Array.columns` names them, and no part of the schema.
    """

    __slots__ = ("types",)

    def __init__(self, **types: str) -> None:
        self.types = types

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Columns) and list(self.types.items()) == list(other.types.items())

    def __hash__(self) -> int:
        return hash(tuple(self.types.items()))

    def __repr__(self) -> str:
        return f"Columns({', '.join(f'{name}={of!r}' for name, of in self.types.items())})"

    def cells(self) -> dict[str, CellType]:
        """The types by column, as declared; `DefinitionError` for what cannot be a column."""
        if not self.types:
            raise DefinitionError('an array has at least one column: rsm.Columns(x="int32")')
        if len(self.types) > ARRAY_COLUMNS_MAX:
            raise DefinitionError(f"{len(self.types)} columns exceed the bound of {ARRAY_COLUMNS_MAX}")
        for name, of in self.types.items():
            if not name.isidentifier():
                raise DefinitionError(f"column {name!r}: its name must be an identifier")
            if type(of) is not str or of not in CELL_TYPES:
                raise DefinitionError(f"column {name!r}: {of!r} is none of {', '.join(CELL_TYPES)}")
        return {name: CELL_TYPES[of] for name, of in self.types.items()}

    def described(self) -> str:
        """The canonical text: `hp:int16,x:int32`, by name."""
        return ",".join(f"{name}:{cell.name}" for name, cell in sorted(self.cells().items()))


def differing_cells(name: str, cells: dict[str, CellType], one: Any, other: Any) -> Iterator[tuple[str, int, int]]:
    """(path, value, other value) where two arrays differ, by row and column: `deer/rows`, then `deer/17/x`.

    `one` and `other` map columns to their bytes; a column that is missing in one of them, as all are in an array
    without rows, is not compared cell by cell. Where the counts of rows differ, neither are the rows beyond the
    smaller one. Each is found when it is asked for: columns may have millions.
    """
    rows = [_row_count(cells, columns) for columns in (one, other)]
    if rows[0] != rows[1]:
        yield f"{name}/{ROWS}", rows[0], rows[1]
    found = [_of_column(column, cells[column], one[column], other[column]) for column in one.keys() & other.keys()]
    for row, column, mine, theirs in heapq.merge(*found):
        yield f"{name}/{row}/{column}", mine, theirs


def _of_column(column: str, cell: CellType, one: bytes, other: bytes) -> Iterator[tuple[int, str, int, int]]:
    step = _BLOCK_CELLS * cell.size_bytes
    for at in range(0, min(len(one), len(other)), step):
        mine, theirs = one[at : at + step], other[at : at + step]
        if mine != theirs:
            pairs = zip(cell.decode(mine), cell.decode(theirs), strict=False)
            first = at // cell.size_bytes
            yield from ((row, column, *pair) for row, pair in enumerate(pairs, first) if pair[0] != pair[1])


def _row_count(cells: dict[str, CellType], columns: Any) -> int:
    return max((len(data) // cells[column].size_bytes for column, data in columns.items()), default=0)
