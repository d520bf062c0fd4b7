"""Arrays: columns of integers, as numpy has them, for machines that compute on thousands of rows at a time.

    deer: Annotated[rsm.Array, rsm.Columns(x="int32", y="int32", hp="int16")]

A leaf is one column: its key the column's name, its value the little-endian bytes of its cells. An array without rows
has no leaves. So a root costs one hash a changed column, however many cells changed; `rsm.state.columns` finds the
cells in which two columns differ.

Theory of operation. `write` hands out a numpy array that lies over the column, and what is done to it goes past the
container. Therefore the column is copied into the undo log when it is first asked for after a mark (`rsm.state.undo`),
that is, once a command; a rollback puts the copy back. At the next mark, what was handed out becomes read-only, so that
who kept it cannot change a later command's state unseen. A slice taken from it stays writable: what is written there
later is found by the scrub, like any change behind a container's back.

numpy is imported when a machine declares an Array, and not before.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

import msgspec

from rsm.errors import DefinitionError
from rsm.limits import ARRAY_COLUMN_BYTES_MAX, ARRAY_LEAF_BYTES, ARRAY_UNDO_BYTES_MAX
from rsm.state.columns import ARRAY_KIND, CellType, Columns
from rsm.state.containers import Record, refuse_write
from rsm.state.leaf import ABSENT
from rsm.state.ledger import Ledger
from rsm.state.undo import MarkedUndo

if TYPE_CHECKING:
    from numpy.typing import NDArray


def import_numpy() -> ModuleType:
    """numpy; `DefinitionError` where it is not installed."""
    try:
        import numpy
    except ImportError as error:
        raise DefinitionError(f"an rsm.Array needs numpy: install rsm-toolkit[array] ({error})") from error
    return numpy


class Array:
    """Columns of integers, all of one length, as numpy arrays. Declare it with its columns:

    >>> deer: Annotated[rsm.Array, rsm.Columns(x="int32", y="int32", hp="int16")]

    `len(array)` is the number of rows, at first 0; `array.columns` are the names. Reading costs what numpy costs. A
    column that is not declared is a `KeyError`, a row that is not there an `IndexError`.
    """

    __slots__ = ("_cells", "_columns", "_ledger", "_numpy", "_open", "_reading", "_recorder", "_undo")

    _ledger: Ledger

    def __init__(self, columns: Columns) -> None:
        self._numpy = import_numpy()
        self._cells: dict[str, CellType] = columns.cells()
        self._columns: dict[str, NDArray[Any]] = {}
        self._reading: dict[str, NDArray[Any]] = {}  # the same memory, not to be written to
        self._open: dict[str, NDArray[Any]] = {}  # the same, handed out for writing since the last mark
        self._undo: MarkedUndo | None = None
        self._recorder: Record = refuse_write
        self._empty()

    # --- reading --------------------------------------------------------------------------------------------------

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, as declared."""
        return tuple(self._cells)

    def __len__(self) -> int:
        for column in self._columns.values():
            return len(column)
        return 0

    def read(self, column: str) -> NDArray[Any]:
        """A column, not to be written to. It follows later writes; `resize` leaves it behind: take it anew then."""
        # A numpy array of the caller's own: to set its shape or type is to change what nobody else has in hand.
        return self._reading[column].view()

    def frozen(self, column: str, old: Any) -> NDArray[Any]:
        """A column that stays as it is: of these bytes (`ABSENT`: of no row), or for anything else, of what is now."""
        data = b"" if old is ABSENT else old
        if isinstance(data, bytes):
            return self._decoded(column, data)
        copied = self._columns[column].copy()
        copied.flags.writeable = False
        return copied

    def get(self, column: str, row: SupportsIndex) -> int:
        """The value of one cell. Rows count from 0; negative ones are an `IndexError`."""
        cells = self._columns[column]
        return int(cells[self._row(row)])

    # --- writing --------------------------------------------------------------------------------------------------

    def write(self, column: str) -> NDArray[Any]:
        """A column to be written to, until the end of this command (then it is read-only). `TypeError` outside of one.

        numpy does the writing, by its rules: what does not fit wraps around, and a float is cut off without a word.
        """
        self._prepare(column)
        return self._open[column]

    def set(self, column: str, row: SupportsIndex, value: SupportsIndex) -> None:
        """Write one cell. `TypeError` for what is no integer, `OverflowError` for one that the column cannot hold."""
        cells, at = self._columns[column], self._row(row)
        number = self._checked(column, value)
        self._prepare(column)
        cells[at] = number

    def assign(self, column: str, values: Sequence[SupportsIndex] | NDArray[Any]) -> None:
        """Write a whole column: as many integers as there are rows, in a sequence or a numpy array of one dimension.

        `TypeError` for floats, booleans and what has no order (a set), `OverflowError` for what the column cannot hold,
        `ValueError` for another number of values. The column is as it was then.
        """
        cells = self._columns[column]
        checked = self._converted(column, values)
        if checked.shape != cells.shape:
            raise ValueError(f"{self._name}/{column}: {len(self)} rows take as many values, not shape {checked.shape}")
        self._prepare(column)
        cells[:] = checked

    def resize(self, rows: SupportsIndex) -> None:
        """Have this many rows: new ones, at the end, are 0. `ValueError` beyond `ARRAY_COLUMN_BYTES_MAX` a column,
        `TypeError` for what is no integer.

        What `read` and `write` gave before is no longer part of the array.
        """
        rows = self._integer(rows, "rows: numbers")
        if rows < 0:
            raise ValueError(f"{self._name}: an array has 0 rows or more, not {rows}")
        widest = max(cell.size_bytes for cell in self._cells.values())
        if rows * widest > ARRAY_COLUMN_BYTES_MAX:
            raise ValueError(f"{self._name}: {rows} rows exceed {ARRAY_COLUMN_BYTES_MAX} bytes a column")
        kept = min(rows, len(self))
        for column in self._cells:  # all of them first: one that is refused leaves all as they were
            self._prepare(column)
        for column, cells in list(self._columns.items()):
            resized = self._numpy.zeros(rows, self._dtype(column))
            resized[:kept] = cells[:kept]
            self._place(column, resized)
            self._hand_out(column)

    # --- what a list or a dict would do ---------------------------------------------------------------------------

    def __iter__(self) -> NoReturn:
        raise TypeError("an array has columns and rows: iterate over array.read(column), or over array.columns")

    def __getitem__(self, _: Any) -> NoReturn:
        raise TypeError("use array.read(column) for a column, array.get(column, row) for a cell")

    def __setitem__(self, _: Any, __: Any) -> NoReturn:
        raise TypeError("use array.write(column) or array.assign(column, values), array.set(column, row, value)")

    def __contains__(self, _: object) -> NoReturn:
        raise TypeError("use `column in array.columns`, or `value in array.read(column)`")

    def __reduce__(self) -> NoReturn:
        raise TypeError("a tracked container cannot be copied or pickled; use .read(column).copy() for the cells")

    def __repr__(self) -> str:
        shown = ", ".join(f"{column}={cells.tolist()!r}" for column, cells in self._columns.items())
        return f"Array({shown})"

    # --- checks ---------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self._ledger.name

    def _integer(self, value: SupportsIndex, what: str) -> int:
        if type(value) is int:
            return value
        try:
            if isinstance(value, bool | self._numpy.bool_):  # 1 to `operator.index`, and to some releases of numpy
                raise TypeError
            return operator.index(value)
        except TypeError:
            raise TypeError(f"{self._name}/{what} are integers, got {value!r}") from None

    def _row(self, row: SupportsIndex) -> int:
        at = self._integer(row, "rows: numbers")
        if not 0 <= at < len(self):
            raise IndexError(f"{self._name}: row {at} of {len(self)}")
        return at

    def _checked(self, column: str, value: SupportsIndex) -> int:
        """The value as an int that the column can hold."""
        cell, number = self._cells[column], self._integer(value, f"{column}: cells")
        if not cell.low <= number <= cell.high:
            raise OverflowError(f"{self._name}/{column}: {number} does not fit {cell.name}")
        return number

    def _converted(self, column: str, values: Sequence[SupportsIndex] | NDArray[Any]) -> NDArray[Any]:
        numpy, cell = self._numpy, self._cells[column]
        if not isinstance(values, numpy.ndarray):
            if not isinstance(values, Sequence):
                raise TypeError(f"{self._name}/{column}: takes a sequence of integers, got {type(values).__name__}")
            checked = [self._checked(column, value) for value in values]
            made: NDArray[Any] = numpy.array(checked, self._dtype(column))
            return made
        given: NDArray[Any] = values
        if given.dtype.kind not in "iu":
            raise TypeError(f"{self._name}/{column}: cells are integers, got an array of {given.dtype}")
        if given.size and not numpy.can_cast(given.dtype, self._dtype(column)):
            low, high = int(given.min()), int(given.max())
            if low < cell.low or high > cell.high:
                raise OverflowError(f"{self._name}/{column}: {low} to {high} does not fit {cell.name}")
        return given

    def _dtype(self, column: str) -> Any:
        return self._numpy.dtype(self._cells[column].name)

    # --- undo -----------------------------------------------------------------------------------------------------

    @property
    def _record(self) -> Record:
        """The recorder, which a store sets: the undo log's when it opens its containers, else one that refuses."""
        return self._recorder

    @_record.setter
    def _record(self, record: Record) -> None:
        self._end_scope()
        undo = getattr(record, "__self__", None)
        self._undo = undo if isinstance(undo, MarkedUndo) else None
        self._recorder = record

    def _prepare(self, column: str) -> None:
        """Open a column for writing: once since the last mark, what it holds is kept first."""
        undo, size_bytes = self._undo, self._columns[column].nbytes
        if undo is None:
            refuse_write((self, column, ABSENT))
        if column in self._open:
            if undo.traces(size_bytes):
                self._keep(undo, column)
            return
        if undo.held_bytes + size_bytes > ARRAY_UNDO_BYTES_MAX:
            raise ValueError(
                f"{self._name}: a command may not write to more than {ARRAY_UNDO_BYTES_MAX} bytes of columns"
            )
        undo.held_bytes += size_bytes
        self._keep(undo, column)
        if not self._open:
            undo.open.append(self)
        self._hand_out(column)

    def _keep(self, undo: MarkedUndo, column: str) -> None:
        copied = self._leaf(column, ABSENT)
        undo.note(self, copied)
        self._recorder((self, column, copied))

    def _hand_out(self, column: str) -> None:
        self._open[column] = self._columns[column].view()

    def _end_scope(self) -> None:
        """What was handed out for writing is so no more."""
        for handed_out in self._open.values():
            handed_out.flags.writeable = False
        self._open.clear()

    # --- leaves ---------------------------------------------------------------------------------------------------

    def _leaf(self, leaf_key: Any, default: Any) -> Any:
        cells = self._columns.get(leaf_key)
        if cells is None or not len(cells):
            return default
        return cells.astype(self._dtype(leaf_key).newbyteorder("<"), copy=False).tobytes()

    def _restore(self, leaf_key: Any, old: Any) -> None:
        cells = self._columns[leaf_key]
        restored = self._decoded(leaf_key, b"" if old is ABSENT else old)
        if len(restored) == len(cells):
            cells[:] = restored
        else:
            self._place(leaf_key, restored.astype(self._dtype(leaf_key)))

    def _decoded(self, column: str, data: bytes) -> NDArray[Any]:
        """The cells of these bytes, not to be written to."""
        decoded: NDArray[Any] = self._numpy.frombuffer(data, self._dtype(column).newbyteorder("<"))
        return decoded

    def _place(self, column: str, cells: NDArray[Any]) -> None:
        """Have this memory as a column; what lay there before is nobody's any more."""
        handed_out = self._open.pop(column, None)
        if handed_out is not None:
            handed_out.flags.writeable = False
        self._columns[column] = cells
        reading = cells.view()
        reading.flags.writeable = False
        self._reading[column] = reading

    def _empty(self) -> None:
        for column in self._cells:
            self._place(column, self._numpy.zeros(0, self._dtype(column)))


