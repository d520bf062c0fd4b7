"""Arrays: reading, checked writing, rollback, what was handed out, snapshots, views, scrubbing, differences by cell."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated, Any

import numpy as np
import pytest

import rsm
from rsm.errors import BadBytes, DefinitionError, DivergenceError
from rsm.limits import ARRAY_COLUMN_BYTES_MAX, ARRAY_COLUMNS_MAX, ARRAY_LEAF_BYTES, SCRUB_LEAVES_MIN
from rsm.machine.machine import open_view, successor
from rsm.state import arrays
from rsm.state.columns import CELL_TYPES, CellType, differing_cells
from rsm.state.diff import differences
from rsm.state.leaf import encode
from rsm.state.store import Store
from tests.unit.state.stores import batch, machine_with, store_of

Deer = Annotated[rsm.Array, rsm.Columns(x="int32", y="int32", hp="int16")]


class Herd(rsm.StateMachine, name="herd", version=1):
    """Two arrays and something else."""

    deer: Deer
    marks: Annotated[rsm.Array, rsm.Columns(kind="uint8")]
    total: int


@pytest.fixture
def herd() -> Herd:
    """A machine with three deer."""
    return Herd()


@pytest.fixture
def store(herd: Herd) -> Store:
    """Its store, with three deer in it."""
    made = store_of(herd)
    with batch(made):
        herd.deer.resize(3)
        herd.deer.assign("x", [1, 2, 3])
        herd.deer.write("hp")[:] = 100
    return made


def contents(array: rsm.Array) -> dict[str, list[int]]:
    """All cells."""
    return {column: array.read(column).tolist() for column in array.columns}


def rebuilt(store: Store) -> tuple[Herd, Store]:
    """A new machine with what a snapshot of the store holds."""
    machine = Herd()
    made = store_of(machine)
    made.clear()
    for name, _, _, leaves in store.cut().chunks():
        made.load(name, leaves)
    return machine, made


# --- declaring --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (rsm.Array, "is declared with its columns"),
        (Annotated[rsm.Array, "x"], "is declared with its columns"),
        (Annotated[rsm.Array, rsm.Columns(x="int8"), rsm.Columns(y="int8")], "is declared with its columns"),
        (Annotated[rsm.Array, rsm.Columns()], "at least one column"),
        (Annotated[rsm.Array, rsm.Columns(x="float32")], "column 'x': 'float32' is none of int8, int16"),
        (Annotated[rsm.Array, rsm.Columns(x="uint64")], "column 'x': 'uint64' is none of"),
        (Annotated[rsm.Array, rsm.Columns(x=int)], "column 'x': <class 'int'> is none of"),  # type: ignore[arg-type]
        (Annotated[rsm.Array, rsm.Columns(x=np.int32)], "column 'x'"),  # type: ignore[arg-type]
        (Annotated[rsm.Array, rsm.Columns(**{"a b": "int8"})], "column 'a b': its name must be an identifier"),
        (
            Annotated[rsm.Array, rsm.Columns(**{f"c{n}": "int8" for n in range(ARRAY_COLUMNS_MAX + 1)})],
            f"exceed the bound of {ARRAY_COLUMNS_MAX}",
        ),
    ],
)
def test_what_cannot_be_declared(declared: Any, said: str) -> None:
    """At the creation of the class, with the attribute's name."""
    with pytest.raises(DefinitionError, match=r"^Made\.array: ") as caught:
        machine_with(array=declared)
    assert said in str(caught.value)


def test_an_array_takes_no_default() -> None:
    """As no container does."""
    with pytest.raises(DefinitionError, match="begins empty"):
        machine_with({"array": 1}, array=Deer)


def test_the_schema_names_columns_in_order_of_their_names() -> None:
    """The order of the declaration is for `columns` alone."""
    assert Herd.definition.state_schema()["deer"] == [
        "array",
        "xxh3-64 sums over msgpack leaves, 1024 buckets; hp:int16,x:int32,y:int32",
    ]
    assert Herd().deer.columns == ("x", "y", "hp")


