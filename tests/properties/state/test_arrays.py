"""An Array behaves like plain numpy columns under any sequence of commands, some of which are rejected on the way.

After every batch a replica that was restored from a snapshot has the same cells and the same root, and goes on alike.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rsm
from rsm.codec.chain import ZERO_CHAIN
from rsm.codec.record import Entry, RecordKind
from rsm.machine.machine import containers_of
from rsm.replica import snapshot
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import FLAG_HASH_POINT, encode_call, join_batch, join_item
from rsm.replica.replica import Replica
from rsm.state import arrays
from rsm.state.columns import CELL_TYPES
from rsm.state.diff import differences
from rsm.state.store import Store

COLUMNS = {"a": "int8", "b": "int32", "c": "int64", "d": "uint16"}
ROWS_MAX = 12
# What is done to an array: (what, column, row, value), each within reach or just out of it.
Step = tuple[str, str, int, int]
STEPS: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(["set", "set", "write", "slice", "assign", "assign", "resize", "stop"]),
    st.sampled_from(sorted(COLUMNS)),
    st.integers(-1, ROWS_MAX),
    st.one_of(st.integers(-140, 140), st.sampled_from([2**16, -(2**31), 2**31 - 1, 2**31, 2**63 - 1])),
)
COMMANDS = st.lists(STEPS, min_size=1, max_size=6)


class Field(rsm.StateMachine, name="field", version=1):
    """One array, and a map beside it whose writes lie between those of the array."""

    cells: Annotated[rsm.Array, rsm.Columns(a="int8", b="int32", c="int64", d="uint16")]
    done: rsm.Map[int, int]

    @rsm.command()
    def act(self, ctx: rsm.Context, steps: list[Step]) -> None:
        for step in steps:
            self.done[len(self.done)] = len(steps)
            if step[0] == "stop":
                ctx.reject("stop")
            perform(self.cells, *step)


def perform(cells: rsm.Array, what: str, column: str, row: int, value: int) -> None:
    """One step on the tracked array."""
    if what == "set":
        cells.set(column, row, value)
    elif what == "write":
        opened = cells.write(column)
        opened += opened.dtype.type(value % 100)
    elif what == "slice":
        cells.write(column)[row:] = value % 100
    elif what == "assign":
        cells.assign(column, [value] * (len(cells) if value % 5 else row))
    else:
        cells.resize(row)


class Model:
    """The same with bare numpy, copied whole where a command begins."""

    def __init__(self) -> None:
        self.columns = {name: np.zeros(0, dtype) for name, dtype in COLUMNS.items()}

    def act(self, steps: list[Step]) -> bool:
        """All of the steps, or none of them."""
        before = {name: column.copy() for name, column in self.columns.items()}
        for step in steps:
            if not self._step(*step):
                self.columns = before
                return False
        return True

    def _step(self, what: str, column: str, row: int, value: int) -> bool:
        cells, info = self.columns[column], np.iinfo(COLUMNS[column])
        count = len(cells)
        if what == "write":
            cells += cells.dtype.type(value % 100)
        elif what == "slice":
            cells[row:] = value % 100
        elif what == "set":
            if not 0 <= row < count or not info.min <= value <= info.max:
                return False
            cells[row] = value
        elif what == "assign":
            times = count if value % 5 else row
            if max(times, 0) != count or (count and not info.min <= value <= info.max):
                return False
            if count:
                cells[:] = value
        elif what == "resize":
            if row < 0:
                return False
            for name, old in self.columns.items():
                new = np.zeros(row, old.dtype)
                new[: min(row, count)] = old[: min(row, count)]
                self.columns[name] = new
        else:
            return False
        return True


def started() -> Replica:
    """A replica with its machine begun and a session open."""
    replica = Replica(Field)
    activate = ["field", 1, replica.definition.schema(), bytes(16)]
    apply(replica, [encode_call("rsm.activate", 1, activate), encode_call("rsm.open_session", 1, ["ann", 0])], 0)
    return replica


def apply(replica: Replica, calls: list[bytes], session: int, first: int = 0) -> list[Answer]:
    """One entry with these calls, a hash point; `first` is the sequence number of the first in its session."""
    numbers = [first + at if session else 0 for at in range(len(calls))]
    items = [join_item(session, number, first, call) for number, call in zip(numbers, calls, strict=True)]
    payload = join_batch(1, 1_000 + replica.index, FLAG_HASH_POINT, items)
    applied = replica.apply(Entry(replica.index + 1, 1, RecordKind.BATCH, payload))
    return applied.answers


def restored(replica: Replica) -> Replica:
    """A fresh replica with a snapshot of this one."""
    fresh = Replica(Field)
    snapshot.restore(fresh, list(snapshot.parts(replica, ZERO_CHAIN)))
    return fresh


def cells_of(replica: Replica) -> dict[str, list[int]]:
    """All cells of a replica's array."""
    machine: Any = replica.machine
    return {column: machine.cells.read(column).tolist() for column in machine.cells.columns}