class ArrayLedger(Ledger):
    """The books of an array: a leaf is a column."""

    __slots__ = ("cells",)

    def __init__(self, name: str, schema: str, container: Array) -> None:
        super().__init__(name, ARRAY_KIND, schema, str, bytes, container)
        self.cells = container._cells

    def count(self, bucket: int) -> int:
        """How many leaves one bucket holds, by what it takes to hash them: a scrub goes on from column to column."""
        container: Any = self.container
        columns = container._columns
        return sum(1 + columns[column].nbytes // ARRAY_LEAF_BYTES for column in self.members[bucket] or ())

    def live_count(self) -> int:
        """How many leaves the array has; -1, which is never booked, when its columns are not of one length."""
        container: Any = self.container
        lengths = {len(column) for column in container._columns.values()}
        if len(lengths) > 1:
            return -1
        return len(self.cells) if lengths != {0} else 0

    def decode_leaves(self, data: bytes) -> list[tuple[Any, Any]]:
        """Columns from their MessagePack."""
        leaves = super().decode_leaves(data)
        for column, cells in leaves:
            cell = self.cells.get(column)
            if cell is None:
                raise msgspec.ValidationError(f"there is no column {column!r}")
            if not cells or len(cells) % cell.size_bytes or len(cells) > ARRAY_COLUMN_BYTES_MAX:
                raise msgspec.ValidationError(f"{len(cells)} bytes are no column of {cell.name}")
        return leaves

    def columns(self) -> dict[str, bytes]:
        """The bytes of every column; none of an array without rows."""
        leaf = self.leaf
        return {column: data for column in self.cells if (data := leaf(column, ABSENT)) is not ABSENT}