def test_numpy_is_imported_for_arrays_only_and_missed_by_name() -> None:
    """A process without arrays does not load it; without it, the class says what to install."""
    script = """
import sys
from typing import Annotated
import rsm
class Plain(rsm.StateMachine, name="plain"):
    total: int
Plain()
assert "numpy" not in sys.modules
sys.modules["numpy"] = None
try:
    class Herd(rsm.StateMachine, name="herd"):
        deer: Annotated[rsm.Array, rsm.Columns(x="int8")]
except rsm.DefinitionError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "Herd.deer: an rsm.Array needs numpy: install rsm-toolkit[array]" in done.stdout


# --- reading and writing ----------------------------------------------------------------------------------------------


def test_a_new_array_is_empty(herd: Herd) -> None:
    """No rows, and columns of the declared types."""
    assert len(herd.deer) == 0
    assert [herd.deer.read(column).dtype.name for column in herd.deer.columns] == ["int32", "int32", "int16"]


def test_what_was_written_is_read(herd: Herd, store: Store) -> None:
    """By column, by cell, and whole columns; new rows are 0."""
    with batch(store):
        herd.deer.write("y")[1:] = [7, 8]
        herd.deer.set("hp", 2, -5)
        herd.deer.set("hp", np.int64(0), np.int64(9))  # what numpy's own functions give
    assert contents(herd.deer) == {"x": [1, 2, 3], "y": [0, 7, 8], "hp": [9, 100, -5]}
    assert (herd.deer.get("hp", 2), type(herd.deer.get("hp", 2))) == (-5, int)
    with batch(store):
        herd.deer.resize(4)
    assert contents(herd.deer) == {"x": [1, 2, 3, 0], "y": [0, 7, 8, 0], "hp": [9, 100, -5, 0]}
    with batch(store):
        herd.deer.resize(1)
    assert contents(herd.deer) == {"x": [1], "y": [0], "hp": [9]}


def test_nothing_is_written_outside_of_a_command(herd: Herd, store: Store) -> None:
    """By no way in, and what `read` gives refuses too."""
    for act in (
        lambda: herd.deer.write("x"),
        lambda: herd.deer.set("x", 0, 1),
        lambda: herd.deer.assign("x", [1, 2, 3]),
        lambda: herd.deer.resize(9),
    ):
        with pytest.raises(TypeError, match="only inside a command"):
            act()
    with pytest.raises(ValueError, match="read-only"):
        herd.deer.read("x")[0] = 1
    assert contents(herd.deer)["x"] == [1, 2, 3]


@pytest.mark.parametrize("name", sorted(CELL_TYPES))
def test_cells_hold_what_their_type_holds(name: str) -> None:
    """The ends of the range, and nothing beyond; by cell, by list and by numpy array."""
    machine = machine_with(array=Annotated[rsm.Array, rsm.Columns(x=name)])
    store, array, cell = store_of(machine), machine.array, CELL_TYPES[name]
    info = np.iinfo(name)
    assert (cell.low, cell.high, cell.size_bytes) == (info.min, info.max, np.dtype(name).itemsize)
    with batch(store):
        array.resize(2)
        array.set("x", 0, cell.low)
        array.set("x", 1, cell.high)
        assert array.read("x").tolist() == [cell.low, cell.high]
        for beyond in (cell.low - 1, cell.high + 1):
            with pytest.raises(OverflowError, match=f"array/x: {beyond} does not fit {name}"):
                array.set("x", 0, beyond)
            with pytest.raises(OverflowError, match=f"does not fit {name}"):
                array.assign("x", [0, beyond])
            if -(2**63) <= beyond < 2**63:
                with pytest.raises(OverflowError, match=f"does not fit {name}"):
                    array.assign("x", np.array([0, beyond], dtype=np.int64))
        array.assign("x", [cell.high, cell.low])
    assert array.read("x").tolist() == [cell.high, cell.low]


def test_a_value_of_64_bits_without_sign_does_not_become_negative() -> None:
    """The widest of numpy's integers is checked like any other."""
    machine = machine_with(array=Annotated[rsm.Array, rsm.Columns(x="int64")])
    with batch(store_of(machine)):
        machine.array.resize(1)
        with pytest.raises(OverflowError, match="does not fit int64"):
            machine.array.assign("x", np.array([2**64 - 1], dtype=np.uint64))