@given(st.lists(st.lists(COMMANDS, min_size=1, max_size=4), min_size=1, max_size=3))
@settings(max_examples=30)  # two replicas, and a snapshot a batch
def test_an_array_is_what_plain_columns_are(batches: list[list[list[Step]]]) -> None:
    """Cells, roots, and what a restored replica makes of the next batch."""
    replica, model, number = started(), Model(), 1
    copy = restored(replica)
    for commands in batches:
        calls = [encode_call("act", 1, [[list(step) for step in steps]]) for steps in commands]
        went_well = [model.act(steps) for steps in commands]
        answers = apply(replica, calls, 1, number)
        assert [answer.status == Status.OK for answer in answers] == went_well
        assert cells_of(replica) == {name: column.tolist() for name, column in model.columns.items()}
        apply(copy, calls, 1, number)
        assert copy.root() == replica.root()
        copy = restored(replica)
        assert cells_of(copy) == cells_of(replica)
        assert copy.root() == replica.root()
        assert differences(copy.store, replica.store) == []
        number += len(commands)
    replica.store.verify()


def test_all_commands_of_a_long_batch_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: each is undone by itself, so the next one needs no room beside it."""
    monkeypatch.setattr(arrays, "ARRAY_UNDO_BYTES_MAX", 100)  # a column of `b` has 40 bytes here
    replica = started()
    steps: list[list[Step]] = [[("resize", "b", 10, 0)], *([("write", "b", 0, 1)] for _ in range(40))]
    answers = apply(replica, [encode_call("act", 1, [step]) for step in steps], 1, 1)
    assert [answer.status for answer in answers] == [Status.OK] * 41
    assert cells_of(replica)["b"] == [40] * 10
    assert restored(replica).root() == replica.root()


@pytest.mark.parametrize("column", sorted(COLUMNS))
@given(data=st.data())
def test_leaves_are_little_endian_bytes(column: str, data: st.DataObject) -> None:
    """As written out cell by cell with Python's own integers; they are read back as they were."""
    cell = CELL_TYPES[COLUMNS[column]]
    values = data.draw(st.lists(st.integers(cell.low, cell.high), min_size=1, max_size=ROWS_MAX))
    expected = b"".join(value.to_bytes(cell.size_bytes, "little", signed=cell.low < 0) for value in values)
    machine = Field()
    store = started_store(machine)
    store.begin()
    machine.cells.resize(len(values))
    machine.cells.assign(column, values)
    store.end()
    assert machine.cells._leaf(column, None) == expected
    assert cell.decode(expected) == tuple(values)


def started_store(machine: Field) -> Store:
    """Its store."""
    return Store(containers_of(machine))


ACTS = st.lists(
    st.one_of(
        st.sampled_from(["command", "mark", "back", "batch"]),
        st.tuples(st.sampled_from("ab"), st.integers(0, 3)),
        st.tuples(st.just("rows"), st.integers(0, 2)),
    ),
    max_size=40,
)


@given(ACTS)
def test_marks_lie_in_marks(acts: list[Any]) -> None:
    """Commands of steps, as pipelines are: whatever is taken back, cells and roots are those of what is left."""
    machine = Field()
    store = started_store(machine)
    cells, done = machine.cells, machine.done
    kept: list[tuple[int, Any]] = []
    store.begin()
    for act in acts:
        if act == "batch":
            store.end()
            store.begin()
            store.verify()
        if act in ("batch", "command"):
            store.begin_command()
            kept.clear()
        elif act == "mark":
            kept.append((store.mark(), {column: cells.read(column).copy() for column in cells.columns}))
        elif act == "back":
            if not kept:
                continue
            mark, before = kept.pop()
            store.rollback(mark)
            assert all(before[column].tolist() == cells.read(column).tolist() for column in cells.columns)
        elif act[0] == "rows":
            cells.resize(act[1])
        else:
            cells.write(act[0])[:] = act[1]
            done[0] = act[1]
    store.end()
    store.verify()
    copy = Field()
    other = started_store(copy)
    other.clear()
    for name, _, _, leaves in store.cut().chunks():
        other.load(name, leaves)
    assert other.digests() == store.digests()