@pytest.mark.parametrize("value", [1.0, True, "1", None, np.float64(1), np.bool_(True), 1 + 0j])
def test_a_cell_takes_integers_alone(herd: Herd, store: Store, value: Any) -> None:
    """Not what equals one."""
    with batch(store):
        with pytest.raises(TypeError, match="deer/x: cells are integers"):
            herd.deer.set("x", 0, value)
        with pytest.raises(TypeError, match="deer/x: cells are integers"):
            herd.deer.assign("x", [1, 2, value])
    assert contents(herd.deer)["x"] == [1, 2, 3]


@pytest.mark.parametrize("dtype", ["float64", "float32", "bool", "object", "datetime64[s]", "timedelta64[s]", "S1"])
def test_an_assigned_array_is_one_of_integers(herd: Herd, store: Store, dtype: str) -> None:
    """No silent casts."""
    with batch(store), pytest.raises(TypeError, match="deer/x: cells are integers, got an array of"):
        herd.deer.assign("x", np.zeros(3, dtype=dtype))


@pytest.mark.parametrize(
    "values", [[], [1, 2], [1, 2, 3, 4], np.zeros((3, 1), np.int32), np.zeros((1, 3), np.int32), np.int32(5)]
)
def test_an_assigned_column_has_the_arrays_rows(herd: Herd, store: Store, values: Any) -> None:
    """Nothing is broadcast."""
    with batch(store), pytest.raises((ValueError, TypeError)):
        herd.deer.assign("x", values)
    assert contents(herd.deer)["x"] == [1, 2, 3]


@pytest.mark.parametrize("values", [{7, 8, 9}, frozenset({7, 8, 9}), {7: 0, 8: 0, 9: 0}, iter([7, 8, 9])])
def test_what_has_no_order_is_not_assigned(herd: Herd, store: Store, values: Any) -> None:
    """Or has one that is another on another replica."""
    with batch(store), pytest.raises(TypeError, match="deer/x: takes a sequence of integers"):
        herd.deer.assign("x", values)
    assert contents(herd.deer)["x"] == [1, 2, 3]


def test_what_is_read_is_the_callers_own(herd: Herd, store: Store) -> None:
    """A query that looks at a column in another shape leaves it as it is for the commands to come."""
    for bend in (
        lambda array: setattr(array, "shape", (3, 1)),
        lambda array: setattr(array, "dtype", np.int8),
        lambda array: array.setflags(write=True),
    ):
        bend(herd.deer.read("x"))
        column = herd.deer.read("x")
        assert (column.shape, column.dtype, column.flags.writeable) == ((3,), np.dtype("int32"), False)


def test_what_is_not_there(herd: Herd, store: Store) -> None:
    """Columns by name, rows from 0."""
    with batch(store):
        for act in (herd.deer.read, herd.deer.write):
            with pytest.raises(KeyError):
                act("z")
        for row in (-1, 3):
            with pytest.raises(IndexError, match=f"deer: row {row} of 3"):
                herd.deer.get("x", row)
            with pytest.raises(IndexError, match=f"deer: row {row} of 3"):
                herd.deer.set("x", row, 1)
        with pytest.raises(KeyError):
            herd.deer.set("z", 0, 1)
        assert store.undo == []


@pytest.mark.parametrize("rows", [True, np.bool_(True), np.array([True]), 1.0, "1", None])
def test_rows_are_counted_in_integers(herd: Herd, store: Store, rows: Any) -> None:
    """By Python's or numpy's, and not by what equals one: releases of numpy differ in that."""
    with batch(store):
        for act in (
            lambda: herd.deer.get("x", rows),
            lambda: herd.deer.set("x", rows, 1),
            lambda: herd.deer.resize(rows),
        ):
            with pytest.raises(TypeError, match="deer/rows: numbers are integers"):
                act()
        assert store.undo == []
        herd.deer.resize(np.int64(2))
    assert herd.deer.get("x", np.uint8(1)) == 2
    assert len(herd.deer) == 2


@pytest.mark.parametrize("rows", [-1, 2**70, ARRAY_COLUMN_BYTES_MAX // 4 + 1])
def test_how_many_rows_there_can_be(herd: Herd, store: Store, rows: Any) -> None:
    """The widest column decides."""
    with batch(store):
        with pytest.raises(ValueError, match="rows"):
            herd.deer.resize(rows)
        assert store.undo == []
    assert len(herd.deer) == 3


def test_it_is_neither_list_nor_dict(herd: Herd, store: Store) -> None:
    """What would be read in two ways is refused, with what to write instead."""
    array: Any = herd.deer
    for act in (lambda: iter(array), lambda: array["x"], lambda: 1 in array, lambda: array.__reduce__()):
        with pytest.raises(TypeError, match=r"\.read\("):
            act()
    with pytest.raises(TypeError, match=r"\.write\("):
        array["x"] = [1]
    with pytest.raises(AttributeError, match="Herd"):
        herd.deer = array
    assert repr(array) == "Array(x=[1, 2, 3], y=[0, 0, 0], hp=[100, 100, 100])"


# --- rollback, and what was handed out --------------------------------------------------------------------------------


def test_a_rollback_restores_columns(herd: Herd, store: Store) -> None:
    """However they were written to; and it begins with nothing."""
    before, digests = contents(herd.deer), store.digests()
    store.begin()
    mark = store.mark()
    herd.deer.write("x")[:] = 7
    herd.deer.set("hp", 0, 1)
    herd.deer.resize(10)
    herd.deer.assign("y", range(10))
    herd.deer.resize(0)
    herd.marks.resize(2)
    store.rollback(mark)
    assert contents(herd.deer) == before
    assert len(herd.marks) == 0
    store.end()
    assert store.digests() == digests


def test_a_column_is_copied_once_a_command(herd: Herd, store: Store) -> None:
    """The second request in one gives the same, and leaves no record; the next command's does."""
    store.begin()
    first = herd.deer.write("x")
    herd.deer.set("x", 1, 5)
    assert herd.deer.write("x") is first
    assert len(list(store.undo)) == 3
    mark = store.mark()
    herd.deer.write("x")[0] = 9
    assert len(list(store.undo)) == 6
    store.rollback(mark)
    assert contents(herd.deer)["x"] == [1, 5, 3]
    store.end()


def test_what_was_handed_out_is_good_for_its_command(herd: Herd, store: Store) -> None:
    """At the next mark, at a rollback, at the end of the batch and after a new size it takes nothing more."""
    store.begin()
    kept = [herd.deer.write("x")]
    mark = store.mark()
    kept.append(herd.deer.write("x"))
    store.rollback(mark)
    kept.append(herd.deer.write("x"))
    herd.deer.resize(3)
    kept.append(herd.deer.write("x"))
    store.end()
    for column in kept:
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 99
    assert contents(herd.deer)["x"] == [1, 2, 3]


def test_a_slice_that_is_written_later_is_found_by_the_scrub(herd: Herd, store: Store) -> None:
    """It went behind the container's back."""
    with batch(store):
        kept = herd.deer.write("x")[1:]
    store.digests()
    store.verify()
    kept[0] = 99
    with pytest.raises(DivergenceError, match=r"deer: bucket .* changed outside tracked writes.*'x'"):
        store.verify()


def test_a_scrub_takes_long_columns_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no hash point waits for all of them; a round takes as many scrubs as there are columns."""
    machine = machine_with(array=Annotated[rsm.Array, rsm.Columns(**{f"c{n}": "int64" for n in range(6)})])
    store = store_of(machine)
    with batch(store):
        machine.array.resize(SCRUB_LEAVES_MIN * ARRAY_LEAF_BYTES // 8)
    store.digests()
    read: list[str] = []
    leaf = store.ledgers["array"].leaf

    def noted(key: str, default: Any) -> Any:
        read.append(key)
        return leaf(key, default)

    monkeypatch.setattr(store.ledgers["array"], "leaf", noted)
    for number in range(1, 7):
        store.scrub()
        assert len(read) == number
    assert sorted(read) == sorted(machine.array.columns)


def test_columns_of_unequal_length_are_found_by_the_scrub(herd: Herd, store: Store) -> None:
    """Only what goes past the container can bring this about."""
    store.digests()
    herd.deer._columns["x"] = np.zeros(5, np.int32)
    with pytest.raises(DivergenceError, match="deer"):
        store.verify()


def test_what_a_command_may_copy_is_bounded(herd: Herd, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed command, counted from one to the next; one that resizes leaves all columns alike."""
    monkeypatch.setattr(arrays, "ARRAY_UNDO_BYTES_MAX", 30)
    for _ in range(2):
        store.begin()
        mark = store.mark()
        herd.deer.write("x")[0] = 5  # 12 bytes
        store.rollback(mark)
        herd.deer.write("x")
        herd.deer.write("x")
        with pytest.raises(ValueError, match="write to more than 30 bytes"):
            herd.deer.write("y")
        with pytest.raises(ValueError, match="write to more than 30 bytes"):
            herd.deer.resize(9)
        assert {len(herd.deer.read(column)) for column in herd.deer.columns} == {3}
        store.rollback(mark)
        store.end()


def test_a_batch_may_have_any_number_of_commands(herd: Herd, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the copies that they make of one column the first is kept, for the root; a rollback takes away its own."""
    other, copy = rebuilt(store)
    monkeypatch.setattr(arrays, "ARRAY_UNDO_BYTES_MAX", 30)  # a column of x has 12 bytes
    store.begin()
    for number in range(50):
        store.begin_command()
        mark = store.mark()
        herd.deer.write("x")[number % 3] = number
        if number % 2:
            store.rollback(mark)
    assert sum(type(old) is bytes for old in list(store.undo)[2::3]) == 1
    store.begin_command()
    mark = store.mark()
    herd.deer.write("y")[0] = 9
    with pytest.raises(ValueError, match="write to more than 30 bytes"):
        herd.deer.write("x")
    store.rollback(mark)
    store.end()
    assert contents(herd.deer)["x"] == [48, 46, 44]
    with batch(copy):
        other.deer.assign("x", [48, 46, 44])
    assert store.digests() == copy.digests()
    store.verify()


# --- roots, snapshots, views ------------------------------------------------------------------------------------------


def test_an_array_that_became_empty_is_as_a_new_one(herd: Herd, store: Store) -> None:
    """No leaves, and the same digest."""
    with batch(store):
        herd.deer.resize(0)
    assert store.digests() == store_of(Herd()).digests()
    store.verify()


def test_a_snapshot_restores_it(herd: Herd, store: Store) -> None:
    """Same cells, same digests, and the copy can be written to and rolled back."""
    machine, copy = rebuilt(store)
    assert contents(machine.deer) == contents(herd.deer)
    assert copy.digests() == store.digests()
    copy.verify()
    for one, machine_of in ((store, herd), (copy, machine)):
        with batch(one):
            machine_of.deer.write("y")[2] = 4
    assert copy.digests() == store.digests()


def test_a_cut_holds_what_was_there(herd: Herd, store: Store) -> None:
    """Whatever is written while it is read."""
    before, digests = contents(herd.deer), store.digests()
    cut = store.cut()
    with batch(store):
        herd.deer.write("x")[:] = 0
        herd.deer.resize(1)
    machine = Herd()
    made = store_of(machine)
    made.clear()
    for name, _, _, leaves in cut.chunks():
        made.load(name, leaves)
    cut.close()
    assert contents(machine.deer) == before
    assert made.digests() == digests


@pytest.mark.parametrize(
    "leaves",
    [
        [("z", b"\0\0\0\0")],
        [("x", b"\0\0\0")],
        [("x", b"")],
        [("x", 5)],
        [("x", bytes(ARRAY_COLUMN_BYTES_MAX + 4))],
        [(1, b"\0\0\0\0")],
    ],
)
def test_leaves_that_are_no_columns_are_refused(leaves: Any) -> None:
    """Of a snapshot that was written by something else."""
    with pytest.raises(BadBytes, match="'deer' do not fit its schema"):
        store_of(Herd()).load("deer", encode(leaves))


def test_a_view_stays_as_it_was(herd: Herd, store: Store) -> None:
    """Read before a change or after it, by column or by cell; it cannot be written to."""
    opened, close = open_view(herd)
    view: Any = opened
    array = view.deer
    early = array.read("x")
    with batch(store):
        herd.deer.write("x")[:] = 9
        herd.deer.write("hp")[:] = 9
        herd.deer.resize(5)
    assert (len(array), array.columns) == (3, ("x", "y", "hp"))
    assert early.tolist() == array.read("x").tolist() == [1, 2, 3]
    assert array.read("hp").tolist() == [100, 100, 100]
    assert array.get("hp", 2) == 100
    with pytest.raises(IndexError, match="row 3 of 3"):
        array.get("hp", 3)
    for column in array.columns:
        with pytest.raises(ValueError, match="read-only"):
            array.read(column)[0] = 1
    assert not hasattr(array, "write")
    close()


def test_a_view_of_no_rows_has_none_later(herd: Herd, store: Store) -> None:
    """Its columns were not there."""
    opened, close = open_view(herd)
    view: Any = opened
    with batch(store):
        herd.marks.resize(2)
    array = view.marks
    assert (len(array), array.read("kind").tolist()) == (0, [])
    close()


# --- differences ------------------------------------------------------------------------------------------------------


def test_differences_are_told_by_cell(herd: Herd, store: Store) -> None:
    """By row, then column."""
    other, copy = rebuilt(store)
    assert differences(store, copy) == []
    with batch(copy):
        other.deer.set("y", 2, 5)
        other.deer.set("x", 2, 6)
        other.deer.set("x", 0, -6)
    assert differences(store, copy) == [("deer/0/x", 1, -6), ("deer/2/x", 3, 6), ("deer/2/y", 0, 5)]
    assert differences(store, copy, limit=1) == [("deer/0/x", 1, -6)]


def test_differences_of_long_columns() -> None:
    """Those at the edges of what is compared at once, in order; and only as many are looked for as are asked for."""
    cells = {"x": CELL_TYPES["int16"], "y": CELL_TYPES["uint8"]}
    rows = 5_000
    one = {"x": bytearray(2 * rows), "y": bytearray(rows)}
    other = {"x": bytearray(2 * (rows + 3)), "y": bytearray(rows + 3)}
    places = [0, 1023, 1024, 2047, 2048, 4998, 4999, 5001]
    for place in places:
        other["x"][2 * place + 1] = 0x80
        other["y"][place] = 7
    found = list(differing_cells("deer", cells, one, other))
    assert found[0] == ("deer/rows", 5_000, 5_003)
    assert found[1:] == [
        (f"deer/{place}/{column}", 0, value) for place in places[:-1] for column, value in (("x", -(2**15)), ("y", 7))
    ]


def test_differences_are_looked_for_as_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two columns of a million cells that differ in all of them."""
    decoded: list[int] = []
    decode = CellType.decode

    def noted(cell: CellType, data: bytes) -> tuple[int, ...]:
        decoded.append(len(data))
        return decode(cell, data)

    monkeypatch.setattr(CellType, "decode", noted)
    one, other = ({"x": bytes([value]) * 1_000_000} for value in (1, 2))
    assert next(differing_cells("deer", {"x": CELL_TYPES["int8"]}, one, other)) == ("deer/0/x", 1, 2)
    assert sum(decoded) < 10_000


def test_row_counts_are_told_as_such(herd: Herd, store: Store) -> None:
    """And cells as far as both have them."""
    other, copy = rebuilt(store)
    with batch(copy):
        other.deer.resize(4)
        other.deer.set("x", 1, 8)
    assert differences(store, copy) == [("deer/rows", 3, 4), ("deer/1/x", 2, 8)]
    assert differences(store, store_of(Herd())) == [("deer/rows", 3, 0)]


# --- releases ---------------------------------------------------------------------------------------------------------


def test_an_array_goes_over_to_the_next_release(herd: Herd) -> None:
    """As declared, or declared anew in another order of columns; another type of a column asks for a migration."""

    class First(rsm.StateMachine, name="kept", version=1):
        deer: Annotated[rsm.Array, rsm.Columns(x="int32", hp="int16")]

        @rsm.command()
        def grow(self, ctx: rsm.Context) -> None:
            self.deer.resize(2)
            self.deer.assign("x", [4, 5])

    class Second(First, name="kept", version=2, previous=First):
        deer: Annotated[rsm.Array, rsm.Columns(hp="int16", x="int32")]

    old = First()
    store = store_of(old)
    with batch(store):
        First.grow.handler(old, None)
    new = successor(Second, old)
    assert isinstance(new, Second)
    assert contents(new.deer) == {"hp": [0, 0], "x": [4, 5]}
    with pytest.raises(DefinitionError, match=r"deer was array .*hp:int16,x:int32 and is array .*hp:int32"):

        class Third(First, name="kept", version=3, previous=First):
            deer: Annotated[rsm.Array, rsm.Columns(x="int32", hp="int32")]
